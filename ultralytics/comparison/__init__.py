"""What compare.py does: variants of a network trained under equal conditions, every seed once, and one report."""
