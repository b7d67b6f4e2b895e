"""Charts of numbers, by matplotlib: training curves, metrics, routing."""
