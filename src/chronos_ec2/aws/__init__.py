"""The ports on real AWS. The only package that imports boto3."""
