"""Crash points: each AWS call of each service goes wrong once, in every way it can, and the system must converge."""
