"""Figures of speed, made by `make bench` on the machine at hand."""
