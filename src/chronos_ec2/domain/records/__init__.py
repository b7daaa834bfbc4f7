"""What is stored in the bucket: locks, requests, heartbeats, and their keys."""
