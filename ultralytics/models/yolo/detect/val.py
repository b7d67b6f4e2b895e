"""DetectionValidator, to subclass."""

from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.detect.task import DetectTask


class DetectionValidator(BaseValidator):
    """Validation of detection."""

    task_class = DetectTask
