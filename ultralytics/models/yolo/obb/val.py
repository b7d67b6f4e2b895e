"""OBBValidator, to subclass."""

from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.obb.task import OBBTask


class OBBValidator(BaseValidator):
    """Validation of rotated boxes."""

    task_class = OBBTask
