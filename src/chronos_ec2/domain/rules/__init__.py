"""The rules of `decide`, one module per situation of a lane."""
