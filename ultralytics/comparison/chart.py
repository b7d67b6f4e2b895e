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
NAME_GAP = 0.045  # least distance of two names beside the curves, of the height of the axes


@dataclass(frozen=True)
class Trial:
    """A variant: for each seed a curve (2, epochs) of epoch and score, and the final score."""

    label: str
    curves: Sequence[np.ndarray]
    ends: Sequence[float]


def plot_variants(trials: Sequence[Trial], path: Path) -> Path:
    """Draw the trials into an image file: on the left means and ranges by epoch, on the right the final scores."""
    from matplotlib.ticker import MaxNLocator

    fig = new_figure(13, max(4.8, 1.4 + 0.36 * len(trials)))
    left, right = fig.subplots(1, 2, width_ratios=(1.7, 1))
    ends: list[tuple[float, float, str, str]] = []  # mean at the last epoch, that epoch, color, label of each curve
    for i, trial in enumerate(trials):
        color, label = hex_color(i), short(trial.label)
        # Mean over the seeds at the epochs that all of them have, and the range between them.
        curves = [curve[:, np.isfinite(curve[1])] for curve in trial.curves]
        if epochs := sorted(set.intersection(*(set(curve[0]) for curve in curves))) if curves else []:
            scores = np.stack([curve[1, np.isin(curve[0], epochs)] for curve in curves])  # (seeds, epochs)
            left.fill_between(epochs, scores.min(0), scores.max(0), color=color, alpha=0.15, linewidth=0)
            left.plot(epochs, scores.mean(0), color=color, linewidth=1.6, label=label)
            ends.append((scores.mean(0)[-1], epochs[-1], color, label))
        # One row a variant: a dot for each seed, a bar at their mean.
        right.axhline(i, color=FAINT_COLOR, linewidth=0.4, zorder=0)
        right.scatter(trial.ends, [i] * len(trial.ends), s=26, color=color, alpha=0.8, linewidths=0)
        if trial.ends:
            mean = float(np.mean(trial.ends))
            right.plot([mean, mean], [i - 0.28, i + 0.28], color=TEXT_COLOR, linewidth=1.4)
            text = {"ha": "center", "va": "bottom", "fontsize": FONT_SIZE - 2, "color": TEXT_COLOR}
            right.annotate(f"{mean:.4f}", (mean, i - 0.3), **text)
    style_axes(left, "Validation over training: mean and range of the seeds", "epoch", SCORE)
    top = left.get_ylim()[1]
    left.set_ylim(0, top)
    # Every name beside the end of its curve, in their order from below, moved apart where curves end close together.
    place, gap = -NAME_GAP, min(NAME_GAP, 1 / max(len(ends), 1))
    for i, (score, epoch, color, label) in enumerate(sorted(ends)):
        place = min(max(score / top, place + gap), 1 - gap * (len(ends) - 1 - i))  # the others find room above
        line = {"arrowstyle": "-", "color": color, "linewidth": 1.2, "shrinkB": 0, "relpos": (0, 0.5)}
        text = {"va": "center", "fontsize": FONT_SIZE - 1, "color": TEXT_COLOR, "annotation_clip": False}
        left.annotate(label, (epoch, score), (1.05, place), textcoords="axes fraction", arrowprops=line, **text)
    left.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    style_axes(right, "Last epoch: every seed, and the mean", SCORE)
    right.margins(x=0.12)
    right.xaxis.set_major_locator(MaxNLocator(5))
    right.set_yticks(range(len(trials)), [short(trial.label) for trial in trials], fontsize=FONT_SIZE - 1)
    right.set_ylim(len(trials) - 0.5, -0.5)  # the first variant on top
    right.grid(visible=False, axis="y")
    return save_figure(fig, path)
