"""Reads the pickles of checkpoints as data."""
