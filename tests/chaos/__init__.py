"""The proofs from outside, a small part of each; and that they would see a loss."""
