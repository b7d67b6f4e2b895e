"""Decoded images: loading.py reads one, whole.py keeps all of them (RAM or disk), ring.py the latest ones."""
