"""Schedules: runs that start by themselves, at a time or when new data are there."""
