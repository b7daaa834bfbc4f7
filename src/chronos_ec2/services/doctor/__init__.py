"""Whether a setup is as it should be, part by part, and what to do about each that is not."""
