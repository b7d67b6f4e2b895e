"""Where pixels go: images that are scaled, shifted, turned and tilted into a sample."""
