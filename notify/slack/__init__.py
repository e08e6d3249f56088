"""Slack: cards, pages, modals, and the client that sends them."""
