"""What EC2 offers: instance types and their prices."""
