"""Average precision, and precision, recall and F1 over the confidence, per class."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

RECALL_POINTS = np.linspace(0, 1, 101)
EPS = 1e-16  # of an F1 without precision and recall
CURVE_POINTS = np.linspace(0, 1, 1000)


class Curve(NamedTuple):
    """A line for every class: `x` (1000,), `y` (C, 1000)."""

    x: np.ndarray
    y: np.ndarray
    xlabel: str
    ylabel: str


@dataclass(frozen=True)
class Metric:
    """Measurements of the C classes that have ground truth, out of `nc`.

    `ap_class_index` (C,) names the classes; `p`, `r`, `f1` (C,) hold at `conf`, the confidence of the highest mean F1;
    `all_ap` (C, 10) at IoU 0.50:0.05:0.95. `p_curve`, `r_curve`, `f1_curve` (C, 1000) over the confidence and
    `prec_values` (C, 1000) over the recall, both 0..1 as in `px` (1000,), are of IoU 0.50.
    """

    nc: int
    ap_class_index: np.ndarray
    all_ap: np.ndarray
    p: np.ndarray
    r: np.ndarray
    f1: np.ndarray
    conf: float
    px: np.ndarray
    p_curve: np.ndarray
    r_curve: np.ndarray
    f1_curve: np.ndarray
    prec_values: np.ndarray

    @property
    def ap(self) -> np.ndarray:
        """AP50-95 of each class, (C,)."""
        return self.all_ap.mean(1)

    @property
    def ap50(self) -> np.ndarray:
        """AP50 of each class, (C,)."""
        return self.all_ap[:, 0]

    @property
    def mp(self) -> float:
        """Mean precision."""
        return _mean(self.p)

    @property
    def mr(self) -> float:
        """Mean recall."""
        return _mean(self.r)

    @property
    def map50(self) -> float:
        """Mean AP50."""
        return _mean(self.all_ap[:, 0])

    @property
    def map75(self) -> float:
        """Mean AP75."""
        return _mean(self.all_ap[:, 5])

    @property
    def map(self) -> float:
        """Mean AP50-95."""
        return _mean(self.all_ap)

    @property
    def maps(self) -> np.ndarray:
        """AP50-95 of all `nc` classes, (nc,); a class without ground truth has the mean."""
        maps = np.full(self.nc, self.map)
        maps[self.ap_class_index] = self.ap
        return maps

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns (C,) of a table per class."""
        return {
            "P": self.p,
            "R": self.r,
            "F1": self.f1,
            "mAP50": self.ap50,
            "mAP75": self.all_ap[:, 5],
            "mAP50-95": self.ap,
        }

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


def ap_per_class(tp: np.ndarray, conf: np.ndarray, pred_cls: np.ndarray, target_cls: np.ndarray, nc: int) -> Metric:
    """Measure the detections of a whole dataset.

    `tp` (N, 10) bool from `match_predictions`, `conf`, `pred_cls` (N,), in any order; `target_cls` (M,) of all objects.
    """
    classes, totals = np.unique(target_cls.astype(int), return_counts=True)
    order = np.lexsort((-conf, pred_cls))
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
        ap[i] = [average_precision(recall[:, k], precision[:, k]) for k in range(tp.shape[1])]
        prec_values[i] = np.interp(CURVE_POINTS, *precision_envelope(recall[:, 0], precision[:, 0]))
        # np.interp wants rising abscissae, and confidence falls; above the highest one nothing is detected.
        r_curve[i] = np.interp(-CURVE_POINTS, -conf[start:end], recall[:, 0], left=0)
        p_curve[i] = np.interp(-CURVE_POINTS, -conf[start:end], precision[:, 0], left=1)

    f1_curve = 2 * p_curve * r_curve / (p_curve + r_curve + EPS)
    best = _smooth(f1_curve.sum(0)).argmax()
    return Metric(
        nc=nc,
        ap_class_index=classes,
        all_ap=ap,
        p=p_curve[:, best],
        r=r_curve[:, best],
        f1=f1_curve[:, best],
        conf=float(CURVE_POINTS[best]),
        px=CURVE_POINTS,
        p_curve=p_curve,
        r_curve=r_curve,
        f1_curve=f1_curve,
        prec_values=prec_values,
    )


def average_precision(recall: np.ndarray, precision: np.ndarray) -> float:
    """Area under the envelope of precision (n,) over rising recall (n,): trapezoids between 101 points."""
    height = np.interp(RECALL_POINTS, *precision_envelope(recall, precision))
    return float((height[:-1] + height[1:]).mean() / 2)


def precision_envelope(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and falling precision (n + 3,): from recall 0 to 1, 0 beyond the last recall that was reached."""
    recall = np.concatenate(([0.0], recall, recall[-1:], [1.0]))
    precision = np.concatenate(([1.0], precision, [0.0, 0.0]))
    return recall, np.maximum.accumulate(precision[::-1])[::-1]


def _smooth(y: np.ndarray, width: int = 101) -> np.ndarray:
    """Moving average, the ends continued with their own value."""
    return np.convolve(np.pad(y, width // 2, mode="edge"), np.full(width, 1 / width), mode="valid")


def _mean(x: np.ndarray) -> float:
    """Mean, 0 where there is nothing to average."""
    return float(x.mean()) if x.size else 0.0
