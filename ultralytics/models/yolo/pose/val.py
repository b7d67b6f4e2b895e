"""PoseValidator, to subclass."""

from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.pose.task import PoseTask


class PoseValidator(BaseValidator):
    """Validation of keypoints."""

    task_class = PoseTask
