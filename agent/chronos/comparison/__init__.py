"""The evaluate job: several models on the same held-out windows, without training."""
