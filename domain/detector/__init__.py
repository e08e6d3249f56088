"""What is unlike the past: anomaly scores over numpy arrays in one unit, never looking ahead."""
