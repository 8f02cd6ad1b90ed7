"""What was recorded, asked in many ways: listed, read, followed, replayed, exported. Everything behind ``open``."""
