"""The running program: its command, its settings, its policy file, and where all parts are put together."""
