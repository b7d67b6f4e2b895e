"""Overlap of boxes, masks and keypoints, matching by it, and the metrics of a validation; AP itself is in ap.py.

Legend: N detections and M objects of an image, n detections and m objects of a dataset, K keypoints, nc classes, C
classes that have ground truth. Rotated boxes are center x and y, width, height, theta.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils import LOGGER, DataExportMixin, refused
from ultralytics.utils.ap import Curve, Metric, ap_per_class, compute_ap, smooth  # noqa: F401 (two only published here)
from ultralytics.utils.ops import xywh2xyxy

# Overlap of boxes ----------------------------------------------------------------------------------------------------


def box_iou(box1: Tensor, box2: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU of every box of `box1` (N, 4) with every one of `box2` (M, 4), both xyxy: (N, M)."""
    box1, box2 = (box.to(torch.promote_types(box.dtype, torch.float32)) for box in (box1, box2))
    lower = torch.maximum(box1[:, None, :2], box2[None, :, :2])
    upper = torch.minimum(box1[:, None, 2:], box2[None, :, 2:])
    intersection = (upper - lower).clamp_(min=0).prod(-1)  # (N, M)
    area1, area2 = ((box[:, 2:] - box[:, :2]).prod(-1) for box in (box1, box2))
    return intersection / (area1[:, None] + area2 - intersection + eps)


def bbox_iou(
    box1: Tensor,
    box2: Tensor,
    xywh: bool = True,
    GIoU: bool = False,
    DIoU: bool = False,
    CIoU: bool = False,
    eps: float = 1e-7,
) -> Tensor:
    """IoU, or one of its generalizations, of boxes that broadcast against each other.

    `box1`, `box2` (..., 4), xywh or xyxy; returns (..., 1). GIoU (arXiv 1902.09630) subtracts the fraction of the
    enclosing box that neither covers, DIoU (arXiv 1911.08287) the squared distance of the centers in units of its
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
    return diou if DIoU else diou - _aspect_penalty(size1, size2, iou, eps)


def _aspect_penalty(size1: Tensor, size2: Tensor, iou: Tensor, eps: float) -> Tensor:
    """The term of CIoU for sizes (..., 2) width, height of different aspect ratio, (..., 1)."""
    angle1, angle2 = (torch.atan(size[..., :1] / (size[..., 1:] + eps)) for size in (size1, size2))
    v = (4 / math.pi**2) * (angle1 - angle2).square()
    # CIoU's weight of the term (arXiv 1911.08287), taken for a constant.
    with torch.no_grad():
        alpha = v / (v - iou + 1 + eps)
    return alpha * v


def bbox_ioa(box1: np.ndarray, box2: np.ndarray, iou: bool = False, eps: float = 1e-7) -> np.ndarray:
    """Fraction of every box of `box2` (M, 4) that each of `box1` (N, 4) covers, or their IoU; xyxy arrays: (N, M)."""
    lower = np.maximum(box1[:, None, :2], box2[None, :, :2])
    upper = np.minimum(box1[:, None, 2:], box2[None, :, 2:])
    intersection = (upper - lower).clip(min=0).prod(-1)
    area1, area2 = ((box[:, 2:] - box[:, :2]).prod(-1) for box in (box1, box2))
    # With eps, a box without area is covered by nothing instead of NaN.
    return intersection / ((area1[:, None] + area2 - intersection if iou else area2) + eps)


def probiou(obb1: Tensor, obb2: Tensor, CIoU: bool = False, eps: float = 1e-7, floor: float = 0.0) -> Tensor:
    """Overlap 0..1 of rotated boxes (..., 5) that broadcast against each other, (..., 1).

    A box is taken for the normal distribution of equal mean and variance, `floor` added to the variances along its
    axes, and the overlap is 1 minus the Hellinger distance of the two: arXiv 2106.06072. `CIoU` subtracts the penalty
    on the aspect ratio of `bbox_iou`.
    """
    a1, b1, c1 = _covariance(obb1, floor)
    a2, b2, c2 = _covariance(obb2, floor)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    det, det1, det2 = a * b - c.square(), a1 * b1 - c1.square(), a2 * b2 - c2.square()
    dx, dy = obb2[..., :1] - obb1[..., :1], obb1[..., 1:2] - obb2[..., 1:2]
    # The Bhattacharyya distance: of the means, and of the shapes.
    apart = (a * dy.square() + b * dx.square()) / (4 * (det + eps)) + c * dx * dy / (2 * (det + eps))
    unlike = (det / (4 * (det1.clamp(min=0) * det2.clamp(min=0)).sqrt() + eps) + eps).log() / 2
    bhattacharyya = (apart + unlike).clamp(eps, 100)
    iou = 1 - (1 - (-bhattacharyya).exp() + eps).sqrt()
    return iou - _aspect_penalty(obb1[..., 2:4], obb2[..., 2:4], iou, eps) if CIoU else iou


def _covariance(boxes: Tensor, floor: float) -> tuple[Tensor, Tensor, Tensor]:
    """Variance of x, that of y, and covariance, each (..., 1), of a uniform distribution over the boxes (..., 5)."""
    # A uniform distribution over a length s has the variance s^2 / 12.
    along, across = boxes[..., 2:3].square() / 12 + floor, boxes[..., 3:4].square() / 12 + floor
    cos, sin = boxes[..., 4:].cos(), boxes[..., 4:].sin()
    x = along * cos.square() + across * sin.square()
    y = along * sin.square() + across * cos.square()
    return x, y, (along - across) * cos * sin


def batch_probiou(obb1: Tensor | np.ndarray, obb2: Tensor | np.ndarray, eps: float = 1e-7) -> Tensor:
    """Overlap of every rotated box of `obb1` (N, 5) with every one of `obb2` (M, 5) as `probiou` has it: (N, M)."""
    return probiou(torch.as_tensor(obb1)[:, None], torch.as_tensor(obb2)[None], eps=eps).squeeze(-1)


# Overlap of masks and keypoints --------------------------------------------------------------------------------------

BOX_AREA_FRACTION = 0.53  # of a box that its object covers on average, where areas are not known
COCO_SHAPE = (17, 3)
# How exactly people place COCO's points: standard deviations in roots of an object's area
# (https://cocodataset.org/#keypoints-eval).
OKS_SIGMA = np.array(
    [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89]
) / 10  # fmt: skip


def mask_iou(mask1: Tensor, mask2: Tensor, eps: float = 1e-7) -> Tensor:
    """IoU of every mask of `mask1` (N, p) with every one of `mask2` (M, p), p pixels of 0 and 1 or (h, w): (N, M)."""
    one, two = mask1.flatten(1).float(), mask2.flatten(1).float()
    intersection = one @ two.T
    return intersection / (one.sum(1)[:, None] + two.sum(1) - intersection + eps)


def oks_sigmas(kpt_shape: tuple[int, int], given: Sequence[float] | None = None) -> tuple[float, ...]:
    """Sigma of each point: those `given` by the data, COCO's for its shape, else the same for all, 1 / K."""
    if given:
        return tuple(given)
    points = kpt_shape[0]
    return tuple(OKS_SIGMA.tolist()) if tuple(kpt_shape) == COCO_SHAPE else (1 / points,) * points


def kpt_iou(kpt1: Tensor, kpt2: Tensor, area: Tensor, sigma: Tensor | Sequence[float], eps: float = 1e-7) -> Tensor:
    """Object keypoint similarity (M, N) of true points `kpt1` (M, K, 3) with predicted ones `kpt2` (N, K, 2 or more).

    `area` (M,) is that of the true objects, in the square of the points' unit, `sigma` (K,). The mean is over the
    points whose visibility is not 0; an object without any is similar to nothing.
    """
    squared = (kpt1[:, None, :, :2] - kpt2[None, :, :, :2]).square().sum(-1)  # (M, N, K)
    visible = (kpt1[..., 2] != 0).to(squared.dtype)[:, None]
    sigma = torch.as_tensor(sigma, dtype=squared.dtype, device=squared.device)
    similar = (-squared / (2 * (2 * sigma).square() * (area[:, None, None] + eps))).exp()
    return (similar * visible).sum(-1) / (visible.sum(-1) + eps)


def smooth_bce(eps: float = 0.1) -> tuple[float, float]:
    """Targets of cross entropy for true and for false with label smoothing: (1 - eps / 2, eps / 2)."""
    return 1.0 - 0.5 * eps, 0.5 * eps


smooth_BCE = smooth_bce  # noqa: N816 (its older name)

# Matching ------------------------------------------------------------------------------------------------------------

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10, dtype=np.float32)  # of masks 7/10 is common, and in float32 reaches 0.7


def match_greedily(iou: np.ndarray, thresholds: np.ndarray, preferred: np.ndarray | None = None) -> np.ndarray:
    """The object that each detection takes at each of T thresholds: (N, T) indices, -1 for none.

    `iou` (M, N) of objects and detections, these in order of confidence; it may be of boxes or masks, or an OKS. One
    detection after the other takes the object of highest IoU that is still free and reaches the threshold; others than
    the `preferred` (M,) only where none of these does.
    """
    detection, target = np.nonzero(thresholds.min() <= iou.T)
    overlap = iou[target, detection]
    rank = overlap if preferred is None else overlap + 2 * preferred[target]
    order = np.lexsort((target, -rank, detection))  # detections in their order, the best object of each first
    detection, target, overlap = detection[order], target[order], overlap[order]
    # Sets of thresholds as bits of a number: those a pair reaches, those an object or a detection is free at.
    bits = 1 << np.arange(len(thresholds))
    pairs = zip(detection.tolist(), target.tolist(), ((overlap[:, None] >= thresholds) @ bits).tolist(), strict=True)
    free, waiting, won = [int(bits.sum())] * iou.shape[0], [int(bits.sum())] * iou.shape[1], []
    for d, m, reached in pairs:
        won.append(hits := reached & free[m] & waiting[d])
        free[m], waiting[d] = free[m] ^ hits, waiting[d] ^ hits
    taken = np.full((len(waiting), len(thresholds)), -1)
    pair, at = np.nonzero(np.array(won, np.int64)[:, None] & bits)
    taken[detection[pair], at] = target[pair]
    return taken


def match_predictions(
    pred_cls: np.ndarray, true_cls: np.ndarray, iou: np.ndarray, thresholds: np.ndarray = IOU_THRESHOLDS
) -> np.ndarray:
    """True positives among the detections of an image at each of T thresholds: (N, T) bool.

    `pred_cls` (N,) in order of confidence, `true_cls` (M,), `iou` (M, N). A detection can only take an object of its
    own class, as `match_greedily` describes.
    """
    same_class = true_cls[:, None] == pred_cls
    return match_greedily(np.where(same_class, iou.astype(np.float32), np.float32(-1)), thresholds) >= 0


class ConfusionMatrix(DataExportMixin):
    """Counts of predicted (rows) against true classes (columns); the last of each is the background.

    `matrix` (nc + 1, nc + 1): a detection without object counts in the last column, an object that nothing detects in
    the last row. For the task "classify", images of one class each, (nc, nc).
    """

    def __init__(self, names: dict[int, str] | None = None, task: str = "detect") -> None:
        self.names = names or {}
        self.nc = len(self.names)
        self.task = task
        side = self.nc + (task != "classify")
        self.matrix = np.zeros((side, side), dtype=int)

    def process_cls_preds(self, preds: np.ndarray, targets: np.ndarray) -> None:
        """Add images: the predicted class (n,) of each and the true one (n,)."""
        np.add.at(self.matrix, (preds, targets), 1)

    def process_batch(
        self,
        detections: Tensor,
        gt_bboxes: Tensor,
        gt_cls: Tensor,
        conf: float = 0.25,
        iou_thres: float = 0.45,
        iou: np.ndarray | None = None,
    ) -> None:
        """Add one image: detections (N, 6) xyxy, confidence, class in order of confidence; objects (M, 4) xyxy, (M,).

        Only detections above `conf` count. They take objects as for the AP, whatever the classes. `iou` (M, N) replaces
        that of the boxes, which may then be in any notation.
        """
        if iou is None:
            iou = box_iou(gt_bboxes, detections[:, :4]).cpu().numpy()
        confident = detections[:, 4] > conf
        detections, iou = detections[confident], iou[:, confident.cpu().numpy()]
        taken = match_greedily(iou, np.array([iou_thres]))[:, 0]  # (N,) object or -1
        true = gt_cls.cpu().numpy().astype(int)
        predicted = detections[:, 5].cpu().numpy().astype(int)

        matched = taken >= 0
        np.add.at(self.matrix, (predicted[matched], true[taken[matched]]), 1)
        np.add.at(self.matrix, (predicted[~matched], self.nc), 1)
        np.add.at(self.matrix, (self.nc, np.delete(true, taken[matched])), 1)

    def tp_fp(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers (nc,) of true and of false positives by class, the background apart."""
        true, predicted = self.matrix.diagonal()[: self.nc], self.matrix.sum(1)[: self.nc]
        return true, predicted - true

    def summary(self, normalize: bool = False, decimals: int = 5) -> list[dict[str, str | float]]:
        """A row for every predicted class, a column for every true one; `normalize` gives fractions of the latter."""
        values = self.matrix / np.maximum(self.matrix.sum(0, keepdims=True), 1e-9) if normalize else self.matrix
        names = [*self.names.values(), "background"][: len(values)]
        return [
            {"Predicted": name, **dict(zip(names, row, strict=True))}
            for name, row in zip(names, values.astype(float).round(decimals).tolist(), strict=True)
        ]

    def print(self) -> None:
        """Log the counts, a row for every predicted class."""
        for row in self.matrix:
            LOGGER.info(" ".join(map(str, row)))

    def plot(
        self, normalize: bool = True, save_dir: str | Path = "", on_plot: Callable[[Path], None] | None = None
    ) -> None:
        """Draw confusion_matrix.png or confusion_matrix_normalized.png in a folder; `on_plot` gets the file."""
        from ultralytics.utils.charts.metrics import plot_confusion_matrix

        file = plot_confusion_matrix(self.matrix, self.names, save_dir, normalize)
        if on_plot:
            on_plot(file)


# Metrics of a validation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MetricSet:
    """One way to match detections with objects."""

    letter: str  # in names of metrics, metrics/mAP50(B)
    tp: str  # key in the statistics
    title: str  # in tables and names of charts
    attribute: str  # of the metrics of a task


BOX = MetricSet("B", "tp", "Box", "box")
MASK = MetricSet("M", "tp_m", "Mask", "seg")
POSE = MetricSet("P", "tp_p", "Pose", "pose")


class DetMetrics(DataExportMixin):
    """Metrics of a validation, from statistics that are added image by image.

    Detection matches by box IoU alone. A task that matches the same detections a second time, by mask or by keypoints,
    names a second set; means, classes, keys and curves of the sets then follow each other, fitness and `maps` add up.
    `speed` is in milliseconds per image.
    """

    box: Metric  # by box IoU
    ap_class_index: np.ndarray  # the classes with ground truth, (C,)
    maps: np.ndarray  # AP50-95 of every class, (nc,)

    def __init__(self, names: dict[int, str] | None = None, sets: tuple[MetricSet, ...] = (BOX,)) -> None:
        self.names = names or {}
        self.sets = sets
        self.save_dir: Path | None = None
        self.speed = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.confusion_matrix = ConfusionMatrix(self.names)
        kinds = ("Precision-Recall", "F1-Confidence", "Precision-Confidence", "Recall-Confidence")
        # Names of `mean_results()`, as in results.csv, and of `curves_results`.
        self.keys = [f"metrics/{column}({s.letter})" for s in sets for column in Metric.columns]
        self.curves = [f"{kind}({s.letter})" for s in sets for kind in kinds]
        self.further: dict[str, float] = {}  # beside the public numbers, of utils/paper/, after a final validation
        self.stats: dict[str, list[np.ndarray]] = defaultdict(list)  # of the images added so far
        self.process()

    def update_stats(self, stats: dict[str, np.ndarray]) -> None:
        """Add one image.

        `tp` (N, 10) bool (and the same of further sets under their own key), `conf` (N,), `pred_cls` (N,) of its
        detections, `target_cls` (M,) of its objects, `target_img` the classes among them, each once.
        """
        for key, value in stats.items():
            self.stats[key].append(value)

    def clear_stats(self) -> None:
        """Forget the images added so far; what was measured stays."""
        self.stats.clear()

    def process(
        self, save_dir: str | Path = ".", plot: bool = False, on_plot: Callable[[Path], None] | None = None
    ) -> dict[str, np.ndarray]:
        """Measure all images added so far, whose statistics are returned.

        With `plot` the curves are drawn in `save_dir`, BoxF1_curve.png and so on; `on_plot` gets each file.
        """
        empty = dict.fromkeys(("conf", "pred_cls", "target_cls", "target_img"), np.zeros(0))
        empty |= {s.tp: np.zeros((0, len(IOU_THRESHOLDS))) for s in self.sets}
        stats = {k: np.concatenate(self.stats[k]) if self.stats.get(k) else none for k, none in empty.items()}
        nc = len(self.names)
        self.nt_per_class = np.bincount(stats["target_cls"].astype(int), minlength=nc)  # objects
        self.nt_per_image = np.bincount(stats["target_img"].astype(int), minlength=nc)  # images
        self.results: dict[str, Metric] = {}
        for s in self.sets:
            _, _, *measured = ap_per_class(stats[s.tp], stats["conf"], stats["pred_cls"], stats["target_cls"])
            self.results[s.letter] = Metric(*measured, nc=nc)
            setattr(self, s.attribute, self.results[s.letter])
        self.ap_class_index = self.box.ap_class_index
        self.maps = sum(metric.maps for metric in self.results.values())
        if plot:
            from ultralytics.utils.charts.metrics import plot_curves

            for s in self.sets:
                for file in plot_curves(self.results[s.letter], self.names, save_dir, s.title):
                    if on_plot:
                        on_plot(file)
        return stats

    @property
    def fitness(self) -> float:
        """Objective of training: mAP50-95, summed over the sets."""
        return sum(metric.map for metric in self.results.values())

    def mean_results(self) -> list[float]:
        """Mean precision, recall, AP50 and AP50-95 of each set."""
        return [value for metric in self.results.values() for value in metric.mean_results()]

    def class_result(self, i: int) -> list[float]:
        """Precision, recall, AP50 and AP50-95 of each set for the i-th class with ground truth."""
        return [value for metric in self.results.values() for value in metric.class_result(i)]

    @property
    def results_dict(self) -> dict[str, float]:
        """Means by name, the fitness, and after a final validation `further` numbers."""
        return {**dict(zip(self.keys, self.mean_results(), strict=True)), "fitness": self.fitness, **self.further}

    @property
    def curves_results(self) -> list[Curve]:
        """Four curves of each set, a line for every class with ground truth."""
        return [curve for metric in self.results.values() for curve in metric.curves_results]

    def summary(self, normalize: bool = True, decimals: int = 5) -> list[dict[str, str | int | float]]:
        """The table per class: a row for every class with ground truth. All are fractions, `normalize` or not."""
        rows = []
        for i, c in enumerate(self.ap_class_index.tolist()):
            row = {"Class": self.names[c], "Images": int(self.nt_per_image[c]), "Instances": int(self.nt_per_class[c])}
            for s in self.sets:
                m = self.results[s.letter]
                values = {"P": m.p, "R": m.r, "F1": m.f1, "mAP50": m.ap50, "mAP75": m.all_ap[:, 5], "mAP50-95": m.ap}
                for name, value in values.items():
                    # The public package leaves the AP of boxes without a title.
                    column = name if s is BOX and name.startswith("mAP") else f"{s.title}-{name}"
                    row[column] = round(float(value[i]), decimals)
            rows.append(row)
        return rows


class SegmentMetrics(DetMetrics):
    """Detections matched by box IoU, and a second time by mask IoU."""

    seg: Metric  # by mask IoU

    def __init__(self, names: dict[int, str] | None = None) -> None:
        super().__init__(names, (BOX, MASK))


class PoseMetrics(DetMetrics):
    """Detections matched by box IoU, and a second time by the similarity of their keypoints."""

    pose: Metric  # by object keypoint similarity

    def __init__(self, names: dict[int, str] | None = None) -> None:
        super().__init__(names, (BOX, POSE))


class OBBMetrics(DetMetrics):
    """Detections of rotated boxes, matched by probiou: measured and named as those of upright ones."""


TOP = 5  # the deepest rank that counts


class ClassifyMetrics(DataExportMixin):
    """Metrics of a classifier's validation, added batch by batch; `speed` is in milliseconds per image."""

    keys = ("metrics/accuracy_top1", "metrics/accuracy_top5")
    curves: tuple[str, ...] = ()  # there are none over a confidence
    curves_results: tuple[Curve, ...] = ()

    def __init__(self, names: dict[int, str] | None = None) -> None:
        self.names = names or {}
        self.save_dir: Path | None = None
        self.speed = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.confusion_matrix = ConfusionMatrix(self.names, task="classify")
        self._ranks: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self.process()

    def update_stats(self, first: np.ndarray, targets: np.ndarray) -> None:
        """Add images: of each the most probable classes (n, k), best first, and the true class (n,)."""
        hits = first == targets[:, None]
        self._ranks.append(np.where(hits.any(1), hits.argmax(1), TOP))
        self._targets.append(targets)
        if self.names:
            self.confusion_matrix.process_cls_preds(first[:, 0], targets)

    def process(self, targets: Sequence[Tensor] = (), pred: Sequence[Tensor] = ()) -> None:
        """Measure all images added so far and, batch by batch, those of true classes (n,) and ranked ones (n, k)."""
        for true, first in zip(targets, pred, strict=True):
            self.update_stats(first.numpy(force=True), true.numpy(force=True))
        ranks = np.concatenate([np.empty(0, int), *self._ranks])
        true = np.concatenate([np.empty(0, int), *self._targets])
        self.nt_per_class = np.bincount(true, minlength=len(self.names))  # images
        self.top1, self.top5 = (float((ranks < k).mean()) if len(ranks) else 0.0 for k in (1, TOP))
        of_class = [ranks[true == c] for c in range(len(self.names))]
        self.per_class = np.array([[(r < k).mean() if len(r) else 0.0 for k in (1, TOP)] for r in of_class])  # (nc, 2)

    @property
    def fitness(self) -> float:
        """Objective of training: the mean of both accuracies."""
        return (self.top1 + self.top5) / 2

    def mean_results(self) -> list[float]:
        """Fractions of the images whose class is the most probable, and among the five most probable."""
        return [self.top1, self.top5]

    @property
    def results_dict(self) -> dict[str, float]:
        """Accuracies by name, and the fitness."""
        return {**dict(zip(self.keys, self.mean_results(), strict=True)), "fitness": self.fitness}

    def summary(self, normalize: bool = True, decimals: int = 5) -> list[dict[str, float]]:
        """Both accuracies, as the one row of a table. They are fractions, `normalize` or not."""
        return [{"top1_acc": round(self.top1, decimals), "top5_acc": round(self.top5, decimals)}]


def __getattr__(name: str) -> Any:
    if name in ("plot_pr_curve", "plot_mc_curve"):  # published here, too; what measures needs nothing that draws
        return getattr(import_module("ultralytics.utils.charts.metrics"), name)
    return refused.getter(__name__)(name)
