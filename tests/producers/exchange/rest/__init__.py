"""REST calls against a small server of the test's own: what is taken, what is refused, what costs weight."""
