"""The run protocol as a model for spin."""
