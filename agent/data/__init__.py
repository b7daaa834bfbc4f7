"""From objects in S3 to a panel of series. Never torch: a laptop runs the same checks."""
