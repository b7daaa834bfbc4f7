"""EC2 for the embedded AWS: instances as processes or containers."""
