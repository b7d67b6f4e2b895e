"""Charts of a comparison: curves of training and of precision, final scores, speed and size against accuracy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.comparison.details import Details
from ultralytics.utils.ap import RECALL_POINTS
from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    TEXT_COLOR,
    hex_color,
    new_figure,
    save_figure,
    short,
    style_axes,
    svg_element,
)
from ultralytics.utils.paper.sizes import SIZES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORE = "mAP50-95"
NAME_GAP = 0.045  # minimum distance of two names beside the curves, of the height of the axes
LEGEND = {"fontsize": FONT_SIZE - 1, "frameon": False, "labelcolor": TEXT_COLOR}


@dataclass(frozen=True)
class Trial:
    """A variant: for each seed a curve (2, epochs) of epoch and score, the final score, and what else is known."""

    label: str
    curves: Sequence[np.ndarray]
    ends: Sequence[float]
    details: Sequence[Details] = ()  # those of the seeds that have them
    gflops: float | None = None
    ms: float | None = None  # an image in a batch of one; None: not measured


def draw_curves(ax: "Axes", trials: Sequence[Trial]) -> None:
    """Mean over the seeds at the epochs that all of them have, and the range between them; names beside the ends."""
    from matplotlib.ticker import MaxNLocator

    ends: list[tuple[float, float, str, str]] = []  # mean at the last epoch, that epoch, color, label of each curve
    for i, trial in enumerate(trials):
        color, label = hex_color(i), short(trial.label)
        curves = [curve[:, np.isfinite(curve[1])] for curve in trial.curves]
        if epochs := sorted(set.intersection(*(set(curve[0]) for curve in curves))) if curves else []:
            scores = np.stack([curve[1, np.isin(curve[0], epochs)] for curve in curves])  # (seeds, epochs)
            ax.fill_between(epochs, scores.min(0), scores.max(0), color=color, alpha=0.15, linewidth=0)
            ax.plot(epochs, scores.mean(0), color=color, linewidth=1.6, label=label)
            ends.append((scores.mean(0)[-1], epochs[-1], color, label))
    style_axes(ax, "Validation over training: mean and range of the seeds", "epoch", SCORE)
    top = ax.get_ylim()[1]
    ax.set_ylim(0, top)
    # Every name beside the end of its curve, in their order from below, moved apart where curves end close together.
    place, gap = -NAME_GAP, min(NAME_GAP, 1 / max(len(ends), 1))
    for i, (score, epoch, color, label) in enumerate(sorted(ends)):
        place = min(max(score / top, place + gap), 1 - gap * (len(ends) - 1 - i))  # the others find room above
        line = {"arrowstyle": "-", "color": color, "linewidth": 1.2, "shrinkB": 0, "relpos": (0, 0.5)}
        text = {"va": "center", "fontsize": FONT_SIZE - 1, "color": TEXT_COLOR, "annotation_clip": False}
        ax.annotate(label, (epoch, score), (1.05, place), textcoords="axes fraction", arrowprops=line, **text)
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def draw_ends(ax: "Axes", trials: Sequence[Trial]) -> None:
    """One row a variant: a dot for each seed, a bar at their mean."""
    from matplotlib.ticker import MaxNLocator

    for i, trial in enumerate(trials):
        ax.axhline(i, color=FAINT_COLOR, linewidth=0.4, zorder=0)
        ax.scatter(trial.ends, [i] * len(trial.ends), s=26, color=hex_color(i), alpha=0.8, linewidths=0)
        if trial.ends:
            mean = float(np.mean(trial.ends))
            ax.plot([mean, mean], [i - 0.28, i + 0.28], color=TEXT_COLOR, linewidth=1.4)
            text = {"ha": "center", "va": "bottom", "fontsize": FONT_SIZE - 2, "color": TEXT_COLOR}
            ax.annotate(f"{mean:.4f}", (mean, i - 0.3), **text)
    style_axes(ax, "Last epoch: every seed, and the mean", SCORE)
    ax.margins(x=0.12)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_yticks(range(len(trials)), [short(trial.label) for trial in trials], fontsize=FONT_SIZE - 1)
    ax.set_ylim(len(trials) - 0.5, -0.5)  # the first variant on top
    ax.grid(visible=False, axis="y")


def draw_precision(ax: "Axes", trials: Sequence[Trial]) -> None:
    """Precision over recall, the mean over classes and seeds."""
    for i, trial in enumerate(trials):
        if trial.details:
            curve = np.mean([details.precision for details in trial.details], axis=0)
            ax.plot(RECALL_POINTS, curve, color=hex_color(i), linewidth=1.6, label=short(trial.label))
    style_axes(ax, "Precision over recall, IoU 0.50: mean of classes and seeds", "recall", "precision")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    ax.legend(loc="lower left", **LEGEND)


def draw_sizes(ax: "Axes", trials: Sequence[Trial]) -> None:
    """AP of each size of objects: a group for a size, a mark for a variant, a line over the range of its seeds."""
    trials = [trial for trial in trials if trial.details]
    for i, trial in enumerate(trials):
        values = np.array([[details.by_size[size] for size in SIZES] for details in trial.details])  # (seeds, 3)
        places = np.arange(len(SIZES)) + (i - (len(trials) - 1) / 2) * min(0.8 / len(trials), 0.2)
        known = values.min(0) >= 0  # -1: no object of that size
        places, values = places[known], values[:, known]
        ax.vlines(places, values.min(0), values.max(0), color=hex_color(i), linewidth=1.6)
        ax.scatter(places, values.mean(0), s=30, color=hex_color(i), linewidths=0, label=short(trial.label))
    style_axes(ax, "AP by size of the objects: mean and range of the seeds", "", "AP50-95")
    ax.set_xticks(range(len(SIZES)), [f"{size}{bound}" for size, bound in zip(SIZES, (" < 32²", "", " > 96²"))])  # noqa: B905 (as long)
    ax.set(xlim=(-0.6, len(SIZES) - 0.4), ylim=(0, None))
    ax.legend(loc="best", **LEGEND)


def draw_cost(ax: "Axes", trials: Sequence[Trial]) -> None:
    """Accuracy against the milliseconds of an image, or against GFLOPs while latency has not been measured."""
    timed = any(trial.ms is not None for trial in trials)
    for i, trial in enumerate(trials):
        cost = trial.ms if timed else trial.gflops
        if cost is not None and trial.ends:
            low, high, mean = min(trial.ends), max(trial.ends), float(np.mean(trial.ends))
            ax.vlines(cost, low, high, color=hex_color(i), linewidth=1.2, alpha=0.6)
            ax.scatter(cost, mean, s=42, color=hex_color(i), linewidths=0, label=short(trial.label))
    xlabel = "ms an image, batch 1" if timed else "GFLOPs"
    style_axes(ax, "Accuracy against cost: mean and range of the seeds", xlabel, SCORE)
    ax.margins(x=0.15, y=0.15)
    ax.legend(loc="best", **LEGEND)


def plot_variants(groups: Sequence[Sequence[Trial]], path: Path) -> Path:
    """Draw the trials into an image file, a row for each dataset: curves on the left, final scores on the right."""
    heights = [max(4.8, 1.4 + 0.36 * len(trials)) for trials in groups]
    fig = new_figure(13, sum(heights))
    rows = fig.subplots(len(groups), 2, width_ratios=(1.7, 1), height_ratios=heights, squeeze=False)
    for (left, right), trials in zip(rows, groups, strict=True):
        draw_curves(left, trials)
        draw_ends(right, trials)
    return save_figure(fig, path)


def svg_charts(trials: Sequence[Trial], name: str) -> list[str]:
    """Charts of a dataset as <svg> elements whose ids begin with `name`: those that there is something to draw for."""
    chosen: list[Callable[[Axes, Sequence[Trial]], None]] = [draw_curves, draw_ends]
    if any(trial.details for trial in trials):
        chosen += [draw_precision, draw_sizes]
    if any(trial.ends for trial in trials):
        chosen.append(draw_cost)
    found = []
    for draw in chosen:
        fig = new_figure(7.4, max(4.2, 1.4 + 0.3 * len(trials)) if draw is draw_ends else 4.2)
        draw(fig.subplots(), trials)
        found.append(svg_element(fig, f"{name}-{draw.__name__}"))
    return found
