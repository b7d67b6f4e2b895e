"""Non-maximum suppression: of boxes that show the same object, keep the most confident."""

import math
from collections.abc import Iterator, Sequence

import torch

from ultralytics.utils.metrics import probiou
from ultralytics.utils.ops import xywh2xyxy

CHUNK = 512  # boxes that are compared with all above them at a time


def non_max_suppression(
    prediction: torch.Tensor,
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
    nc: int = 0,
    max_nms: int = 30000,
    max_wh: int = 7680,
) -> list[torch.Tensor]:
    """Detections of every image, most confident first.

    `prediction` (B, 4 + nc + extra, A): xywh in pixels, class scores 0..1, and what a task adds per anchor point. A
    score counts above `conf_thres`; a box goes if its IoU with a kept one of its class (`agnostic`: of any class) is
    above `iou_thres`. `multi_label` makes every class of an anchor a detection, not only its best one. `nc` 0 means
    that there are no extra rows. At most `max_nms` candidates enter and `max_det` leave. Classes are kept apart by an
    offset of `max_wh` pixels, so no image may be larger.

    Returns B tensors (n, 6 + extra): xyxy, confidence, class, extra.
    """
    results = []
    for rows in candidates(prediction, conf_thres, classes, multi_label, nc, max_nms):
        found = torch.cat((xywh2xyxy(rows[:, :4]), rows[:, 4:]), 1)
        shift = 0 if agnostic else found[:, 5:6] * max_wh
        results.append(found[_suppress(found[:, :4] + shift, found[:, 4], iou_thres, max_det)])
    return results


def rotated_non_max_suppression(
    prediction: torch.Tensor,
    conf_thres: float = 0.25,
    iou_thres: float = 0.7,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
    nc: int = 0,
    max_nms: int = 30000,
) -> list[torch.Tensor]:
    """Detections of every image, most confident first, from `prediction` (B, 4 + nc + 1, A), which ends in theta.

    The arguments are those of `non_max_suppression`, but overlap is probiou, and a box goes if that with any more
    confident one of its class is above `iou_thres`, one that goes itself included: Fast NMS (arXiv 1904.02689).

    Returns B tensors (n, 7): center, width, height, confidence, class, theta.
    """
    rows = candidates(prediction, conf_thres, classes, multi_label, nc or prediction.shape[1] - 5, max_nms)
    return [found[_fast_nms(found, iou_thres, agnostic, max_det)] for found in rows]


def _fast_nms(found: torch.Tensor, iou_thres: float, agnostic: bool, max_det: int) -> torch.Tensor:
    """Indices of at most `max_det` kept rows (n, 7); as only those above a box matter, the rest may remain unseen."""
    boxes, cls = found[:, [0, 1, 2, 3, 6]], torch.zeros_like(found[:, 5]) if agnostic else found[:, 5]
    kept: list[torch.Tensor] = []
    for start in range(0, len(boxes), CHUNK):
        block, end = slice(start, start + CHUNK), min(start + CHUNK, len(boxes))
        near = _within_reach(boxes[:end], boxes[block], iou_thres) & (cls[:end, None] == cls[None, block])
        above, below = near.triu(1 - start).nonzero(as_tuple=True)
        similar = probiou(boxes[above], boxes[start + below]) > iou_thres
        gone = torch.zeros(end - start, dtype=torch.bool, device=boxes.device)
        gone[below[similar]] = True
        kept.append(start + torch.nonzero(~gone).flatten())
        if sum(map(len, kept)) >= max_det:
            break
    return torch.cat(kept)[:max_det] if kept else cls.new_zeros(0, dtype=torch.long)


def _within_reach(first: torch.Tensor, second: torch.Tensor, least: float) -> torch.Tensor:
    """(n, m) bool: pairs of boxes (n, 5), (m, 5) whose centers are not too far apart for a probiou above `least`.

    The Bhattacharyya distance is at least that of the centers, squared, over four times the largest variances.
    """
    most = -math.log(max(1 - (1 - least) ** 2, 1e-9)) + 0.01
    spread1, spread2 = (boxes[:, 2:4].amax(1).square() / 12 for boxes in (first, second))
    apart = (first[:, None, 0] - second[None, :, 0]).square() + (first[:, None, 1] - second[None, :, 1]).square()
    return apart <= 4 * most * (spread1[:, None] + spread2)


def candidates(
    prediction: torch.Tensor,
    conf_thres: float,
    classes: Sequence[int] | None,
    multi_label: bool,
    nc: int,
    max_nms: int = 30000,
) -> Iterator[torch.Tensor]:
    """What of each image may be suppressed, most confident first: rows (n, 6 + extra) xywh, confidence, class, extra.

    The arguments are those of `non_max_suppression`.
    """
    nc = nc or prediction.shape[1] - 4
    for image in prediction.float().transpose(1, 2):  # (A, 4 + nc + extra)
        found = _confident(image, nc, conf_thres, multi_label and nc > 1)
        if classes is not None:
            found = found[torch.isin(found[:, 5], found.new_tensor(classes))]
        yield found[found[:, 4].argsort(descending=True, stable=True)[:max_nms]]


def _confident(image: torch.Tensor, nc: int, conf_thres: float, multi_label: bool) -> torch.Tensor:
    """Rows (n, 6 + extra) xywh, confidence, class, extra of the anchors (A, 4 + nc + extra) that pass the threshold."""
    image = image[image[:, 4 : 4 + nc].amax(1) > conf_thres]
    boxes, scores, extra = image.split((4, nc, image.shape[1] - 4 - nc), 1)
    if multi_label:
        anchor, cls = torch.nonzero(scores > conf_thres, as_tuple=True)
        conf = scores[anchor, cls]
        boxes, extra = boxes[anchor], extra[anchor]
    else:
        conf, cls = scores.max(1)
    return torch.cat((boxes, conf[:, None], cls[:, None].to(conf.dtype), extra), 1)


def _suppress(boxes: torch.Tensor, scores: torch.Tensor, iou_thres: float, max_det: int) -> torch.Tensor:
    """Indices of at most `max_det` kept boxes; `boxes` (n, 4) xyxy come with `scores` (n,) descending."""
    from torchvision.ops import nms

    # Whether a box is kept depends on the boxes above it alone: a head of the list that fills max_det settles it.
    head = 10 * max_det
    keep = nms(boxes[:head], scores[:head], iou_thres)
    if len(keep) < max_det and len(boxes) > head:
        keep = nms(boxes, scores, iou_thres)
    return keep[:max_det]
