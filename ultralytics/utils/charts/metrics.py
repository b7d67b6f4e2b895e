"""Charts of a validation: precision, recall and F1 of each class, and the confusion matrix."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.ap import Metric
from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    GRID_COLOR,
    HEAT,
    MAX_NUMBERED,
    TEXT_COLOR,
    hex_color,
    name_ticks,
    new_figure,
    save_figure,
    short,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_RULED = 120  # classes whose cells have room for lines between them
MAX_CELLS = 2000  # classes in a row: of more the chart has no pixels, and copies of their cells would fill the memory
MAX_NAMED = 20  # classes: a legend of more cannot be matched with its lines


def plot_confusion_matrix(
    matrix: np.ndarray, names: Mapping[int, str], save_dir: str | Path, normalize: bool = False
) -> Path:
    """Draw confusion_matrix.png or, as fractions of the true classes, confusion_matrix_normalized.png.

    `matrix`: predicted classes in rows, true ones in columns, last the background if it is (nc + 1, nc + 1). Of very
    many classes a cell has the sum of several neighbors.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import PowerNorm

    labels, together = [*names.values(), "background"][: len(matrix)], max(math.ceil(len(matrix) / MAX_CELLS), 1)
    if together > 1:
        firsts, labels = np.arange(0, len(matrix), together), labels[::together]
        matrix = np.add.reduceat(np.add.reduceat(matrix, firsts, 0), firsts, 1)
    values = np.nan_to_num(np.asarray(matrix, float))
    if normalize:
        values = values / np.maximum(values.sum(0, keepdims=True), 1e-9)
    n = len(values)
    side = min(max(0.5 * n, 4.5), 15.0)  # inches
    fig = new_figure(side, side)
    ax = fig.add_subplot()
    # Counts differ by orders of magnitude: a power below 1 leaves the rare confusions visible.
    norm = PowerNorm(1 if normalize else 0.35, vmin=0, vmax=1 if normalize else max(values.max(), 1))
    scale = ScalarMappable(norm, HEAT)
    ax.imshow(scale.to_rgba(np.ma.masked_equal(values, 0), bytes=True), interpolation="nearest")
    title = "Confusion matrix, fractions of the true class" if normalize else "Confusion matrix"
    title += f", {together} classes a cell" if together > 1 else ""
    style_axes(ax, title, "True", "Predicted")
    below, beside = name_ticks(ax, "x", labels, side), name_ticks(ax, "y", labels, side)
    fig.set_size_inches(side + beside + 1.2, side + below + 0.7)  # names come on top of the cells' own room
    bar = fig.colorbar(scale, ax=ax, shrink=0.6, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=FONT_SIZE - 1, color=FAINT_COLOR, labelcolor=TEXT_COLOR)

    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color=GRID_COLOR)
    if n <= MAX_RULED:  # lines between cells, by which an eye finds the names
        edges, ends = np.arange(1, n) - 0.5, (-0.5, n - 0.5)
        ax.hlines(edges, *ends, colors=GRID_COLOR, linewidth=0.5)
        ax.vlines(edges, *ends, colors=GRID_COLOR, linewidth=0.5)
    if n <= MAX_NUMBERED:
        form = "{:.2f}" if normalize else "{:.0f}"
        texts = {place: form.format(value) for place, value in np.ndenumerate(values)}
        texts = {place: text for place, text in texts.items() if float(text)}  # no zeros, also rounded ones
        shade = norm(values)  # (n, n) 0..1
        size = min(1.35 * 72 * side / n / max(map(len, texts.values()), default=1), 11)  # points; as wide as the cell
        for (row, column), text in texts.items():
            color = "white" if shade[row, column] > 0.5 else TEXT_COLOR  # on dark cells
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
    name = "confusion_matrix_normalized.png" if normalize else "confusion_matrix.png"
    return save_figure(fig, Path(save_dir) / name)


def plot_curves(metric: Metric, names: Mapping[int, str], save_dir: str | Path, prefix: str = "") -> list[Path]:
    """Draw PR_curve.png, F1_curve.png, P_curve.png and R_curve.png, with `prefix` before; `names` of all classes."""
    measured = {int(c): names[int(c)] for c in metric.ap_class_index}
    folder = Path(save_dir)
    path = folder / f"{prefix}PR_curve.png"
    paths = [plot_pr_curve(metric.px, metric.prec_values, metric.all_ap, path, measured)]
    for key, ylabel, py in (
        ("F1", "F1", metric.f1_curve),
        ("P", "Precision", metric.p_curve),
        ("R", "Recall", metric.r_curve),
    ):
        path = folder / f"{prefix}{key}_curve.png"
        paths.append(plot_mc_curve(metric.px, py, path, measured, ylabel=ylabel, conf=metric.conf))
    return paths


def plot_pr_curve(
    px: np.ndarray,
    py: np.ndarray,
    ap: np.ndarray,
    save_dir: str | Path = "pr_curve.png",
    names: Mapping[int, str] | None = None,
    on_plot: Callable[[Path], None] | None = None,
) -> Path:
    """Draw precision `py` (C, P) over recall `px` (P,) with the AP50, the first column of `ap` (C, 10), into a file.

    `names` are those of the C classes, in order; `on_plot` is called with the file.
    """
    names, ap50 = names or {i: str(i) for i in range(len(py))}, ap[:, 0]
    labels = [f"{short(name)}  {value:.3f}" for name, value in zip(names.values(), ap50, strict=True)]
    total = f"all classes  {ap50.mean():.3f} mAP50" if len(ap50) else ""
    fig = _curves_figure(px, py, names, [*labels, total])
    style_axes(fig.axes[0], "Precision over recall, IoU 0.50", "Recall", "Precision")
    file = save_figure(fig, Path(save_dir))
    if on_plot:
        on_plot(file)
    return file


def plot_mc_curve(
    px: np.ndarray,
    py: np.ndarray,
    save_dir: str | Path = "mc_curve.png",
    names: Mapping[int, str] | None = None,
    xlabel: str = "Confidence",
    ylabel: str = "Metric",
    on_plot: Callable[[Path], None] | None = None,
    conf: float | None = None,
) -> Path:
    """Draw a metric `py` (C, P) over the confidence `px` (P,) of each class, with the mean of all, into a file.

    `names` and `on_plot` as in `plot_pr_curve`; `conf` is the confidence to mark, by default that of the highest mean.
    """
    names = names or {i: str(i) for i in range(len(py))}
    total = ""
    if len(py):
        mean = np.ma.masked_invalid(py).mean(0).filled(0)  # (P,), without NaN
        conf = float(px[mean.argmax()]) if conf is None else conf
        total = f"all classes  {np.interp(conf, px, mean):.3f} at {conf:.3f}"
    fig = _curves_figure(px, py, names, [*map(short, names.values()), total])
    style_axes(fig.axes[0], f"{ylabel} over {xlabel.lower()}, IoU 0.50", xlabel, ylabel)
    if conf is not None:
        fig.axes[0].axvline(conf, color=TEXT_COLOR, linewidth=0.8, linestyle=":")
    file = save_figure(fig, Path(save_dir))
    if on_plot:
        on_plot(file)
    return file


def _curves_figure(px: np.ndarray, py: np.ndarray, names: Mapping[int, str], labels: list[str]) -> "Figure":
    """Figure with a line (P,) for each class and, above them, their mean, to which the last of the labels belongs."""
    fig = new_figure(9, 5.5)
    ax = fig.add_subplot()
    few = len(names) <= MAX_NAMED
    for c, y in zip(names, py, strict=True):
        ax.plot(px, y, color=hex_color(c), linewidth=1.4 if few else 0.7, alpha=0.9 if few else 0.45)
    lines = list(ax.lines) if few else []
    if len(py) > 1:
        lines += ax.plot(px, np.ma.masked_invalid(py).mean(0).filled(0), color=TEXT_COLOR, linewidth=2.5)
        labels = labels if few else labels[-1:]
    elif len(py) == 1:  # the only class has the numbers of all
        labels = [labels[-1].replace("all classes", short(next(iter(names.values()))))]
    else:
        ax.text(0.5, 0.5, "no labeled objects", ha="center", color=TEXT_COLOR)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    if lines:
        place = "outside right upper"
        fig.legend(lines, labels, loc=place, fontsize=FONT_SIZE - 1, labelcolor=TEXT_COLOR, frameon=False)
    return fig
