"""Forecasts of held-out windows, their scores and the verdict."""
