"""OBBPredictor, to subclass."""

from ultralytics.engine.predictor import BasePredictor
from ultralytics.models.yolo.obb.task import OBBTask


class OBBPredictor(BasePredictor):
    """Predictions of rotated boxes."""

    task_class = OBBTask
