"""Geometry of pixels: images that are scaled, shifted, rotated and tilted into a sample."""
