"""Strict parsing and formatting of documents, names and times."""
