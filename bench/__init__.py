"""Measurements and the kill test; only the smoke test borrows from here."""
