"""The documents in the bucket: locks, requests and heartbeats, with their keys."""
