"""Charts of a validation: precision, recall and F1 of each class, and the confusion matrix."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.ap import Metric
from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    GRID_COLOR,
    HEAT,
    MOST_NUMBERED,
    TEXT_COLOR,
    hex_color,
    name_ticks,
    new_figure,
    save_figure,
    short,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST_RULED = 120  # classes whose cells have room for lines between them


def plot_confusion_matrix(
    matrix: np.ndarray, names: Mapping[int, str], save_dir: str | Path, normalize: bool = False
) -> Path:
    """confusion_matrix.png or, as shares of the true classes, confusion_matrix_normalized.png.

    `matrix`: predicted classes in rows, true ones in columns, behind them the background if it is (nc + 1, nc + 1).
    """
    name = "confusion_matrix_normalized.png" if normalize else "confusion_matrix.png"
    return save_figure(confusion_figure(matrix, names, normalize), Path(save_dir) / name)


def confusion_figure(matrix: np.ndarray, names: Mapping[int, str], normalize: bool = False) -> "Figure":
    """Figure of `plot_confusion_matrix`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    values = np.nan_to_num(np.asarray(matrix, float))
    if normalize:
        values = values / np.maximum(values.sum(0, keepdims=True), 1e-9)
    n = len(values)
    side = min(max(0.5 * n, 4.5), 15.0)  # inches
    fig = new_figure(side, side)
    ax = fig.add_subplot()
    norm = PowerNorm(1 if normalize else 0.35, vmin=0, vmax=1 if normalize else max(values.max(), 1))
    scale = ScalarMappable(norm, HEAT)
    ax.imshow(scale.to_rgba(np.ma.masked_equal(values, 0), bytes=True), interpolation="nearest")
    style_axes(
        ax, "Confusion matrix, shares of the true class" if normalize else "Confusion matrix", "True", "Predicted"
    )
    labels = [*names.values(), "background"][:n]
    below, beside = name_ticks(ax, "x", labels, side), name_ticks(ax, "y", labels, side)
    fig.set_size_inches(side + beside + 1.2, side + below + 0.7)
    bar = fig.colorbar(scale, ax=ax, shrink=0.6, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=FONT_SIZE - 1, color=FAINT_COLOR, labelcolor=TEXT_COLOR)
    _grid_cells(ax, n)
    if n <= MOST_NUMBERED:
        _number_cells(ax, values, norm(values), "{:.2f}" if normalize else "{:.0f}", 72 * side / n)
    return fig


def _grid_cells(ax: "Axes", n: int) -> None:
    """Lines between cells, by which an eye finds the names, if there is room for them."""
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color=GRID_COLOR)
    if n <= MOST_RULED:
        edges, ends = np.arange(1, n) - 0.5, (-0.5, n - 0.5)
        ax.hlines(edges, *ends, colors=GRID_COLOR, linewidth=0.5)
        ax.vlines(edges, *ends, colors=GRID_COLOR, linewidth=0.5)


def _number_cells(ax: "Axes", values: np.ndarray, shade: np.ndarray, form: str, points: float) -> None:
    """The value of each cell that is not 0 when rounded, as large as its width in points lets it be, light on dark."""
    texts = {(row, column): form.format(value) for (row, column), value in np.ndenumerate(values)}
    shown = {place: text for place, text in texts.items() if float(text)}
    size = min(1.35 * points / max(map(len, shown.values()), default=1), 11)
    for (row, column), text in shown.items():
        color = "white" if shade[row, column] > 0.5 else TEXT_COLOR
        ax.text(column, row, text, ha="center", va="center", fontsize=size, color=color)


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
        fig.axes[0].axvline(conf, color=TEXT_COLOR, linewidth=0.8, linestyle=":")
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
    style_axes(ax, title, xlabel, ylabel)
    few = len(names) <= MOST_NAMED
    for c, y in zip(names, py, strict=True):
        ax.plot(px, y, color=hex_color(c), linewidth=1.4 if few else 0.7, alpha=0.9 if few else 0.45)
    lines = list(ax.lines) if few else []
    if len(py) > 1:
        lines += ax.plot(px, _mean(py), color=TEXT_COLOR, linewidth=2.5)
        labels = [*labels, total] if few else [total]
    elif len(py) == 1:
        labels = [total.replace("all classes", short(next(iter(names.values()))))]
    else:
        ax.text(0.5, 0.5, "no labeled objects", ha="center", color=TEXT_COLOR)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    if lines:
        fig.legend(
            lines, labels, loc="outside right upper", fontsize=FONT_SIZE - 1, labelcolor=TEXT_COLOR, frameon=False
        )
    return fig
