"""The command line: options, progress and words."""
