"""SegmentationValidator, to subclass."""

from ultralytics.engine.validator import BaseValidator
from ultralytics.models.yolo.segment.task import SegmentTask


class SegmentationValidator(BaseValidator):
    """Validation of instance segmentation."""

    task_class = SegmentTask
