"""Known defects, one patch each, that the tests must catch."""
