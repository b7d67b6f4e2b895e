"""Numbers that papers have beside mAP50-95, and their tables: AP by size, F1, what a network costs."""
