"""Scripts that generate files of this repository: the cost page, the agent's lock, the picture of the imports."""
