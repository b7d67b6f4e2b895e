"""Charts of a data set, of a training run and of a validation. The curves are in `curves`."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.curves import plot_curves, plot_mc_curve, plot_pr_curve
from ultralytics.utils.errors import TrainingError
from ultralytics.utils.figures import (
    FAINT,
    GRID,
    INK,
    LETTERS,
    dress,
    finite,
    hex_color,
    name_ticks,
    new_figure,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "plot_class_counts",
    "plot_confusion_matrix",
    "plot_curves",
    "plot_labels",
    "plot_mc_curve",
    "plot_pr_curve",
    "plot_results",
]

HEAT = "Blues"
MOST_OVERLAID = 1000  # boxes
MOST_NUMBERED = 31  # classes whose bars or cells have room for a number
MOST_RULED = 120  # classes whose cells have room for lines between them
RATES = "learning rate"
Panel = tuple[str, list[tuple[str, np.ndarray]]]


def plot_labels(boxes: np.ndarray, cls: np.ndarray, names: Mapping[int, str], save_dir: str | Path) -> Path:
    """labels.jpg: objects per class, their shapes, centres and sizes; boxes (N, 4) xywh normalised, cls (N,)."""
    return save_figure(labels_figure(boxes, cls, names), Path(save_dir) / "labels.jpg")


def plot_class_counts(cls: np.ndarray, names: Mapping[int, str], save_dir: str | Path) -> Path:
    """labels.jpg of classification: images per class, cls (N,)."""
    fig = new_figure(12, 4.2)
    counts = np.bincount(np.asarray(cls).astype(int), minlength=len(names))
    _histogram(fig.add_subplot(), counts, list(names.values()), "images")
    return save_figure(fig, Path(save_dir) / "labels.jpg")


def labels_figure(boxes: np.ndarray, cls: np.ndarray, names: Mapping[int, str]) -> "Figure":
    """Figure of `plot_labels`."""
    boxes, cls = np.asarray(boxes, float).reshape(-1, 4), np.asarray(cls).astype(int).ravel()
    fig = new_figure(12, 8.5)
    top, bottom = fig.subfigures(2, 1, height_ratios=(1, 1.05))
    _histogram(top.add_subplot(), np.bincount(cls, minlength=len(names)), list(names.values()))
    overlay, centres, sizes = bottom.subplots(1, 3)
    _overlay(overlay, boxes, cls)
    _heat_map(centres, *finite(boxes[:, 0], boxes[:, 1]), "Centres", "x / width", "y / height")
    centres.invert_yaxis()  # as in a picture
    _heat_map(sizes, *finite(boxes[:, 2], boxes[:, 3]), "Sizes", "width", "height")
    return fig


def _histogram(ax: "Axes", counts: np.ndarray, names: list[str], what: str = "objects") -> None:
    from matplotlib.ticker import MaxNLocator

    n = len(counts)
    bars = ax.bar(range(n), counts, width=min(0.8, 0.12 * n), color=[hex_color(i) for i in range(n)])
    dress(ax, f"{counts.sum():,} {what}, {np.count_nonzero(counts)} of {n} classes", ylabel=what)
    ax.grid(visible=False, axis="x")
    ax.set(xlim=(-0.6, n - 0.4), ylim=(0, 1.08 * max(counts.max(initial=0), 1)))
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    ax.yaxis.set_major_formatter("{x:,.0f}")
    name_ticks(ax, "x", names, inches=11)
    if n <= MOST_NUMBERED:
        ax.bar_label(bars, fontsize=LETTERS - 1, color=INK, fmt="{:,.0f}", padding=1)


def _overlay(ax: "Axes", boxes: np.ndarray, cls: np.ndarray) -> None:
    """Outlines of boxes, an even choice if there are many, all with their centre in the middle."""
    from matplotlib.collections import PolyCollection

    every = max(math.ceil(len(boxes) / MOST_OVERLAID), 1)
    half_w, half_h = boxes[::every, 2] / 2, boxes[::every, 3] / 2
    corners = [0.5 + np.stack((sx * half_w, sy * half_h), 1) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    colors = [hex_color(c) for c in cls[::every]]
    alpha = min(max(150 / max(len(colors), 1), 0.2), 0.7)
    ax.add_collection(PolyCollection(np.stack(corners, 1), facecolors="none", edgecolors=colors, lw=0.6, alpha=alpha))
    dress(ax, "Shapes, about one centre", "width", "height")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")


def _heat_map(ax: "Axes", x: np.ndarray, y: np.ndarray, title: str, xlabel: str, ylabel: str) -> None:
    from matplotlib.colors import PowerNorm

    counts, *_ = np.histogram2d(x, y, bins=50, range=((0, 1), (0, 1)))
    norm = PowerNorm(0.5, vmin=0, vmax=max(counts.max(), 1))  # a few crowded cells leave the rest visible
    ax.imshow(counts.T, origin="lower", extent=(0, 1, 0, 1), cmap=HEAT, norm=norm, interpolation="nearest")
    dress(ax, title, xlabel, ylabel)
    ax.grid(visible=False)


def plot_results(file: str | Path) -> Path:
    """results.png beside results.csv: losses, metrics and learning rates over the epochs, whatever the task."""
    file = Path(file)
    return save_figure(results_figure(read_table(file)), file.with_suffix(".png"))


def read_table(file: Path) -> dict[str, np.ndarray]:
    """Columns of a csv file by name; what is no number is NaN. Raises TrainingError if it has no row to show."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            header, *rows = [[cell.strip() for cell in row] for row in csv.reader(text) if row] or [[]]
    except OSError as exc:
        raise TrainingError(f"{file} cannot be read: {exc.strerror or exc}") from exc
    if not rows:
        raise TrainingError(f"{file} has no row to draw: it is written when an epoch is over")
    filled = [row + [""] * (len(header) - len(row)) for row in rows]
    return {name: np.array([_number(row[i]) for row in filled]) for i, name in enumerate(header)}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def results_figure(table: Mapping[str, np.ndarray]) -> "Figure":
    """Figure of `plot_results`, a panel for each loss (training and validation), each metric, and the rates."""
    table = dict(table)
    epochs = table.pop("epoch", np.arange(1, len(next(iter(table.values()))) + 1))
    panels = _panels(table)
    if not panels:
        raise TrainingError("results.csv has no column with a number in it: there is nothing to draw")
    columns = _columns(len(panels))
    rows = math.ceil(len(panels) / columns)
    fig = new_figure(3.1 * columns, 2.5 * rows)
    for i, (title, lines) in enumerate(panels):
        _panel(fig.add_subplot(rows, columns, i + 1), epochs, title, lines)
    return fig


def _panels(table: Mapping[str, np.ndarray]) -> list[Panel]:
    """What belongs into one panel: train/x and val/x, all lr/…, any other column alone; empty ones are left out."""
    panels: dict[str, list[tuple[str, np.ndarray]]] = {}
    for column, values in table.items():
        group, _, name = column.partition("/")
        if column == "time" or not np.isfinite(values).any():
            continue
        if group in ("train", "val"):
            panels.setdefault(name, []).append((group, values))
        elif group == "lr":
            panels.setdefault(RATES, []).append((name, values))
        else:
            panels[column.removeprefix("metrics/")] = [("", values)]
    return list(panels.items())


def _columns(panels: int) -> int:
    """Columns of a grid, wider than high, that leaves few places empty."""
    choices = range(math.ceil(math.sqrt(panels)), math.ceil(math.sqrt(2 * panels)) + 1)
    return min(choices, key=lambda columns: (-panels % columns, -columns))


def _panel(ax: "Axes", epochs: np.ndarray, title: str, lines: list[tuple[str, np.ndarray]]) -> None:
    from matplotlib.ticker import MaxNLocator

    dress(ax, title, "epoch")
    for i, (label, values) in enumerate(lines):
        x, y = finite(epochs, values)
        ax.plot(x, y, color=hex_color(i), label=label, lw=2 - 0.4 * i, marker="o" if len(x) <= 20 else "", ms=3)
    if label:
        ax.legend(fontsize=LETTERS - 2, labelcolor=INK, frameon=False)
    else:  # a metric: more is better
        best = int(y.argmax())
        ax.plot(x[best], y[best], "o", color=INK, ms=5)
        ax.set_title(f"best {y[best]:.3f}, epoch {x[best]:g}", loc="right", fontsize=LETTERS - 2, color=FAINT)
        ax.set_ylim(bottom=min(0, y.min()))
    if title == RATES:
        _logarithmic(ax)
    first, last = np.nanmin(epochs), np.nanmax(epochs)
    margin = max(0.04 * (last - first), 0.5)
    ax.set_xlim(first - margin, last + margin)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def _logarithmic(ax: "Axes") -> None:
    """Rates that warm up from 0.1 and fall to a thousandth are on one panel."""
    from matplotlib.ticker import LogLocator, NullLocator

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter("{x:g}")


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
    dress(ax, "Confusion matrix, shares of the true class" if normalize else "Confusion matrix", "True", "Predicted")
    labels = [*names.values(), "background"][:n]
    below, beside = name_ticks(ax, "x", labels, side), name_ticks(ax, "y", labels, side)
    fig.set_size_inches(side + beside + 1.2, side + below + 0.7)
    bar = fig.colorbar(scale, ax=ax, shrink=0.6, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=LETTERS - 1, color=FAINT, labelcolor=INK)
    _grid_cells(ax, n)
    if n <= MOST_NUMBERED:
        _number_cells(ax, values, norm(values), "{:.2f}" if normalize else "{:.0f}", 72 * side / n)
    return fig


def _grid_cells(ax: "Axes", n: int) -> None:
    """Lines between cells, by which an eye finds the names, if there is room for them."""
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color=GRID)
    if n <= MOST_RULED:
        edges, ends = np.arange(1, n) - 0.5, (-0.5, n - 0.5)
        ax.hlines(edges, *ends, colors=GRID, linewidth=0.5)
        ax.vlines(edges, *ends, colors=GRID, linewidth=0.5)


def _number_cells(ax: "Axes", values: np.ndarray, shade: np.ndarray, form: str, points: float) -> None:
    """The value of each cell that is not 0 when rounded, as large as its width in points lets it be, light on dark."""
    texts = {(row, column): form.format(value) for (row, column), value in np.ndenumerate(values)}
    shown = {place: text for place, text in texts.items() if float(text)}
    size = min(1.35 * points / max(map(len, shown.values()), default=1), 11)
    for (row, column), text in shown.items():
        color = "white" if shade[row, column] > 0.5 else INK
        ax.text(column, row, text, ha="center", va="center", fontsize=size, color=color)
