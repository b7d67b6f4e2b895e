"""ClassificationPredictor, to subclass."""

from ultralytics.engine.predictor import BasePredictor
from ultralytics.models.yolo.classify.task import ClassifyTask


class ClassificationPredictor(BasePredictor):
    """Predictions of classification."""

    task_class = ClassifyTask
