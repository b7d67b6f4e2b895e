"""routing.png: layers in rows, experts in columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    GRID_COLOR,
    TEXT_COLOR,
    new_figure,
    save_figure,
    style_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


HEAT = "Blues"
ROW, CELL = 0.26, 0.95  # inches


def plot_routing(layers: Sequence[Any], path: str | Path) -> Path:
    """Draw layers with `name`, `kind`, `mean` (E,), `spread` (E,) and `entropy`."""
    return save_figure(routing_figure(layers), Path(path))


def routing_figure(layers: Sequence[Any]) -> "Figure":
    """Figure of `plot_routing`: a cell's color is its weight relative to an equal share of the layer's."""
    most = max(len(layer.mean) for layer in layers)
    fig = new_figure(4.5 + CELL * most, 1.6 + ROW * len(layers))
    cells, bars = fig.subplots(1, 2, sharey=True, width_ratios=(CELL * most, 1.3))
    _cells(fig, cells, layers, most)
    shown = bars.barh(range(len(layers)), [layer.entropy for layer in layers], height=0.6, color=GRID_COLOR)
    bars.bar_label(shown, fmt="{:.3f}", label_type="center", fontsize=FONT_SIZE - 2, color=TEXT_COLOR)
    style_axes(bars, "Entropy", "of the largest")
    bars.set(xlim=(0, 1), xticks=(0, 0.5, 1))
    bars.tick_params(labelleft=False)
    bars.grid(visible=False, axis="y")
    return fig


def _cells(fig: "Figure", ax: "Axes", layers: Sequence[Any], most: int) -> None:
    """Mean weights and, smaller, their spread over the images."""
    relative = np.full((len(layers), most), np.nan)
    for row, layer in enumerate(layers):
        relative[row, : len(layer.mean)] = layer.mean / max(layer.mean.mean(), 1e-12)
    image = ax.imshow(np.ma.masked_invalid(relative), cmap=HEAT, vmin=0, vmax=2, aspect="auto")
    for row, layer in enumerate(layers):
        for column, (mean, spread) in enumerate(zip(layer.mean, layer.spread, strict=True)):
            color = "white" if relative[row, column] > 1.35 else TEXT_COLOR
            text = f"{mean:.2f} ± {spread:.3f}"
            ax.text(column, row, text, ha="center", va="center", fontsize=FONT_SIZE - 2, color=color)
    style_axes(ax, "Weights, mean ± spread", "expert")
    ax.grid(visible=False)
    ax.spines[:].set(visible=True, color=GRID_COLOR)
    ax.set_xticks(range(most))
    names = [f"{layer.name}  {layer.kind}" for layer in layers]
    ax.set_yticks(range(len(layers)), names, fontsize=FONT_SIZE - 2)
    bar = fig.colorbar(image, ax=ax, location="bottom", shrink=0.6, pad=0.02, aspect=40)
    bar.set_label("weight, of an equal share", fontsize=FONT_SIZE - 1, color=TEXT_COLOR)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=FONT_SIZE - 2, color=FAINT_COLOR, labelcolor=TEXT_COLOR)
