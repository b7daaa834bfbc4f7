"""The training engine against stock chronos-forecasting: `python -m benchmarks.training [SECTION...]`."""
