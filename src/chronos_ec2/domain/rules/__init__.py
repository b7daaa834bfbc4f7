"""The watchdog's rules, one module for each situation of a lane."""
