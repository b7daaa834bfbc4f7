"""The judges of a history: its runs and instances while it lasts, its messages, and how it ends."""
