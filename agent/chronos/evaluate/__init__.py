"""Forecasts of held-out windows by every model, their metrics, the verdict, and which model is exported."""
