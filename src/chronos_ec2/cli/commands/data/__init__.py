"""Commands for data sets, configurations and code."""
