"""The agent's interfaces to the instance and the request: instance metadata, systemd, spot notices."""
