"""The instance's half of the run protocol: lock, heartbeat, control. No torch, boto3, or threads of its own."""
