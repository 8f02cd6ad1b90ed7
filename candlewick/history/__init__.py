"""History that was never recorded: fetched from the archive or over REST, and compared with them."""
