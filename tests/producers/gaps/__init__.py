"""What is missing, asked for, answered and told, without a network."""
