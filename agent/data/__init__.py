"""From objects in S3 to a panel of time series. Never torch: the CLI runs the same checks on a laptop."""
