"""Scripts that make generated files of the repository."""
