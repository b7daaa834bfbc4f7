"""Observe, decide, execute: one pass of the watchdog over a lane."""
