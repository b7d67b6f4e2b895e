"""Non-maximum suppression: of boxes that show the same object, keep the most confident.

Legend: B images, A anchor points, n candidates or detections of an image, extra columns of a task (mask coefficients,
keypoints, theta).
"""

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils import refused
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import probiou
from ultralytics.utils.ops import upload, xywh2xyxy

CHUNK = 512  # rotated boxes that are compared with all above them at a time
NMS_CHUNK = 128  # upright boxes that are compared with one another at a time
TOGETHER = 5000  # boxes of a batch that a GPU compares all with one another, those of different images too


def non_max_suppression(
    prediction: Tensor | Sequence[Tensor],
    conf_thres: float = 0.25,
    iou_thres: float = 0.45,
    classes: Sequence[int] | None = None,
    agnostic: bool = False,
    multi_label: bool = False,
    max_det: int = 300,
    nc: int = 0,
    max_time_img: float = 0.05,  # any value: no image is given up
    max_nms: int = 30000,
    max_wh: int = 7680,
    rotated: bool = False,
    end2end: bool = False,
    return_idxs: bool = False,  # this and `labels`: only these values
    *,
    labels: Sequence = (),
) -> list[Tensor]:
    """Detections of every image, most confident first.

    `prediction` (B, 4 + nc + extra, A): xywh in pixels, class scores 0..1, and what a task adds per anchor point; of
    the outputs of a head in eval mode the first. A score counts above `conf_thres`; a box goes if its IoU with a kept
    one of its class (`agnostic`: of any class) is above `iou_thres`. `multi_label` makes every class of an anchor a
    detection, not only its best one. `nc` 0 means that there are no extra rows but theta. At most `max_nms` candidates
    enter and `max_det` leave. Classes are kept apart by an offset of `max_wh` pixels, so no image may be larger.

    `end2end`: `prediction` (B, n, 6) are xyxy, confidence, class, most confident first, which a head has chosen itself:
    they are only cut by `conf_thres`, `classes` and `max_det`.

    `rotated`: the last row is theta, overlap is probiou, and a box goes if that with any more confident one of its
    class is above `iou_thres`, one that goes itself included: Fast NMS (arXiv 1904.02689).

    Returns B tensors (n, 6 + extra): xyxy, confidence, class, extra; or, `rotated`, (n, 7): center, width, height,
    confidence, class, theta. Raises ConfigError for arguments of the public package that have no meaning here.
    """
    for name, given, instead in (
        ("return_idxs", return_idxs, "append the anchor points' numbers to `prediction` as an extra row"),
        ("labels", labels, "for autolabeling, concatenate labels and detections yourself"),
    ):
        if given:
            raise ConfigError(f"non_max_suppression({name}={given!r}): {instead}")
    if isinstance(prediction, (list, tuple)):
        prediction = prediction[0]
    if end2end:
        kinds = None if classes is None else prediction.new_tensor(classes)
        kept = (rows[rows[:, 4] > conf_thres] for rows in prediction.float())
        return [(rows if kinds is None else rows[torch.isin(rows[:, 5], kinds)])[:max_det] for rows in kept]
    nc = nc or prediction.shape[1] - 4 - rotated
    choose = candidates if prediction.is_cpu else candidates_together
    images = list(choose(prediction, conf_thres, classes, multi_label, nc, max_nms))
    if rotated:
        return [rows[_fast_nms(rows, iou_thres, agnostic, max_det)] for rows in images]
    images = [torch.cat((xywh2xyxy(rows[:, :4]), rows[:, 4:]), 1) for rows in images]
    apart = [rows[:, :4] if agnostic else rows[:, :4] + rows[:, 5:6] * max_wh for rows in images]
    if prediction.is_cuda and sum(map(len, images)) <= TOGETHER:  # MPS has no float64
        keep = _nms_together(apart, [rows[:, 4] for rows in images], iou_thres, max_det, (nc + 2) * max_wh)
    else:
        keep = [_nms(boxes, rows[:, 4], iou_thres, max_det) for boxes, rows in zip(apart, images, strict=True)]
    return [rows[kept] for rows, kept in zip(images, keep, strict=True)]


def candidates(
    prediction: Tensor,
    conf_thres: float,
    classes: Sequence[int] | None,
    multi_label: bool,
    nc: int,
    max_nms: int = 30000,
) -> Iterator[Tensor]:
    """Candidates of each image, most confident first: rows (n, 6 + extra) xywh, confidence, class, extra.

    The arguments are those of `non_max_suppression`.
    """
    for image in prediction.float().transpose(1, 2):  # (A, 4 + nc + extra)
        confident = image[image[:, 4 : 4 + nc].amax(1) > conf_thres]
        boxes, scores, extra = confident.split((4, nc, confident.shape[1] - 4 - nc), 1)
        if multi_label and nc > 1:
            anchor, cls = torch.nonzero(scores > conf_thres, as_tuple=True)
            conf = scores[anchor, cls]
            boxes, extra = boxes[anchor], extra[anchor]
        else:
            conf, cls = scores.max(1)
        rows = torch.cat((boxes, conf[:, None], cls[:, None].to(conf.dtype), extra), 1)
        if classes is not None:
            rows = rows[torch.isin(rows[:, 5], rows.new_tensor(classes))]
        yield rows[rows[:, 4].argsort(descending=True, stable=True)[:max_nms]]


def candidates_together(
    prediction: Tensor,
    conf_thres: float,
    classes: Sequence[int] | None,
    multi_label: bool,
    nc: int,
    max_nms: int = 30000,
) -> list[Tensor]:
    """What `candidates` gives, of all images at once: a GPU is asked twice how many there are, not twice an image.

    On a CPU, which need not be asked, it takes up to seven times as long, as classes of all anchor points are compared.
    """
    rows = prediction.float().transpose(1, 2)  # (B, A, 4 + nc + extra)
    scores = rows[..., 4 : 4 + nc]
    wanted = torch.arange(nc)
    wanted = upload(wanted >= 0 if classes is None else torch.isin(wanted, torch.as_tensor(classes).cpu()), rows.device)
    if multi_label and nc > 1:
        found = (scores > conf_thres) & wanted  # (B, A, nc)
        image, anchor, cls = found.nonzero(as_tuple=True)
        conf = scores[image, anchor, cls]
    else:
        best, best_cls = scores.max(2)
        found = (best > conf_thres) & wanted[best_cls]  # (B, A)
        image, anchor = found.nonzero(as_tuple=True)
        conf, cls = best[image, anchor], best_cls[image, anchor]
    order = conf.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]  # by image, in each by confidence
    chosen, more = rows[image, anchor].split((4, rows.shape[2] - 4), 1)
    chosen = torch.cat((chosen, conf[:, None], cls[:, None].to(conf.dtype), more[:, nc:]), 1)[order]
    return [rows[:max_nms] for rows in chosen.split(found.flatten(1).sum(1).tolist())]


def _nms_together(
    boxes: list[Tensor], scores: list[Tensor], iou_thres: float, max_det: int, apart: float
) -> list[Tensor]:
    """What `_nms` gives for each image, by one call for all of them, whose boxes are moved `apart` pixels."""
    from torchvision.ops import nms

    counts = [len(own) for own in boxes]
    image = upload(torch.arange(len(boxes)).repeat_interleave(torch.tensor(counts)), boxes[0].device)
    moved = torch.cat(boxes).double() + image[:, None] * apart  # a float would lose digits of boxes that far away
    keep = nms(moved, torch.cat(scores).double(), iou_thres).sort().values  # by image, most confident first
    kept_of_image = (image[keep, None] == torch.arange(len(boxes), device=image.device)).sum(0).tolist()
    starts = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
    return [(kept - start)[:max_det] for kept, start in zip(keep.split(kept_of_image), starts, strict=True)]


def _nms(boxes: Tensor, scores: Tensor, iou_thres: float, max_det: int) -> Tensor:
    """Indices of at most `max_det` kept boxes; `boxes` (n, 4) xyxy come with `scores` (n,) descending."""
    if not boxes.is_cpu:
        from torchvision.ops import nms

        # Whether a box is kept depends on the boxes above it alone: a head of the list that fills max_det settles it.
        head = 10 * max_det
        keep = nms(boxes[:head], scores[:head], iou_thres)
        if len(keep) < max_det and len(boxes) > head:
            keep = nms(boxes, scores, iou_thres)
        return keep[:max_det]
    # The same boxes as torchvision's, without its import, which takes longer than the first image.
    threshold = np.float32(iou_thres)  # IoU is above it where it is above `iou_thres`, which is a double
    if float(threshold) > iou_thres:
        threshold = np.nextafter(threshold, np.float32(-1))
    x1, y1, x2, y2 = corners = np.ascontiguousarray(boxes.detach().numpy().T)
    area = (x2 - x1) * (y2 - y1)

    def similar(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        """Whether IoU is above the threshold, (above, below)."""
        left, top, right, bottom = corners[:, above, None]
        width = (np.minimum(right, x2[below]) - np.maximum(left, x1[below])).clip(0)
        height = (np.minimum(bottom, y2[below]) - np.maximum(top, y1[below])).clip(0)
        overlap = width * height
        with np.errstate(invalid="ignore"):  # boxes without area
            return overlap / (area[above, None] + area[below] - overlap) > threshold

    kept = np.empty(0, np.int64)
    for start in range(0, len(boxes), NMS_CHUNK):
        chunk = np.arange(start, min(start + NMS_CHUNK, len(boxes)))
        chunk = chunk[~similar(kept, chunk).any(0)]
        goes, stays = np.triu(similar(chunk, chunk), 1), np.ones(len(chunk), bool)
        for index in np.flatnonzero(goes.any(1)):  # a box suppresses those below it, unless it was itself
            if stays[index]:
                stays &= ~goes[index]
        kept = np.concatenate((kept, chunk[stays]))
        if len(kept) >= max_det:  # whether a box is kept depends on the boxes above it alone
            break
    return torch.from_numpy(kept[:max_det])


def _fast_nms(rows: Tensor, iou_thres: float, agnostic: bool, max_det: int) -> Tensor:
    """Indices of at most `max_det` kept rows (n, 7) of `candidates`."""
    boxes, cls = rows[:, [0, 1, 2, 3, 6]], torch.zeros_like(rows[:, 5]) if agnostic else rows[:, 5]
    # Probiou is 1 - sqrt(1 - exp(-D)), and the Bhattacharyya distance D is at least that of the centers, squared, over
    # four times the sum of the largest variances: boxes farther apart need not be compared.
    reach = 4 * (-math.log(max(1 - (1 - iou_thres) ** 2, 1e-9)) + 0.01)
    variance = boxes[:, 2:4].amax(1).square() / 12
    kept: list[Tensor] = []
    for start in range(0, len(boxes), CHUNK):
        end = min(start + CHUNK, len(boxes))
        x, y = ((boxes[:end, None, axis] - boxes[None, start:end, axis]).square() for axis in (0, 1))  # (end, chunk)
        near = x + y <= reach * (variance[:end, None] + variance[start:end])
        near &= cls[:end, None] == cls[None, start:end]
        above, below = near.triu(1 - start).nonzero(as_tuple=True)  # only pairs of a box and a less confident one
        similar = probiou(boxes[above], boxes[start + below])[:, 0] > iou_thres
        suppressed = torch.zeros(end - start, dtype=torch.bool, device=boxes.device)
        suppressed[below[similar]] = True
        kept.append(start + torch.nonzero(~suppressed).flatten())
        if sum(map(len, kept)) >= max_det:  # the boxes below do not matter
            break
    return torch.cat(kept)[:max_det] if kept else cls.new_zeros(0, dtype=torch.long)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
