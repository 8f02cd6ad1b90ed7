"""What was recorded, asked in many ways."""
