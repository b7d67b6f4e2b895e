"""Charts of a dataset's labels and of a training run."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    HEAT,
    MAX_NUMBERED,
    TEXT_COLOR,
    hex_color,
    name_ticks,
    new_figure,
    save_figure,
    style_axes,
)
from ultralytics.utils.errors import TrainingError
from ultralytics.utils.files import read_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_OVERLAID = 1000  # boxes
RATES = "learning rate"  # title of the panel with all lr/… columns


def plot_labels(boxes: np.ndarray, cls: np.ndarray, names: Mapping[int, str], save_dir: str | Path = "") -> Path:
    """Draw labels.jpg: objects per class, their shapes, centers and sizes; boxes (N, 4) xywh normalized, cls (N,)."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import PowerNorm

    boxes, cls = np.asarray(boxes, float).reshape(-1, 4), np.asarray(cls).astype(int).ravel()
    fig = new_figure(12, 8.5)
    top, bottom = fig.subfigures(2, 1, height_ratios=(1, 1.05))
    _histogram(top.add_subplot(), np.bincount(cls, minlength=len(names)), list(names.values()), "objects")
    overlay, centers, sizes = bottom.subplots(1, 3)

    # Contours about one center; of many boxes an even choice.
    every = max(math.ceil(len(boxes) / MAX_OVERLAID), 1)
    half_w, half_h = boxes[::every, 2] / 2, boxes[::every, 3] / 2
    corners = [0.5 + np.stack((sx * half_w, sy * half_h), 1) for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    edges = [hex_color(c) for c in cls[::every]]
    alpha = min(max(150 / max(len(edges), 1), 0.2), 0.7)
    contours = np.stack(corners, 1)  # (n, 4, 2)
    overlay.add_collection(PolyCollection(contours, facecolors="none", edgecolors=edges, lw=0.6, alpha=alpha))
    style_axes(overlay, "Shapes, about one center", "width", "height")
    overlay.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")

    for ax, columns, title, xlabel, ylabel in (
        (centers, boxes[:, :2], "Centers", "x / width", "y / height"),
        (sizes, boxes[:, 2:], "Sizes", "width", "height"),
    ):
        known = columns[np.isfinite(columns).all(1)]
        counts, *_ = np.histogram2d(*known.T, bins=50, range=((0, 1), (0, 1)))
        norm = PowerNorm(0.5, vmin=0, vmax=max(counts.max(), 1))  # a few crowded cells leave the rest visible
        ax.imshow(counts.T, origin="lower", extent=(0, 1, 0, 1), cmap=HEAT, norm=norm, interpolation="nearest")
        style_axes(ax, title, xlabel, ylabel)
        ax.grid(visible=False)
    centers.invert_yaxis()  # as in an image
    return save_figure(fig, Path(save_dir) / "labels.jpg")


def plot_class_counts(cls: np.ndarray, names: Mapping[int, str], save_dir: str | Path) -> Path:
    """Draw labels.jpg of classification: images per class, cls (N,)."""
    fig = new_figure(12, 4.2)
    counts = np.bincount(np.asarray(cls).astype(int), minlength=len(names))
    _histogram(fig.add_subplot(), counts, list(names.values()), "images")
    return save_figure(fig, Path(save_dir) / "labels.jpg")


def _histogram(ax: "Axes", counts: np.ndarray, names: list[str], what: str) -> None:
    """Draw a bar for each class, counts (nc,) of `what`."""
    from matplotlib.ticker import MaxNLocator

    n = len(counts)
    bars = ax.bar(range(n), counts, width=min(0.8, 0.12 * n), color=[hex_color(i) for i in range(n)])
    style_axes(ax, f"{counts.sum():,} {what}, {np.count_nonzero(counts)} of {n} classes", ylabel=what)
    ax.grid(visible=False, axis="x")
    ax.set(xlim=(-0.6, n - 0.4), ylim=(0, 1.08 * max(counts.max(initial=0), 1)))
    ax.yaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    ax.yaxis.set_major_formatter("{x:,.0f}")
    name_ticks(ax, "x", names, inches=11)
    if n <= MAX_NUMBERED:
        ax.bar_label(bars, fontsize=FONT_SIZE - 1, color=TEXT_COLOR, fmt="{:,.0f}", padding=1)


def plot_results(file: str | Path) -> Path:
    """Draw results.png beside results.csv: losses, metrics and learning rates over the epochs, whatever the task."""
    file = Path(file)
    table = _read_table(file)
    epochs = table.pop("epoch", np.arange(1, len(next(iter(table.values()))) + 1))

    # A panel for train/x and val/x of each loss, one for all lr/…, one for any other column that has a number.
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
    zero = [name for name, lines in panels.items() if lines[0][0] and not any(np.nan_to_num(y).any() for _, y in lines)]
    for name in zero[: len(panels) - 1]:  # a loss that this network has not, such as that of a part that is off
        del panels[name]
    if not panels:
        raise TrainingError(f"{file} has no column with a number in it: there is nothing to draw")

    # A grid, wider than high, that leaves few places empty.
    choices = range(math.ceil(math.sqrt(len(panels))), math.ceil(math.sqrt(2 * len(panels))) + 1)
    columns = min(choices, key=lambda columns: (-len(panels) % columns, -columns))
    rows = math.ceil(len(panels) / columns)
    fig = new_figure(3.1 * columns, 2.5 * rows)
    for i, (title, lines) in enumerate(panels.items()):
        _panel(fig.add_subplot(rows, columns, i + 1), epochs, title, lines)
    return save_figure(fig, file.with_suffix(".png"))


def _read_table(file: Path) -> dict[str, np.ndarray]:
    """Read the columns of a CSV file by name; cells that are no number are NaN.

    Raises TrainingError if the file cannot be read or has no row.
    """
    try:
        rows = read_csv(file)
    except OSError as exc:
        raise TrainingError(f"{file} cannot be read: {exc.strerror or exc}") from exc
    if not rows:
        raise TrainingError(f"{file} has no row to draw: it is written when an epoch is over")
    table = {name: np.full(len(rows), math.nan) for name in rows[0]}
    for i, row in enumerate(rows):
        for name, cell in row.items():
            with contextlib.suppress(ValueError):
                table[name][i] = float(cell)
    return table


def _panel(ax: "Axes", epochs: np.ndarray, title: str, lines: list[tuple[str, np.ndarray]]) -> None:
    """Draw lines, label and values (E,), over epochs (E,); a metric is a single line without a label."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    style_axes(ax, title, "epoch")
    for i, (label, values) in enumerate(lines):
        known = np.isfinite(epochs) & np.isfinite(values)
        x, y = epochs[known], values[known]
        ax.plot(x, y, color=hex_color(i), label=label, lw=2 - 0.4 * i, marker="o" if len(x) <= 20 else "", ms=3)
    if label:
        ax.legend(fontsize=FONT_SIZE - 2, labelcolor=TEXT_COLOR, frameon=False)
    else:  # a metric: more is better
        best = int(y.argmax())
        ax.plot(x[best], y[best], "o", color=TEXT_COLOR, ms=5)
        ax.set_title(f"best {y[best]:.3f}, epoch {x[best]:g}", loc="right", fontsize=FONT_SIZE - 2, color=FAINT_COLOR)
        ax.set_ylim(bottom=min(0, y.min()))
    if title == RATES:  # they warm up from 0.1 and fall to a thousandth
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter("{x:g}")
    first, last = np.nanmin(epochs), np.nanmax(epochs)
    margin = max(0.04 * (last - first), 0.5)
    ax.set_xlim(first - margin, last + margin)  # the same for all panels, also where a metric has a single point
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
