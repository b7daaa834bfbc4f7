"""Commands that start and end a run."""
