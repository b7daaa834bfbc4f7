"""From a panel to batches: the split by time, training windows and held-out windows, sampling. No torch models."""
