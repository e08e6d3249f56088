"""What we do about it: load, decide, save; one item, one transaction, no network inside."""
