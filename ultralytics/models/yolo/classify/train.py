"""ClassificationTrainer, to subclass."""

from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.classify.task import ClassifyTask


class ClassificationTrainer(BaseTrainer):
    """Training run of classification."""

    task_class = ClassifyTask
