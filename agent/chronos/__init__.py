"""Training and evaluating Chronos models: all code that needs torch, run by the trainer's process."""
