"""Charts of a dataset's labels and of a training run."""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    HEAT,
    MOST_NUMBERED,
    TEXT_COLOR,
    finite,
    hex_color,
    name_ticks,
    new_figure,
    save_figure,
    style_axes,
)
from ultralytics.utils.errors import TrainingError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_OVERLAID = 1000  # boxes
RATES = "learning rate"
Panel = tuple[str, list[tuple[str, np.ndarray]]]


def plot_labels(boxes: np.ndarray, cls: np.ndarray, names: Mapping[int, str], save_dir: str | Path) -> Path:
    """labels.jpg: objects per class, their shapes, centers and sizes; boxes (N, 4) xywh normalized, cls (N,)."""
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
    overlay, centers, sizes = bottom.subplots(1, 3)
    _overlay(overlay, boxes, cls)
    _heat_map(centers, *finite(boxes[:, 0], boxes[:, 1]), "Centers", "x / width", "y / height")
    centers.invert_yaxis()  # as in a image
    _heat_map(sizes, *finite(boxes[:, 2], boxes[:, 3]), "Sizes", "width", "height")
    return fig


def _histogram(ax: "Axes", counts: np.ndarray, names: list[str], what: str = "objects") -> None:
    from matplotlib.ticker import MaxNLocator

    n = len(counts)
    bars = ax.bar(range(n), counts, width=min(0.8, 0.12 * n), color=[hex_color(i) for i in range(n)])
    style_axes(ax, f"{counts.sum():,} {what}, {np.count_nonzero(counts)} of {n} classes", ylabel=what)
    ax.grid(visible=False, axis="x")
    ax.set(xlim=(-0.6, n - 0.4), ylim=(0, 1.08 * max(counts.max(initial=0), 1)))
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    ax.yaxis.set_major_formatter("{x:,.0f}")
    name_ticks(ax, "x", names, inches=11)
    if n <= MOST_NUMBERED:
        ax.bar_label(bars, fontsize=FONT_SIZE - 1, color=TEXT_COLOR, fmt="{:,.0f}", padding=1)


def _overlay(ax: "Axes", boxes: np.ndarray, cls: np.ndarray) -> None:
    """Outlines of boxes, an even choice if there are many, all with their center in the middle."""
    from matplotlib.collections import PolyCollection

    every = max(math.ceil(len(boxes) / MOST_OVERLAID), 1)
    half_w, half_h = boxes[::every, 2] / 2, boxes[::every, 3] / 2
    corners = [0.5 + np.stack((sx * half_w, sy * half_h), 1) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    colors = [hex_color(c) for c in cls[::every]]
    alpha = min(max(150 / max(len(colors), 1), 0.2), 0.7)
    ax.add_collection(PolyCollection(np.stack(corners, 1), facecolors="none", edgecolors=colors, lw=0.6, alpha=alpha))
    style_axes(ax, "Shapes, about one center", "width", "height")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")


def _heat_map(ax: "Axes", x: np.ndarray, y: np.ndarray, title: str, xlabel: str, ylabel: str) -> None:
    from matplotlib.colors import PowerNorm

    counts, *_ = np.histogram2d(x, y, bins=50, range=((0, 1), (0, 1)))
    norm = PowerNorm(0.5, vmin=0, vmax=max(counts.max(), 1))  # a few crowded cells leave the rest visible
    ax.imshow(counts.T, origin="lower", extent=(0, 1, 0, 1), cmap=HEAT, norm=norm, interpolation="nearest")
    style_axes(ax, title, xlabel, ylabel)
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

    style_axes(ax, title, "epoch")
    for i, (label, values) in enumerate(lines):
        x, y = finite(epochs, values)
        ax.plot(x, y, color=hex_color(i), label=label, lw=2 - 0.4 * i, marker="o" if len(x) <= 20 else "", ms=3)
    if label:
        ax.legend(fontsize=FONT_SIZE - 2, labelcolor=TEXT_COLOR, frameon=False)
    else:  # a metric: more is better
        best = int(y.argmax())
        ax.plot(x[best], y[best], "o", color=TEXT_COLOR, ms=5)
        ax.set_title(f"best {y[best]:.3f}, epoch {x[best]:g}", loc="right", fontsize=FONT_SIZE - 2, color=FAINT_COLOR)
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
