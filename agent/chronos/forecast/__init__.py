"""The forecast job: the points after the end of each series, in parts of bounded size."""
