"""How the agent and its trainer communicate: files, metrics, signals, exit codes."""
