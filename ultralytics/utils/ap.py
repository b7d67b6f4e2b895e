"""Average precision, and precision, recall and F1 over the confidence, per class.

Legend: N detections and M objects of a dataset, C classes that have ground truth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

RECALL_POINTS = np.linspace(0, 1, 101)
CURVE_POINTS = np.linspace(0, 1, 1000)
SMOOTHING = 0.1  # of the confidences, in the search for the best F1: a narrow peak is chance


class Curve(NamedTuple):
    """A line for every class: `x` (1000,), `y` (C, 1000)."""

    x: np.ndarray
    y: np.ndarray
    xlabel: str
    ylabel: str


@dataclass
class Metric:
    """Measurements of the C classes that have ground truth, out of `nc`; in the order of `ap_per_class(...)[2:]`.

    `p`, `r`, `f1` (C,) hold at `conf`, the confidence of the highest mean F1; `all_ap` (C, 10) at IoU 0.50:0.05:0.95;
    `ap_class_index` (C,) names the classes. `p_curve`, `r_curve`, `f1_curve` (C, 1000) over the confidence and
    `prec_values` (C, 1000) over the recall, both 0..1 as in `px` (1000,), are of IoU 0.50.
    """

    p: np.ndarray = field(default_factory=partial(np.zeros, 0))
    r: np.ndarray = field(default_factory=partial(np.zeros, 0))
    f1: np.ndarray = field(default_factory=partial(np.zeros, 0))
    all_ap: np.ndarray = field(default_factory=partial(np.zeros, (0, 10)))
    ap_class_index: np.ndarray = field(default_factory=partial(np.zeros, 0, int))
    p_curve: np.ndarray = field(default_factory=partial(np.zeros, (0, 1000)))
    r_curve: np.ndarray = field(default_factory=partial(np.zeros, (0, 1000)))
    f1_curve: np.ndarray = field(default_factory=partial(np.zeros, (0, 1000)))
    px: np.ndarray = field(default_factory=lambda: CURVE_POINTS)
    prec_values: np.ndarray = field(default_factory=partial(np.zeros, (0, 1000)))
    nc: int = 0

    columns: ClassVar[tuple[str, ...]] = ("precision", "recall", "mAP50", "mAP50-95")  # names of `mean_results`

    def __post_init__(self) -> None:
        self.ap, self.ap50 = self.all_ap.mean(1), self.all_ap[:, 0]  # AP50-95 and AP50 of each class, (C,)
        # Means over the classes of precision, recall, AP50, AP75 and AP50-95, 0 where there are no classes.
        values = (self.p, self.r, self.ap50, self.all_ap[:, 5], self.all_ap)
        self.mp, self.mr, self.map50, self.map75, self.map = (float(v.mean()) if v.size else 0.0 for v in values)
        # AP50-95 of all `nc` classes, (nc,); a class without ground truth has the mean.
        self.maps = np.full(self.nc, self.map)
        self.maps[self.ap_class_index] = self.ap
        # Confidence of the highest mean F1.
        self.conf = float(self.px[smooth(self.f1_curve.sum(0), SMOOTHING).argmax()])

    def update(self, results: Sequence[np.ndarray]) -> None:
        """Take the measurements of `ap_per_class(...)[2:]` in place of those that are there."""
        for part, value in zip(fields(self), results, strict=False):
            setattr(self, part.name, value)
        self.nc = max(self.nc, int(self.ap_class_index.max(initial=-1)) + 1)
        self.__post_init__()

    def fitness(self) -> float:
        """Objective of training: mAP50-95."""
        return self.map

    def mean_results(self) -> list[float]:
        """Mean precision, recall, AP50 and AP50-95."""
        return [self.mp, self.mr, self.map50, self.map]

    def class_result(self, i: int) -> tuple[float, float, float, float]:
        """Precision, recall, AP50 and AP50-95 of the i-th class with ground truth."""
        return float(self.p[i]), float(self.r[i]), float(self.ap50[i]), float(self.ap[i])

    @property
    def curves_results(self) -> list[Curve]:
        """Precision over recall, then F1, precision and recall over confidence."""
        return [
            Curve(self.px, self.prec_values, "Recall", "Precision"),
            Curve(self.px, self.f1_curve, "Confidence", "F1"),
            Curve(self.px, self.p_curve, "Confidence", "Precision"),
            Curve(self.px, self.r_curve, "Confidence", "Recall"),
        ]


def ap_per_class(
    tp: np.ndarray,
    conf: np.ndarray,
    pred_cls: np.ndarray,
    target_cls: np.ndarray,
    plot: bool = False,  # draw the four curves
    on_plot: Callable[[Path], None] | None = None,  # called with each of their files
    save_dir: str | Path = "",
    names: Mapping[int, str] | None = None,  # of the classes, for the legend
    eps: float = 1e-16,  # keeps an F1 without precision and recall from being NaN
    prefix: str = "",  # before the names of the files
) -> tuple[np.ndarray, ...]:
    """Measure the detections of a whole dataset, class by class.

    `tp` (N, 10) bool from `match_predictions`, `conf`, `pred_cls` (N,), in any order; `target_cls` (M,) of all objects.

    Returns numbers of true and of false positives, precision, recall and F1 (C,) at the best confidence, AP (C, 10),
    the classes (C,), precision, recall and F1 over the confidence (C, 1000), the abscissae of all curves (1000,), and
    precision over the recall (C, 1000), which is 0 for a class that is never detected.
    """
    classes, totals = np.unique(np.asarray(target_cls).astype(int), return_counts=True)
    order = np.lexsort((-conf, pred_cls))  # by class, the most confident first
    tp, conf, pred_cls = tp[order], conf[order], pred_cls[order]
    starts, ends = (np.searchsorted(pred_cls, classes, side) for side in ("left", "right"))

    ap = np.zeros((len(classes), tp.shape[1]))
    prec_values, p_curve, r_curve = np.zeros((3, len(classes), len(CURVE_POINTS)))
    for i, (start, end, total) in enumerate(zip(starts, ends, totals, strict=True)):
        if start == end:
            continue
        hits = tp[start:end].cumsum(0)  # (n, 10)
        recall = hits / total
        precision = hits / np.arange(1, end - start + 1)[:, None]
        for k in range(tp.shape[1]):
            ap[i, k], envelope, reached = compute_ap(recall[:, k], precision[:, k])
            if k == 0:
                prec_values[i] = np.interp(CURVE_POINTS, reached, envelope)
        # np.interp wants rising abscissae, and confidence falls; above the highest one nothing is detected.
        r_curve[i] = np.interp(-CURVE_POINTS, -conf[start:end], recall[:, 0], left=0)
        p_curve[i] = np.interp(-CURVE_POINTS, -conf[start:end], precision[:, 0], left=1)

    f1_curve = 2 * p_curve * r_curve / (p_curve + r_curve + eps)
    best = smooth(f1_curve.sum(0), SMOOTHING).argmax()
    p, r, f1 = p_curve[:, best], r_curve[:, best], f1_curve[:, best]
    true_positives = (r * totals).round()
    false_positives = (true_positives / (p + eps) - true_positives).round()
    measured = (p, r, f1, ap, classes, p_curve, r_curve, f1_curve, CURVE_POINTS, prec_values)
    if plot:
        from ultralytics.utils.charts.metrics import plot_curves

        shown = {c: str(c) for c in classes.tolist()} | dict(names or {})
        for file in plot_curves(Metric(*measured, nc=max(shown, default=-1) + 1), shown, save_dir, prefix):
            if on_plot:
                on_plot(file)
    return true_positives, false_positives, *measured


def compute_ap(recall: np.ndarray, precision: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Average precision of a curve given by precision (n,) over rising recall (n,), most confident first.

    Returns the area under the envelope of the precision, by trapezoids between 101 points as COCO places them; the
    envelope, which falls, and its abscissae, both (n + 3,): from recall 0 to 1, 0 beyond the last recall reached.
    """
    recall, precision = np.asarray(recall, float), np.asarray(precision, float)
    mrec = np.concatenate(([0.0], recall, recall[-1:] if len(recall) else [1.0], [1.0]))
    mpre = np.concatenate(([1.0], precision, [0.0, 0.0]))
    mpre = np.maximum.accumulate(mpre[::-1])[::-1]
    height = np.interp(RECALL_POINTS, mrec, mpre)
    return float((height[:-1] + height[1:]).mean() / 2), mpre, mrec


def smooth(y: np.ndarray, f: float = 0.05) -> np.ndarray:
    """Moving average of a curve (n,) over a fraction `f` of its points; the ends continue with their own value."""
    width = round(len(y) * f * 2) // 2 + 1
    width += width % 2 == 0  # odd, so that the average is centered
    return np.convolve(np.pad(y, width // 2, mode="edge"), np.full(width, 1 / width), mode="valid")
