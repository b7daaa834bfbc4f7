"""The trainer's process, and the trainers it can run."""
