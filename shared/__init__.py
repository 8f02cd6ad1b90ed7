"""What producers and consumer agree on: values, names, settings. It imports nothing else of ours."""
