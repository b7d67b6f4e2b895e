"""routing.png: layers in rows, experts in columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ultralytics.utils.charts.style import (
    FAINT_COLOR,
    FONT_SIZE,
    GRID_COLOR,
    HEAT,
    TEXT_COLOR,
    new_figure,
    save_figure,
    style_axes,
)

ROW, CELL = 0.26, 0.95  # inches


class Layer(Protocol):
    """Routing weights of a layer over many images: mean (E,) and standard deviation (E,) of each expert's weight."""

    name: str
    kind: str
    mean: np.ndarray
    spread: np.ndarray
    entropy: float


def plot_routing(layers: Sequence[Layer], path: str | Path) -> Path:
    """Draw the mean weights of each layer's experts, with their spread over the images, and the layer's entropy.

    The color of a cell is its weight relative to the mean over the layer's experts.
    """
    columns = max(len(layer.mean) for layer in layers)
    fig = new_figure(4.5 + CELL * columns, 1.6 + ROW * len(layers))
    cells, bars = fig.subplots(1, 2, sharey=True, width_ratios=(CELL * columns, 1.3))

    relative = np.full((len(layers), columns), np.nan)  # (L, E); NaN where a layer has fewer experts than others
    for row, layer in enumerate(layers):
        relative[row, : len(layer.mean)] = layer.mean / max(layer.mean.mean(), 1e-12)
    image = cells.imshow(np.ma.masked_invalid(relative), cmap=HEAT, vmin=0, vmax=2, aspect="auto")
    for row, layer in enumerate(layers):
        for column, (mean, spread) in enumerate(zip(layer.mean, layer.spread, strict=True)):
            color = "white" if relative[row, column] > 1.35 else TEXT_COLOR  # on dark cells
            text = f"{mean:.2f} ± {spread:.3f}"
            cells.text(column, row, text, ha="center", va="center", fontsize=FONT_SIZE - 2, color=color)
    style_axes(cells, "Weights, mean ± spread", "expert")
    cells.grid(visible=False)
    cells.spines[:].set(visible=True, color=GRID_COLOR)
    cells.set_xticks(range(columns))
    cells.set_yticks(range(len(layers)), [f"{layer.name}  {layer.kind}" for layer in layers], fontsize=FONT_SIZE - 2)

    scale = fig.colorbar(image, ax=cells, location="bottom", shrink=0.6, pad=0.02, aspect=40)
    scale.set_label("weight relative to the layer's mean", fontsize=FONT_SIZE - 1, color=TEXT_COLOR)
    scale.outline.set_visible(False)
    scale.ax.tick_params(labelsize=FONT_SIZE - 2, color=FAINT_COLOR, labelcolor=TEXT_COLOR)

    drawn = bars.barh(range(len(layers)), [layer.entropy for layer in layers], height=0.6, color=GRID_COLOR)
    bars.bar_label(drawn, fmt="{:.3f}", label_type="center", fontsize=FONT_SIZE - 2, color=TEXT_COLOR)
    style_axes(bars, "Entropy", "of its maximum")
    bars.set(xlim=(0, 1), xticks=(0, 0.5, 1))
    bars.tick_params(labelleft=False)  # the axis is shared with the cells
    bars.grid(visible=False, axis="y")
    return save_figure(fig, Path(path))
