"""Runs the trainer as a child process, with periodic tasks in threads."""
