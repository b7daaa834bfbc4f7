"""Tests of the schedules' rules."""
