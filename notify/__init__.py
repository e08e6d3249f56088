"""How we speak to people."""
