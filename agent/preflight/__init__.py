"""Checks, before any work, that the instance can run the training."""
