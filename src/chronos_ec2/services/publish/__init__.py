"""What `launch` and `upload` put into the bucket for instances to read: agent, wheels, trainer, data."""
