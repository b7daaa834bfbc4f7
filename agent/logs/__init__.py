"""Logs, redacted and shipped while the run goes on."""
