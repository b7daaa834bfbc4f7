"""The ports, implemented on AWS. The only package that imports boto3."""
