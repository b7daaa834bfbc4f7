"""Composition roots, one for each process: only here do services get their adapters. Each imports what it needs."""
