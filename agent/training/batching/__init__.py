"""From a panel to batches."""
