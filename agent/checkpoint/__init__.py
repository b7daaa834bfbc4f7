"""Checkpoints between the instance and S3."""
