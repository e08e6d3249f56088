"""What we observe and control at Google Cloud, and what we ask services themselves: one thin port each."""
