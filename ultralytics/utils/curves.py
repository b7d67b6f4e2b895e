"""Charts of precision, recall and F1 of each class."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.ap import Metric
from ultralytics.utils.figures import INK, LETTERS, dress, hex_color, new_figure, save_figure, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NAMED = 20  # classes: a legend of more cannot be matched with its lines


def plot_curves(metric: Metric, names: Mapping[int, str], save_dir: str | Path, prefix: str = "") -> list[Path]:
    """PR_curve.png, F1_curve.png, P_curve.png and R_curve.png, their names after `prefix`; `names` of all classes."""
    measured = {int(c): names[int(c)] for c in metric.ap_class_index}
    folder = Path(save_dir)
    curves = {"F1": metric.f1_curve, "P": metric.p_curve, "R": metric.r_curve}
    words = {"F1": "F1", "P": "Precision", "R": "Recall"}
    pr = plot_pr_curve(metric.px, metric.prec_values, metric.ap50, measured, folder / f"{prefix}PR_curve.png")
    return [pr] + [
        plot_mc_curve(metric.px, y, measured, folder / f"{prefix}{key}_curve.png", words[key], metric.conf)
        for key, y in curves.items()
    ]


def plot_pr_curve(px: np.ndarray, py: np.ndarray, ap50: np.ndarray, names: Mapping[int, str], path: str | Path) -> Path:
    """Precision `py` (C, P) over recall `px` (P,) with the AP50 (C,) of the classes in `names`, in order."""
    return save_figure(pr_figure(px, py, ap50, names), Path(path))


def plot_mc_curve(
    px: np.ndarray,
    py: np.ndarray,
    names: Mapping[int, str],
    path: str | Path,
    ylabel: str = "Metric",
    conf: float | None = None,
) -> Path:
    """A metric `py` (C, P) over the confidence `px` (P,) of the classes in `names`, in order, with its mean.

    `conf` is the confidence to mark, by default that of the highest mean.
    """
    return save_figure(mc_figure(px, py, names, ylabel, conf), Path(path))


def pr_figure(px: np.ndarray, py: np.ndarray, ap50: np.ndarray, names: Mapping[int, str]) -> "Figure":
    """Figure of `plot_pr_curve`."""
    labels = [f"{short(name)}  {ap:.3f}" for name, ap in zip(names.values(), ap50, strict=True)]
    total = f"all classes  {ap50.mean():.3f} mAP50" if len(ap50) else ""
    return _figure(px, py, names, labels, total, "Recall", "Precision", "Precision over recall, IoU 0.50")


def mc_figure(
    px: np.ndarray, py: np.ndarray, names: Mapping[int, str], ylabel: str = "Metric", conf: float | None = None
) -> "Figure":
    """Figure of `plot_mc_curve`."""
    labels = [short(name) for name in names.values()]
    total = ""
    if len(py):
        mean = _mean(py)
        conf = float(px[mean.argmax()]) if conf is None else conf
        total = f"all classes  {np.interp(conf, px, mean):.3f} at {conf:.3f}"
    fig = _figure(px, py, names, labels, total, "Confidence", ylabel, f"{ylabel} over confidence, IoU 0.50")
    if conf is not None:
        fig.axes[0].axvline(conf, color=INK, linewidth=0.8, linestyle=":")
    return fig


def _mean(py: np.ndarray) -> np.ndarray:
    """Mean over the classes (C, P) -> (P,), NaN left out."""
    return np.ma.masked_invalid(py).mean(0).filled(0)


def _figure(
    px: np.ndarray,
    py: np.ndarray,
    names: Mapping[int, str],
    labels: list[str],
    total: str,
    xlabel: str,
    ylabel: str,
    title: str,
) -> "Figure":
    """A line for each class and, above them, their mean, called `total`."""
    fig = new_figure(9, 5.5)
    ax = fig.add_subplot()
    dress(ax, title, xlabel, ylabel)
    few = len(names) <= MOST_NAMED
    for c, y in zip(names, py, strict=True):
        ax.plot(px, y, color=hex_color(c), linewidth=1.4 if few else 0.7, alpha=0.9 if few else 0.45)
    lines = list(ax.lines) if few else []
    if len(py) > 1:
        lines += ax.plot(px, _mean(py), color=INK, linewidth=2.5)
        labels = [*labels, total] if few else [total]
    elif len(py) == 1:
        labels = [total.replace("all classes", short(next(iter(names.values()))))]
    else:
        ax.text(0.5, 0.5, "no labelled objects", ha="center", color=INK)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    if lines:
        fig.legend(lines, labels, loc="outside right upper", fontsize=LETTERS - 1, labelcolor=INK, frameon=False)
    return fig
