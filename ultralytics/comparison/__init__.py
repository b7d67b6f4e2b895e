"""Variants of a network trained under equal conditions, every seed once, and one report on them: behind compare.py."""
