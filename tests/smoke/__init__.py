"""The program as a whole, as a process: it starts, dies, comes back."""
