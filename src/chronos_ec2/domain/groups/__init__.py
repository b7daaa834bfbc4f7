"""Groups: several runs with one purpose and one budget, each in a lane of its own."""
