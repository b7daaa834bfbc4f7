"""The configuration of a job: schema, parser, defaults by instance type, frequency names. No torch, no boto3."""
