"""What can be proven of the stack without an AWS account."""
