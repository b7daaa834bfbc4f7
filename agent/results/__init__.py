"""What a run leaves in S3, and the clean instance that it leaves behind."""
