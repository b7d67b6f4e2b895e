"""SegmentationPredictor, to subclass."""

from ultralytics.engine.predictor import BasePredictor
from ultralytics.models.yolo.segment.task import SegmentTask


class SegmentationPredictor(BasePredictor):
    """Predictions of instance segmentation."""

    task_class = SegmentTask
