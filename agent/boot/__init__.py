"""The first minutes on the instance: metadata, the request, systemd, spot notices."""
