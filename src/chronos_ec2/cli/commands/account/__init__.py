"""Commands for the stack, the account and the embedded AWS."""
