"""The dashboard: its server, its page in a real browser, and the page's own modules."""
