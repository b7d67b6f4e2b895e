"""ClassificationValidator, to subclass."""

from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.classify.task import ClassifyTask


class ClassificationValidator(BaseValidator):
    """Validation of classification."""

    task_class = ClassifyTask
