"""Measurements of the agent under interruption."""
