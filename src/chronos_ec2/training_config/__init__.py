"""The training configuration: its schema, its parser, its defaults by instance type."""
