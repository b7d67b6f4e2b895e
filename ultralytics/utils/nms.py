"""Non-maximum suppression: of boxes that show the same object, keep the most confident."""

from collections.abc import Iterator, Sequence

import torch

from ultralytics.utils.ops import xywh2xyxy


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
