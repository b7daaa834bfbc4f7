"""Known defects, seeded one by one; the tests must catch each."""
