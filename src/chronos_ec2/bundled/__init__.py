"""What comes with a release for whoever cannot ask AWS: list prices, and the instance types with GPUs."""
