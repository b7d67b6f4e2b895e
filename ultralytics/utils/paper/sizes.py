"""AP of small, medium and large objects, by COCO's areas and rules, without a COCO file.

Legend: M objects and N detections of an image, n detections of a class, T IoU thresholds.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from ultralytics.utils.ap import RECALL_POINTS
from ultralytics.utils.metrics import match_greedily
from ultralytics.utils.processes import gather_images

# Areas in pixels of the original image, both ends included (https://cocodataset.org/#detection-eval).
SIZES: Mapping[str, tuple[float, float]] = {"small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
THRESHOLDS = np.linspace(0.5, 0.95, 10) - 1e-6  # an IoU of 0.5 counts at 0.5, also one that is rounded down


class APBySize:
    """AP50-95 of every size, from images that are added one by one.

    Objects of another size are neither wanted nor wrong: a detection that takes one does not count, nor does one of
    another size that takes none. So an area of -1 leaves an object out. Boxes are judged by their own areas, where
    COCO's annotations have those of masks.
    """

    def __init__(self, sizes: Sequence[str] = tuple(SIZES)) -> None:
        self._detections: dict[str, list[np.ndarray]] = {size: [] for size in sizes}  # (N, 2 + 2T) class, conf, flags
        self._objects: dict[str, list[np.ndarray]] = {size: [] for size in sizes}  # classes of those of the size

    def add(
        self,
        iou: np.ndarray,
        conf: np.ndarray,
        pred_cls: np.ndarray,
        true_cls: np.ndarray,
        pred_area: np.ndarray,
        true_area: np.ndarray,
    ) -> None:
        """Add an image: `iou` (M, N); of its detections, in order of confidence, and of its objects class and area."""
        # Labels are whole pixels, divided and multiplied by the side of an image: 1024 is to be 1024 again.
        pred_area, true_area = pred_area.round(2), true_area.round(2)
        iou = np.where(true_cls[:, None] == pred_cls, iou, -1.0)
        for size in self._detections:
            low, high = SIZES[size]
            wanted, fitting = ((low <= area) & (area <= high) for area in (true_area, pred_area))
            taken = match_greedily(iou, THRESHOLDS, preferred=wanted)  # (N, T)
            hit = np.append(wanted, False)[taken]  # -1, nothing taken, is the appended one
            ignored = np.where(taken >= 0, ~hit, ~fitting[:, None])
            self._detections[size].append(np.column_stack((pred_cls, conf, hit, ignored)))
            self._objects[size].append(true_cls[wanted])

    def gather(self, batch: int) -> None:
        """Add the images of all processes, where several have a share of each batch."""
        for size in self._detections:
            self._detections[size] = gather_images(self._detections[size], batch)
            self._objects[size] = gather_images(self._objects[size], batch)

    def results(self) -> dict[str, dict[int, float]]:
        """AP50-95 of every class that has objects of a size, by size."""
        found = {}
        for size, parts in self._detections.items():
            rows = np.concatenate([np.zeros((0, 2 + 2 * len(THRESHOLDS))), *parts])
            rows = rows[np.argsort(-rows[:, 1], kind="stable")]
            classes, totals = np.unique(np.concatenate([np.zeros(0), *self._objects[size]]), return_counts=True)
            found[size] = {}
            for c, total in zip(classes.tolist(), totals.tolist(), strict=True):
                hit, ignored = np.split(rows[rows[:, 0] == c, 2:].astype(bool), 2, axis=1)  # (n, T) each
                aps = [coco_ap(h[~i], total) for h, i in zip(hit.T, ignored.T, strict=True)]
                found[size][int(c)] = float(np.mean(aps))
        return found


def coco_ap(hit: np.ndarray, total: int) -> float:
    """COCO's AP of detections (n,), most confident first: mean of the precision's envelope at 101 recalls.

    `compute_ap` in utils/ap.py takes the area below the same points, as the public package does for its mAP.
    """
    hits = hit.cumsum()
    recall, precision = hits / total, hits / np.arange(1, len(hit) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(envelope[np.searchsorted(recall, RECALL_POINTS, side="left")].mean())
