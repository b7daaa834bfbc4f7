"""Whether this instance is fit for the run."""
