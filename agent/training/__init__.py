"""Training and evaluating a Chronos model: all code that needs torch, run by the trainer's process."""
