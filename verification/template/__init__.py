"""Scans and synthesis of the SAM template."""
