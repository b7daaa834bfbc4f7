"""Train Amazon Chronos on EC2 GPUs; the instance is gone when the run is over. See ARCHITECTURE.md."""
