"""PoseTrainer, to subclass."""

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.pose.task import PoseTask


class PoseTrainer(BaseTrainer):
    """Training run of keypoints."""

    task_class = PoseTask
