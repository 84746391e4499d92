"""What is known about each data set."""
