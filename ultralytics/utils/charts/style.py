"""Style of all charts: colors, axes, class names in any script, and the way to disk."""

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
HEAT = "Blues"  # color map of matrices
MAX_NAME = 32  # characters of a class name
MAX_NUMBERED = 31  # classes whose bars or cells have room for a number


def new_figure(width: float, height: float) -> "Figure":
    """Make a figure, its sides in inches, whose layout makes room for every text."""
    from matplotlib.figure import Figure  # not pyplot, which keeps figures and asks for a screen

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def hex_color(i: float) -> str:
    """Color of a class as matplotlib takes it."""
    return "#{:02x}{:02x}{:02x}".format(*colors(i))


def short(name: str) -> str:
    """Class name on one line that leaves room for the chart; a long one loses its middle."""
    name = " ".join(name.split())
    half = MAX_NAME // 2
    return name if len(name) <= MAX_NAME else name[: half - 1].rstrip() + ELLIPSIS + name[-half:].lstrip()


def style_axes(ax: "Axes", title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """Set title and axis names, a faint grid, no frame on the right and above."""
    ax.set_title(title, loc="left", fontsize=FONT_SIZE + 1, color=TEXT_COLOR)
    ax.set_xlabel(xlabel, fontsize=FONT_SIZE, color=TEXT_COLOR)
    ax.set_ylabel(ylabel, fontsize=FONT_SIZE, color=TEXT_COLOR)
    ax.tick_params(labelsize=FONT_SIZE - 1, color=FAINT_COLOR, labelcolor=TEXT_COLOR)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(FAINT_COLOR)
    ax.grid(color=GRID_COLOR, linewidth=0.6)
    ax.set_axisbelow(True)


def name_ticks(ax: "Axes", axis: str, names: Sequence[str], inches: float) -> float:
    """Write class names along an axis of so many inches, as large as they can be; if there are too many, every n-th.

    Returns about how many inches they take across the axis.
    """
    points = 72 * inches / max(len(names), 1)  # of the axis for a name
    step = int(np.ceil(5 / points))
    size = min(max(0.75 * points * step, 3.5), FONT_SIZE)
    places = range(0, len(names), step)
    labels = [short(names[i]) for i in places]
    # Width in units of the font size, about: Chinese, Japanese and Korean letters are square.
    widths = (sum(1.0 if ord(c) > 0x2E80 else 0.62 for c in label) for label in labels)
    longest = max(widths, default=0) * size  # points
    upright = axis == "x" and longest > 0.9 * points * step
    set_ticks = ax.set_xticks if axis == "x" else ax.set_yticks
    set_ticks(places, labels, fontsize=size, rotation=90 if upright else 0)
    return (longest if upright or axis == "y" else 1.5 * size) / 72


def save_figure(fig: "Figure", path: Path) -> Path:
    """Write the figure in the format of the suffix; each text gets a font that can spell it."""
    with laid_out(fig):
        atomic_write(path, lambda file: fig.savefig(file, format=path.suffix[1:]))
    return path


def svg_element(fig: "Figure", name: str) -> str:
    """The figure as an <svg> element of a page, the same for the same figure.

    It refers to nothing outside itself, its ids begin with `name`, and text and grid take their colors from CSS:
    `--text`, `--faint` and `--grid`, for a light page and a dark one.
    """
    from matplotlib import rc_context

    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    file = io.StringIO()
    with laid_out(fig), rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        fig.savefig(file, format="svg", transparent=True, metadata=none)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    text = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace(' id="', f' id="{name}-')
    for color, variable in ((TEXT_COLOR, "text"), (FAINT_COLOR, "faint"), (GRID_COLOR, "grid")):
        text = text.replace(color, f"var(--{variable})")
    return text


@contextmanager
def laid_out(fig: "Figure") -> Iterator[None]:
    """Give every text a font that can spell it, and make room for all, for a block that saves the figure."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.text import Text

    for ax in fig.axes:
        ax.get_xticklabels(), ax.get_yticklabels()  # the labels are made when somebody asks for them
    for text in fig.findobj(Text):
        text.set_parse_math(False)  # a $ in a class name begins no formula
        if not text.get_text().isascii():
            text.set_fontproperties(FontProperties(fname=font_file(text.get_text()), size=text.get_size()))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # font_file has said so
        fig.get_layout_engine().execute(fig)  # it takes two rounds to make room for long names; saving does one
        yield
