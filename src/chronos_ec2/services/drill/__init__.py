"""The drill: probe runs that come to harm, and proof that each of their instances ends in time."""
