"""Before a launch: what it may cost, and whether the account's quota allows it."""
