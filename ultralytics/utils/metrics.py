"""How well boxes fit."""

import math

import torch

from ultralytics.utils.ops import xywh2xyxy


def box_iou(box1: torch.Tensor, box2: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """IoU of every box of `box1` (N, 4) with every one of `box2` (M, 4), both xyxy: (N, M)."""
    box1, box2 = (box.to(torch.promote_types(box.dtype, torch.float32)) for box in (box1, box2))
    lower = torch.maximum(box1[:, None, :2], box2[None, :, :2])
    upper = torch.minimum(box1[:, None, 2:], box2[None, :, 2:])
    intersection = (upper - lower).clamp_(min=0).prod(-1)  # (N, M)
    area1, area2 = ((box[:, 2:] - box[:, :2]).prod(-1) for box in (box1, box2))
    return intersection / (area1[:, None] + area2 - intersection + eps)


def bbox_iou(
    box1: torch.Tensor,
    box2: torch.Tensor,
    xywh: bool = True,
    GIoU: bool = False,
    DIoU: bool = False,
    CIoU: bool = False,
    eps: float = 1e-7,
) -> torch.Tensor:
    """IoU, or one of its generalisations, of boxes that broadcast against each other.

    `box1`, `box2` (..., 4), xywh or xyxy; returns (..., 1). GIoU (arXiv 1902.09630) subtracts the share of the
    enclosing box that neither covers, DIoU (arXiv 1911.08287) the squared distance of the centres in units of its
    diagonal, CIoU (same paper) also a penalty on the aspect ratio, whose weight alpha carries no gradient.
    """
    if xywh:
        box1, box2 = xywh2xyxy(box1), xywh2xyxy(box2)
    (lower1, upper1), (lower2, upper2) = box1.split(2, -1), box2.split(2, -1)
    size1, size2 = upper1 - lower1, upper2 - lower2

    intersection = (torch.minimum(upper1, upper2) - torch.maximum(lower1, lower2)).clamp(min=0).prod(-1, keepdim=True)
    union = size1.prod(-1, keepdim=True) + size2.prod(-1, keepdim=True) - intersection + eps
    iou = intersection / union
    if not (GIoU or DIoU or CIoU):
        return iou

    enclosing = torch.maximum(upper1, upper2) - torch.minimum(lower1, lower2)
    if GIoU:
        area = enclosing.prod(-1, keepdim=True) + eps
        return iou - (area - union) / area

    diagonal = enclosing.square().sum(-1, keepdim=True) + eps
    offset = (lower1 + upper1 - lower2 - upper2) / 2
    diou = iou - offset.square().sum(-1, keepdim=True) / diagonal
    if DIoU:
        return diou

    angle1, angle2 = (torch.atan(size[..., :1] / (size[..., 1:] + eps)) for size in (size1, size2))
    v = (4 / math.pi**2) * (angle1 - angle2).square()
    with torch.no_grad():
        alpha = v / (v - iou + 1 + eps)
    return diou - alpha * v
