"""The command line: one file a group of commands, with what it prints."""
