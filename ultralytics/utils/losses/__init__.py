"""Losses that the options `iou_loss` and `cls_loss` choose from, one function each; loss.py adds them up."""

from ultralytics.utils.losses.functions import BoxPairs, ScorePairs
from ultralytics.utils.losses.table import LOSSES, register_loss

__all__ = ["LOSSES", "BoxPairs", "ScorePairs", "register_loss"]
