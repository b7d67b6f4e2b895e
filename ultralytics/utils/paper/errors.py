"""Kinds of errors of a detector, those of TIDE (arXiv 2008.08115), counted by class.

Legend: M objects and N detections of an image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ultralytics.utils.files import write_csv
from ultralytics.utils.metrics import match_greedily

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU that a hit has, and that a detection of the background has at most
KINDS = ("hit", "class", "localization", "both", "duplicate", "background")  # of detections
HIT, CLASS, LOCALIZATION, BOTH, DUPLICATE, BACKGROUND_KIND = range(len(KINDS))
MISSED = "missed"  # kind of an object


def error_kinds(iou: np.ndarray, pred_cls: np.ndarray, true_cls: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kind of each detection, a number in KINDS, and the object it is about, -1 for none: (N,) each.

    `iou` (M, N), `pred_cls` (N,) in order of confidence, `true_cls` (M,). Hits are those of AP50. The others are asked,
    in this order: does it lie badly on an object of its class (localization), well on one of another class (class),
    well on one of its own, which a more confident one has taken (duplicate), on nothing (background)? Else it lies
    badly on an object of another class (both).
    """
    if not len(true_cls):
        return np.full(len(pred_cls), BACKGROUND_KIND), np.full(len(pred_cls), -1)
    same = true_cls[:, None] == pred_cls
    own, other = np.where(same, iou, 0.0), np.where(same, 0.0, iou)
    taken = match_greedily(np.where(same, iou, -1.0), np.array([FOREGROUND]))[:, 0]
    best_own, best_other = own.max(0), other.max(0)
    asked = {
        HIT: taken >= 0,
        LOCALIZATION: (best_own >= BACKGROUND) & (best_own < FOREGROUND),
        CLASS: best_other >= FOREGROUND,
        DUPLICATE: best_own >= FOREGROUND,
        BACKGROUND_KIND: best_other <= BACKGROUND,
    }
    kinds = np.select(list(asked.values()), list(asked), BOTH)
    about = {HIT: taken, LOCALIZATION: own.argmax(0), CLASS: other.argmax(0)}
    return kinds, np.select([kinds == kind for kind in about], list(about.values()), -1)


@dataclass(frozen=True)
class ImageErrors:
    """Detections of an image, most confident first, and its objects; boxes are in pixels of the original image."""

    file: str
    boxes: np.ndarray  # (N, 4) xyxy, or (N, 5) xywhr
    conf: np.ndarray  # (N,)
    cls: np.ndarray  # (N,)
    kinds: np.ndarray  # (N,), see `error_kinds`
    about: np.ndarray  # (N,)
    true_boxes: np.ndarray  # (M, 4) or (M, 5)
    true_cls: np.ndarray  # (M,)

    def above(self, conf: float) -> "ImageErrors":
        """Those detections that are at least so confident: less confident ones change nothing about them."""
        n = int((self.conf >= conf).sum())
        parts = (part[:n] for part in (self.boxes, self.conf, self.cls, self.kinds, self.about))
        return ImageErrors(self.file, *parts, self.true_boxes, self.true_cls)

    @property
    def missed(self) -> np.ndarray:
        """Objects (M,) that no detection is about, be it with a wrong class or in a wrong place."""
        return ~np.isin(np.arange(len(self.true_cls)), self.about)


def write_errors(path: Path, images: Sequence[ImageErrors], names: Mapping[int, str]) -> None:
    """Write errors.csv: a row for all classes and one for each.

    Objects, hits and missed ones are those of the true class, other kinds those of the predicted one. An object that is
    neither hit nor missed is what an error of class or localization is about.
    """
    counts = np.zeros((len(names), 2 + len(KINDS)), int)  # objects, kinds of detections, missed
    for image in images:
        np.add.at(counts, (image.true_cls.astype(int), 0), 1)
        np.add.at(counts, (image.cls.astype(int), 1 + image.kinds), 1)
        np.add.at(counts, (image.true_cls[image.missed].astype(int), -1), 1)
    columns = ("objects", *KINDS, MISSED)
    rows = [("all", counts.sum(0)), *((name, counts[c]) for c, name in names.items())]
    write_csv(path, [{"name": name, **dict(zip(columns, row.tolist(), strict=True))} for name, row in rows])
