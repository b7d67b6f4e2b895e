"""Training curves of several variants over each other, and the final score of each seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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

SCORE = "mAP50-95"


@dataclass(frozen=True)
class Trial:
    """A variant: for each seed a curve (2, epochs) of epoch and score, and the final score."""

    label: str
    curves: Sequence[np.ndarray]
    ends: Sequence[float]


def plot_variants(trials: Sequence[Trial], path: Path) -> Path:
    """Draw the trials into an image file: on the left means and ranges by epoch, on the right the final scores."""
    from matplotlib.ticker import MaxNLocator

    fig = new_figure(11, max(4.8, 1.4 + 0.36 * len(trials)))
    left, right = fig.subplots(1, 2, width_ratios=(1.7, 1))
    for i, trial in enumerate(trials):
        color, label = hex_color(i), short(trial.label)
        # Mean over the seeds at the epochs that all of them have, and the range between them.
        curves = [curve[:, np.isfinite(curve[1])] for curve in trial.curves]
        if epochs := sorted(set.intersection(*(set(curve[0]) for curve in curves))) if curves else []:
            scores = np.stack([curve[1, np.isin(curve[0], epochs)] for curve in curves])  # (seeds, epochs)
            left.fill_between(epochs, scores.min(0), scores.max(0), color=color, alpha=0.15, linewidth=0)
            left.plot(epochs, scores.mean(0), color=color, linewidth=1.6, label=label)
        # One row a variant: a dot for each seed, a bar at their mean.
        right.axhline(i, color=FAINT_COLOR, linewidth=0.4, zorder=0)
        right.scatter(trial.ends, [i] * len(trial.ends), s=26, color=color, alpha=0.8, linewidths=0)
        if trial.ends:
            mean = float(np.mean(trial.ends))
            right.plot([mean, mean], [i - 0.28, i + 0.28], color=TEXT_COLOR, linewidth=1.4)
            text = {"ha": "center", "va": "bottom", "fontsize": FONT_SIZE - 2, "color": TEXT_COLOR}
            right.annotate(f"{mean:.4f}", (mean, i - 0.3), **text)
    style_axes(left, "Validation over training: mean and range of the seeds", "epoch", SCORE)
    if any(trial.curves for trial in trials):
        left.legend(loc="lower right", fontsize=FONT_SIZE - 1, frameon=False, labelcolor=TEXT_COLOR)
    left.set_ylim(bottom=0)
    left.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    style_axes(right, "Last epoch: every seed, and the mean", SCORE)
    right.margins(x=0.12)
    right.xaxis.set_major_locator(MaxNLocator(5))
    right.set_yticks(range(len(trials)), [short(trial.label) for trial in trials], fontsize=FONT_SIZE - 1)
    right.set_ylim(len(trials) - 0.5, -0.5)  # the first variant on top
    right.grid(visible=False, axis="y")
    return save_figure(fig, path)
