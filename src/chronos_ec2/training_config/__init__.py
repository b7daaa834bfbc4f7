"""The training configuration: schema, parser, defaults by instance type, frequency names. No torch, no boto3."""
