"""Training curves of several variants over each other, and where each seed ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    TEXT_COLOR,
    hex_color,
    new_figure,
    save_figure,
    short,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SCORE = "mAP50-95"


@dataclass(frozen=True)
class Trial:
    """A variant: of each seed a curve (2, epochs), epoch and score, and the score it ended with."""

    label: str
    curves: Sequence[np.ndarray]
    ends: Sequence[float]


def plot_variants(trials: Sequence[Trial], path: Path) -> Path:
    """Draw the trials into a image file."""
    return save_figure(variants_figure(trials), path)


def variants_figure(trials: Sequence[Trial]) -> "Figure":
    """Figure of `plot_variants`: on the left means and ranges over the epochs, on the right the last epoch's scores."""
    from matplotlib.ticker import MaxNLocator

    fig = new_figure(11, max(4.8, 1.4 + 0.36 * len(trials)))
    left, right = fig.subplots(1, 2, width_ratios=(1.7, 1))
    for i, trial in enumerate(trials):
        _curve(left, trial, hex_color(i))
        _ends(right, trial, i)
    style_axes(left, "Validation over training: mean and range of the seeds", "epoch", SCORE)
    if any(trial.curves for trial in trials):
        left.legend(loc="lower right", fontsize=FONT_SIZE - 1, frameon=False, labelcolor=TEXT_COLOR)
    left.set_ylim(bottom=0)
    left.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    style_axes(right, "Last epoch: every seed, and the mean", SCORE)
    right.margins(x=0.12)
    right.xaxis.set_major_locator(MaxNLocator(5))
    right.set_yticks(range(len(trials)), [short(trial.label) for trial in trials], fontsize=FONT_SIZE - 1)
    right.set_ylim(len(trials) - 0.5, -0.5)
    right.grid(visible=False, axis="y")
    return fig


def _curve(ax: "Axes", trial: Trial, color: str) -> None:
    """Mean over the seeds at the epochs that all of them have, and the range between them."""
    curves = [curve[:, np.isfinite(curve[1])] for curve in trial.curves]
    epochs = sorted(set.intersection(*(set(curve[0]) for curve in curves))) if curves else []
    if not epochs:
        return
    scores = np.stack([curve[1, np.isin(curve[0], epochs)] for curve in curves])
    ax.fill_between(epochs, scores.min(0), scores.max(0), color=color, alpha=0.15, linewidth=0)
    ax.plot(epochs, scores.mean(0), color=color, linewidth=1.6, label=short(trial.label))


def _ends(ax: "Axes", trial: Trial, i: int) -> None:
    ax.axhline(i, color=FAINT_COLOR, linewidth=0.4, zorder=0)
    ax.scatter(trial.ends, [i] * len(trial.ends), s=26, color=hex_color(i), alpha=0.8, linewidths=0)
    if trial.ends:
        mean = float(np.mean(trial.ends))
        ax.plot([mean, mean], [i - 0.28, i + 0.28], color=TEXT_COLOR, linewidth=1.4)
        ax.annotate(f"{mean:.4f}", (mean, i - 0.3), ha="center", va="bottom", fontsize=FONT_SIZE - 2, color=TEXT_COLOR)
