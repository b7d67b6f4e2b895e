"""DetectionPredictor, to subclass."""

from ultralytics.engine.predictor import BasePredictor
from ultralytics.models.yolo.detect.task import DetectTask


class DetectionPredictor(BasePredictor):
    """Predictions of detection."""

    task_class = DetectTask
