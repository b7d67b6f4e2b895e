"""Which detection shows which object."""

import numpy as np
import torch

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10, dtype=np.float32)  # of masks 7/10 is common, and in float32 reaches 0.7


def box_iou(box1: torch.Tensor, box2: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """IoU of every box of `box1` (N, 4) with every one of `box2` (M, 4), both xyxy: (N, M)."""
    box1, box2 = (box.to(torch.promote_types(box.dtype, torch.float32)) for box in (box1, box2))
    lower = torch.maximum(box1[:, None, :2], box2[None, :, :2])
    upper = torch.minimum(box1[:, None, 2:], box2[None, :, 2:])
    intersection = (upper - lower).clamp_(min=0).prod(-1)  # (N, M)
    area1, area2 = ((box[:, 2:] - box[:, :2]).prod(-1) for box in (box1, box2))
    return intersection / (area1[:, None] + area2 - intersection + eps)


def assign(iou: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The object that each detection takes at each threshold: (N, K) indices, -1 for none.

    `iou` (T, N) of objects and detections, these in order of confidence; it may be of boxes or masks, or an OKS. One
    detection after the other takes the object of highest IoU that is still free and reaches the threshold.
    """
    objects, detections = iou.shape
    columns = np.arange(len(thresholds))
    free = np.ones((objects, len(thresholds)), dtype=bool)
    taken = np.full((detections, len(thresholds)), -1)
    for detection in np.flatnonzero((iou >= thresholds.min()).any(0)):
        overlap = iou[:, detection, None]  # (T, 1)
        best = np.where(free & (overlap >= thresholds), overlap, -1.0).argmax(0)  # (K,)
        hit = free[best, columns] & (overlap[best, 0] >= thresholds)
        taken[detection, hit] = best[hit]
        free[best[hit], columns[hit]] = False
    return taken


def match_predictions(
    pred_cls: np.ndarray, true_cls: np.ndarray, iou: np.ndarray, thresholds: np.ndarray = IOU_THRESHOLDS
) -> np.ndarray:
    """Which detections of an image are true positives at each threshold: (N, K) bool.

    `pred_cls` (N,) in order of confidence, `true_cls` (T,), `iou` (T, N). A detection can only take an object of its
    own class, as `assign` describes.
    """
    same_class = true_cls[:, None] == pred_cls
    return assign(np.where(same_class, iou.astype(np.float32), np.float32(-1)), thresholds) >= 0
