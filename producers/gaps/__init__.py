"""What a producer has and lacks of each series, and how it gets the rest over REST."""
