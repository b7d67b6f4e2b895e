"""How well boxes fit, and how well a network detects."""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ultralytics.utils.ap import Curve, Metric, ap_per_class
from ultralytics.utils.confusion import ConfusionMatrix
from ultralytics.utils.matching import IOU_THRESHOLDS, box_iou, match_predictions
from ultralytics.utils.ops import xywh2xyxy

__all__ = [
    "BOX",
    "IOU_THRESHOLDS",
    "MASK",
    "POSE",
    "DetMetrics",
    "Metric",
    "MetricSet",
    "PoseMetrics",
    "SegmentMetrics",
    "ap_per_class",
    "bbox_iou",
    "box_iou",
    "match_predictions",
]


def bbox_iou(
    box1: Tensor,
    box2: Tensor,
    xywh: bool = True,
    GIoU: bool = False,
    DIoU: bool = False,
    CIoU: bool = False,
    eps: float = 1e-7,
) -> Tensor:
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
        """What training maximises: mAP50-95."""
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
