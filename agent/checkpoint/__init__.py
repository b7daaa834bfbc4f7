"""Checkpoints: their format in S3, upload and restore."""
