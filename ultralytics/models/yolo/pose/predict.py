"""PosePredictor, to subclass."""

from ultralytics.engine.predictor import BasePredictor
from ultralytics.models.yolo.pose.task import PoseTask


class PosePredictor(BasePredictor):
    """Predictions of keypoints."""

    task_class = PoseTask
