"""Runs every command in situations that go wrong: AWS's errors, networks, files, arguments, terminals."""
