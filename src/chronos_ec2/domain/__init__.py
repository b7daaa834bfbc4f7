"""Frozen values and pure functions: what the product knows and decides. Standard library only; time is an argument."""
