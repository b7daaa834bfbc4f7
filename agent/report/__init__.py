"""The report of a run: one HTML file that needs neither network nor scripts."""
