"""The trainer's process: its entry point, the smoke test's probe, custom trainers."""
