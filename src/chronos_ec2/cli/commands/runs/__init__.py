"""Commands that show a run and fetch its results."""
