"""Checks of the built functions that need no AWS account: import time and invocations in containers."""
