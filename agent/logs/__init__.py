"""The agent's logging: redaction, and upload while the run is in progress."""
