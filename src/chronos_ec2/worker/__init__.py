"""The instance's half of the run protocol, without torch, boto3 or threads of its own."""
