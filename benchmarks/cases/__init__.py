"""Small data sets that other tools have stumbled over, and the right outcome of training on each."""
