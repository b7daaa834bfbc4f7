"""Faults injected into instances in containers."""
