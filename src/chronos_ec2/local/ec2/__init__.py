"""EC2 for the embedded AWS: instances simulated as processes, or run in containers."""
