"""Decoded images: loaded one by one, kept as a whole (RAM or disk), or in a ring for the mosaic."""
