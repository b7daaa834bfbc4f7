"""The results of a run in S3, and the cleanup of the instance."""
