"""Decoded images: loaded one by one, kept all (RAM or disk), or the latest ones in a ring for the mosaic."""
