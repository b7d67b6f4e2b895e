"""Keypoints: the task, and the loops over it under their published names."""

from ultralytics.models.yolo import exporting

__all__ = ["PosePredictor", "PoseTrainer", "PoseValidator"]

__getattr__ = exporting(__name__, *__all__)
