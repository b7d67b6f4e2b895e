"""SegmentationTrainer, to subclass."""

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.segment.task import SegmentTask


class SegmentationTrainer(BaseTrainer):
    """Training run of instance segmentation."""

    task_class = SegmentTask
