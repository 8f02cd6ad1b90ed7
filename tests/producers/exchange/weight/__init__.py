"""REST weight that all processes of a host share, against a clock of the test's own."""
