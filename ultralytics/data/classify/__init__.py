"""Datasets for classification: folders of classes, and squares cut out of their images."""
