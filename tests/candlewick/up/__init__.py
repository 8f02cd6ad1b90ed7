"""What each command prints, its exit code, and what it says to a mistake."""
