"""What all charts share: paper, letters in any script, and the way to disk."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ultralytics.utils.annotator import colors
from ultralytics.utils.files import atomic_write
from ultralytics.utils.fonts import ELLIPSIS, font_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


DPI = 200
TEXT_COLOR, FAINT_COLOR, GRID_COLOR = "#222222", "#888888", "#e4e4e4"
FONT_SIZE = 9  # points
LONGEST_NAME = 32  # characters of a class name


def new_figure(width: float, height: float) -> "Figure":
    """A figure in inches whose layout makes room for every text."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def hex_color(i: float) -> str:
    """Color of a class as matplotlib takes it."""
    return "#{:02x}{:02x}{:02x}".format(*colors(i))


def short(name: str) -> str:
    """A class name on one line that leaves room for the chart; of a long one the middle is left out."""
    name = " ".join(name.split())
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else name[: half - 1].rstrip() + ELLIPSIS + name[-half:].lstrip()


def style_axes(ax: "Axes", title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Title and axis names, a faint grid, no frame on the right and above."""
    ax.set_title(title, loc="left", fontsize=FONT_SIZE + 1, color=TEXT_COLOR)
    ax.set_xlabel(xlabel, fontsize=FONT_SIZE, color=TEXT_COLOR)
    ax.set_ylabel(ylabel, fontsize=FONT_SIZE, color=TEXT_COLOR)
    ax.tick_params(labelsize=FONT_SIZE - 1, color=FAINT_COLOR, labelcolor=TEXT_COLOR)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT_COLOR)
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    ax.set_axisbelow(True)


def name_ticks(ax: "Axes", axis: str, names: Sequence[str], inches: float) -> float:
    """Class names along an axis of so many inches, as large as they can be; where there are too many, every n-th.

    Returns about how many inches they take across the axis.
    """
    points = 72 * inches / max(len(names), 1)
    step = int(np.ceil(5 / points))
    size = min(max(0.75 * points * step, 3.5), FONT_SIZE)
    places = range(0, len(names), step)
    labels = [short(names[i]) for i in places]
    longest = max(map(_ems, labels), default=0) * size  # points
    upright = axis == "x" and longest > 0.9 * points * step
    set_ticks = ax.set_xticks if axis == "x" else ax.set_yticks
    set_ticks(places, labels, fontsize=size, rotation=90 if upright else 0)
    return (longest if upright or axis == "y" else 1.5 * size) / 72


def _ems(text: str) -> float:
    """About the width of a text in units of its size: Chinese, Japanese and Korean letters are square."""
    return sum(1.0 if ord(c) > 0x2E80 else 0.62 for c in text)


def finite(*columns: np.ndarray) -> Iterable[np.ndarray]:
    """The columns at the places where all of them are numbers."""
    kept = np.logical_and.reduce([np.isfinite(c) for c in columns])
    return (c[kept] for c in columns)


def save_figure(fig: "Figure", path: Path) -> Path:
    """Write the figure in the format of the suffix; texts are no formulas, and each has a font that can spell it."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for ax in fig.axes:
        ax.get_xticklabels(), ax.get_yticklabels()  # the labels are made when somebody asks for them
    for text in fig.findobj(Text):
        text.set_parse_math(False)
        if not text.get_text().isascii():
            text.set_fontproperties(FontProperties(fname=font_file(text.get_text()), size=text.get_size()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # font_file has said so
        fig.get_layout_engine().execute(fig)  # it takes two rounds to make room for long names; saving does one
        atomic_write(path, lambda file: fig.savefig(file, format=path.suffix[1:]))
    return path


HEAT = "Blues"
MOST_NUMBERED = 31  # classes whose bars or cells have room for a number
