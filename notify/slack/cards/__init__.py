"""What each card looks like, one feature a file."""
