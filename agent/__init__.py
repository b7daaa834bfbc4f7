"""What runs on the GPU instance: the agent, which keeps the protocol, and the trainer beside it."""
