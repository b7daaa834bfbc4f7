"""The trainer as a child process, and what runs beside it in threads."""
