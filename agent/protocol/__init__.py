"""What the agent and its trainer tell each other, through files and signals."""
