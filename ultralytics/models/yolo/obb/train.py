"""OBBTrainer, to subclass."""

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.obb.task import OBBTask


class OBBTrainer(BaseTrainer):
    """Training run of rotated boxes."""

    task_class = OBBTask
