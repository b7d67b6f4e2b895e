"""Which detection shows which object."""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.ap import Curve, Metric, ap_per_class
from ultralytics.utils.ops import xywh2xyxy

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10, dtype=np.float32)  # of masks 7/10 is common, and in float32 reaches 0.7


def box_iou(box1: torch.Tensor, box2: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """IoU of every box of `box1` (N, 4) with every one of `box2` (M, 4), both xyxy: (N, M)."""
    box1, box2 = (box.to(torch.promote_types(box.dtype, torch.float32)) for box in (box1, box2))
    lower = torch.maximum(box1[:, None, :2], box2[None, :, :2])
    upper = torch.minimum(box1[:, None, 2:], box2[None, :, 2:])
    intersection = (upper - lower).clamp_(min=0).prod(-1)  # (N, M)
    area1, area2 = ((box[:, 2:] - box[:, :2]).prod(-1) for box in (box1, box2))
    return intersection / (area1[:, None] + area2 - intersection + eps)


def match_greedily(iou: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
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
    own class, as `match_greedily` describes.
    """
    same_class = true_cls[:, None] == pred_cls
    return match_greedily(np.where(same_class, iou.astype(np.float32), np.float32(-1)), thresholds) >= 0


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

    `box1`, `box2` (..., 4), xywh or xyxy; returns (..., 1). GIoU (arXiv 1902.09630) subtracts the share of the
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
    if DIoU:
        return diou

    angle1, angle2 = (torch.atan(size[..., :1] / (size[..., 1:] + eps)) for size in (size1, size2))
    v = (4 / math.pi**2) * (angle1 - angle2).square()
    with torch.no_grad():
        alpha = v / (v - iou + 1 + eps)
    return diou - alpha * v


def probiou(box1: Tensor, box2: Tensor, spread: float = 0.0, eps: float = 1e-7) -> Tensor:
    """Overlap 0..1 of boxes (..., 5) that broadcast against each other, (...).

    A box is taken for the normal distribution of equal mean and variance, `spread` added to the variances along its
    axes, and the overlap is 1 minus the Hellinger distance of the two: arXiv 2106.06072.
    """
    a1, b1, c1 = _covariance(box1, spread)
    a2, b2, c2 = _covariance(box2, spread)
    a, b, c = a1 + a2, b1 + b2, c1 + c2
    det, det1, det2 = a * b - c.square(), a1 * b1 - c1.square(), a2 * b2 - c2.square()
    dx, dy = box2[..., 0] - box1[..., 0], box1[..., 1] - box2[..., 1]
    apart = (a * dy.square() + b * dx.square()) / (4 * (det + eps)) + c * dx * dy / (2 * (det + eps))
    unlike = (det / (4 * (det1.clamp(min=0) * det2.clamp(min=0)).sqrt() + eps) + eps).log() / 2
    bhattacharyya = (apart + unlike).clamp(eps, 100)
    return 1 - (1 - (-bhattacharyya).exp() + eps).sqrt()


def _covariance(boxes: Tensor, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    """Variance of x, that of y, and covariance, each (...), of a uniform distribution over the boxes (..., 5)."""
    along, across = boxes[..., 2].square() / 12 + spread, boxes[..., 3].square() / 12 + spread
    cos, sin = boxes[..., 4].cos(), boxes[..., 4].sin()
    x = along * cos.square() + across * sin.square()
    y = along * sin.square() + across * cos.square()
    return x, y, (along - across) * cos * sin


BOX_AREA_FRACTION = 0.53  # of a box that its object covers on average, where areas are not known
COCO_SHAPE = (17, 3)
# How exactly people place COCO's points: standard deviations in roots of an object's area
# (https://cocodataset.org/#keypoints-eval).
COCO_SIGMAS = tuple(
    sigma / 10
    for sigma in (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)
)


def oks_sigmas(kpt_shape: tuple[int, int], given: tuple[float, ...] | None = None) -> tuple[float, ...]:
    """Of each point: those `given` by the data, COCO's for its shape, else the same for all, 1 / K."""
    points = kpt_shape[0]
    return tuple(given) if given else COCO_SIGMAS if tuple(kpt_shape) == COCO_SHAPE else (1 / points,) * points


def oks_exponent(squared: Tensor, sigmas: Tensor, area: Tensor) -> Tensor:
    """What OKS has in its exponent: squared distances in units of (2 sigma)^2 times the object's area, halved.

    `squared` (..., K), `sigmas` (K,), `area` (...).
    """
    return squared / (2 * (2 * sigmas).square() * area[..., None])


def kpt_iou(truth: Tensor, found: Tensor, area: Tensor, sigmas: Tensor, eps: float = 1e-7) -> Tensor:
    """Object keypoint similarity (m, n) of true points (m, K, 3) with found ones (n, K, 2 or more).

    `area` (m,) is that of the true objects, in the square of the points' unit. The mean is over the points whose
    visibility is not 0; an object without any is similar to nothing.
    """
    squared = (truth[:, None, :, :2] - found[None, :, :, :2]).square().sum(-1)  # (m, n, K)
    seen = (truth[..., 2] != 0).to(squared.dtype)[:, None]
    similar = (-oks_exponent(squared, sigmas, area[:, None] + eps)).exp()
    return (similar * seen).sum(-1) / (seen.sum(-1) + eps)


class ConfusionMatrix:
    """Counts of predicted (rows) against true classes (columns); the last of each is the background.

    `matrix` (nc + 1, nc + 1): a detection without object counts in the last column, an object that nothing detects in
    the last row. Without `background`, for images of one class each, (nc, nc).
    """

    def __init__(self, names: dict[int, str], background: bool = True) -> None:
        self.names = names
        self.nc = len(names)
        self.matrix = np.zeros((self.nc + background, self.nc + background), dtype=int)

    def process_cls_preds(self, preds: np.ndarray, targets: np.ndarray) -> None:
        """Add images: the predicted class (n,) of each and the true one (n,)."""
        np.add.at(self.matrix, (preds, targets), 1)

    def process_batch(
        self,
        detections: torch.Tensor,
        gt_bboxes: torch.Tensor,
        gt_cls: torch.Tensor,
        conf: float = 0.25,
        iou_thres: float = 0.45,
        iou: np.ndarray | None = None,
    ) -> None:
        """Add one image: detections (n, 6) xyxy, confidence, class in order of confidence; objects (m, 4) xyxy, (m,).

        Only detections above `conf` count. They take objects as for the AP, whatever the classes. `iou` (m, n) replaces
        that of the boxes, which may then be in any notation.
        """
        if iou is None:
            iou = box_iou(gt_bboxes, detections[:, :4]).cpu().numpy()
        sure = detections[:, 4] > conf
        detections, iou = detections[sure], iou[:, sure.cpu().numpy()]
        taken = match_greedily(iou, np.array([iou_thres]))[:, 0]  # (n,) object or -1
        true = gt_cls.cpu().numpy().astype(int)
        predicted = detections[:, 5].cpu().numpy().astype(int)

        found = taken >= 0
        np.add.at(self.matrix, (predicted[found], true[taken[found]]), 1)
        np.add.at(self.matrix, (predicted[~found], self.nc), 1)
        np.add.at(self.matrix, (self.nc, np.delete(true, taken[found])), 1)


@dataclass(frozen=True)
class MetricSet:
    """One way to match detections with objects: its letter in metric names, its key in the statistics, its title."""

    letter: str
    tp: str
    title: str

    def column(self, name: str) -> str:
        """Head of a column in the table per class; the public package leaves the AP of boxes without a title."""
        return name if self.letter == "B" and name.startswith("mAP") else f"{self.title}-{name}"


BOX = MetricSet("B", "tp", "Box")
MASK = MetricSet("M", "tp_m", "Mask")
POSE = MetricSet("P", "tp_p", "Pose")


class DetMetrics:
    """What a validation finds out, gathered image by image.

    Detection matches by box IoU alone. A task that matches the same detections a second time, by mask or by keypoints,
    names a second set; means, classes, keys and curves of the sets then follow each other, fitness and `maps` add up.
    `speed` is in milliseconds per image.
    """

    def __init__(self, names: dict[int, str], sets: tuple[MetricSet, ...] = (BOX,)) -> None:
        self.names = names
        self.sets = sets
        self.save_dir: Path | None = None
        self.speed = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.confusion_matrix = ConfusionMatrix(names)
        self._stats: dict[str, list[np.ndarray]] = defaultdict(list)
        self.process()

    def update_stats(self, stats: dict[str, np.ndarray]) -> None:
        """Add one image.

        `tp` (n, 10) bool (and the same of further sets under their own key), `conf` (n,), `pred_cls` (n,) of its
        detections, `target_cls` (m,) of its objects, `target_img` the classes among them, each once.
        """
        for key, value in stats.items():
            self._stats[key].append(value)

    def process(self) -> None:
        """Measure everything that was gathered so far."""
        conf, pred_cls, target_cls, target_img = map(self._gathered, ("conf", "pred_cls", "target_cls", "target_img"))
        nc = len(self.names)
        self.nt_per_class = np.bincount(target_cls.astype(int), minlength=nc)  # objects
        self.nt_per_image = np.bincount(target_img.astype(int), minlength=nc)  # images
        self.results = {
            s.letter: ap_per_class(self._gathered(s.tp, len(IOU_THRESHOLDS)), conf, pred_cls, target_cls, nc)
            for s in self.sets
        }

    def _gathered(self, key: str, *width: int) -> np.ndarray:
        return np.concatenate(self._stats[key]) if self._stats[key] else np.zeros((0, *width))

    @property
    def box(self) -> Metric:
        """Measured by box IoU."""
        return self.results["B"]

    @property
    def ap_class_index(self) -> np.ndarray:
        """The classes with ground truth, (C,)."""
        return self.box.ap_class_index

    @property
    def maps(self) -> np.ndarray:
        """AP50-95 of every class, (nc,)."""
        return sum(metric.maps for metric in self.results.values())

    @property
    def fitness(self) -> float:
        """What training maximizes: mAP50-95."""
        return sum(metric.map for metric in self.results.values())

    @property
    def keys(self) -> list[str]:
        """Names of `mean_results()`, as in results.csv."""
        return [
            f"metrics/{name}({s.letter})" for s in self.sets for name in ("precision", "recall", "mAP50", "mAP50-95")
        ]

    def mean_results(self) -> list[float]:
        """Mean precision, recall, AP50 and AP50-95 of each set."""
        return [value for metric in self.results.values() for value in metric.mean_results()]

    def class_result(self, i: int) -> list[float]:
        """Precision, recall, AP50 and AP50-95 of each set for the i-th class with ground truth."""
        return [value for metric in self.results.values() for value in metric.class_result(i)]

    @property
    def results_dict(self) -> dict[str, float]:
        """Means by name, and the fitness."""
        return {**dict(zip(self.keys, self.mean_results(), strict=True)), "fitness": self.fitness}

    @property
    def curves(self) -> list[str]:
        """Names of `curves_results`."""
        kinds = ("Precision-Recall", "F1-Confidence", "Precision-Confidence", "Recall-Confidence")
        return [f"{kind}({s.letter})" for s in self.sets for kind in kinds]

    @property
    def curves_results(self) -> list[Curve]:
        """Four curves of each set, a line for every class with ground truth."""
        return [curve for metric in self.results.values() for curve in metric.curves_results]

    def summary(self, decimals: int = 5) -> list[dict[str, str | int | float]]:
        """The table per class: a row for every class with ground truth."""
        rows = []
        for i, c in enumerate(self.ap_class_index.tolist()):
            row = {"Class": self.names[c], "Images": int(self.nt_per_image[c]), "Instances": int(self.nt_per_class[c])}
            for s in self.sets:
                columns = self.results[s.letter].columns
                row |= {s.column(name): round(float(values[i]), decimals) for name, values in columns.items()}
            rows.append(row)
        return rows


class SegmentMetrics(DetMetrics):
    """Detections matched by box IoU, and a second time by mask IoU."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__(names, (BOX, MASK))

    @property
    def seg(self) -> Metric:
        """Measured by mask IoU."""
        return self.results["M"]


class PoseMetrics(DetMetrics):
    """Detections matched by box IoU, and a second time by the similarity of their keypoints."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__(names, (BOX, POSE))

    @property
    def pose(self) -> Metric:
        """Measured by object keypoint similarity."""
        return self.results["P"]


TOP = 5


class ClassifyMetrics:
    """What a validation of a classifier finds out, gathered batch by batch; `speed` is in milliseconds per image."""

    keys = ("metrics/accuracy_top1", "metrics/accuracy_top5")

    def __init__(self, names: dict[int, str]) -> None:
        self.names = names
        self.save_dir: Path | None = None
        self.speed = {"preprocess": 0.0, "inference": 0.0, "loss": 0.0, "postprocess": 0.0}
        self.confusion_matrix = ConfusionMatrix(names, background=False)
        self._ranks: list[np.ndarray] = []
        self._targets: list[np.ndarray] = []
        self.process()

    def update_stats(self, first: np.ndarray, targets: np.ndarray) -> None:
        """Add images: of each the likeliest classes (n, k), best first, and the true class (n,)."""
        hits = first == targets[:, None]
        self._ranks.append(np.where(hits.any(1), hits.argmax(1), TOP))
        self._targets.append(targets)
        self.confusion_matrix.process_cls_preds(first[:, 0], targets)

    def process(self) -> None:
        """Measure everything that was gathered so far."""
        ranks = np.concatenate([np.empty(0, int), *self._ranks])
        targets = np.concatenate([np.empty(0, int), *self._targets])
        self.nt_per_class = np.bincount(targets, minlength=len(self.names))  # images
        self.top1, self.top5 = (float((ranks < k).mean()) if len(ranks) else 0.0 for k in (1, TOP))
        of_class = [ranks[targets == c] for c in range(len(self.names))]
        self.per_class = np.array([[(r < k).mean() if len(r) else 0.0 for k in (1, TOP)] for r in of_class])  # (nc, 2)

    @property
    def fitness(self) -> float:
        """What training maximizes: the mean of both accuracies."""
        return (self.top1 + self.top5) / 2

    def mean_results(self) -> list[float]:
        """The share of images whose class is the likeliest, and among the five likeliest."""
        return [self.top1, self.top5]

    @property
    def results_dict(self) -> dict[str, float]:
        """Accuracies by name, and the fitness."""
        return {**dict(zip(self.keys, self.mean_results(), strict=True)), "fitness": self.fitness}

    def summary(self, decimals: int = 5) -> list[dict[str, float]]:
        """Both accuracies, as the one row of a table."""
        return [{"top1_acc": round(self.top1, decimals), "top5_acc": round(self.top5, decimals)}]
