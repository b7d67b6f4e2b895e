"""DetectionTrainer, to subclass."""

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect.task import DetectTask


class DetectionTrainer(BaseTrainer):
    """Training run of detection."""

    task_class = DetectTask
