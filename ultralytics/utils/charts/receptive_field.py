"""receptive_field.png: a map for every layer, and the squares that hold shares of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ultralytics.utils.charts.style import FONT_SIZE, TEXT_COLOR, hex_color, new_figure, save_figure, style_axes

DECADES = 4  # below the strongest pixel that are told apart


class Field(Protocol):
    """Share of every pixel (H, W) in the field of a unit at `center` (y, x)."""

    layer: str
    map: np.ndarray
    center: tuple[float, float]

    def side(self, share: float) -> int:
        """Side of the square that holds a share."""


def plot_fields(fields: Sequence[Field], shares: Sequence[float], path: str | Path) -> Path:
    """Draw the maps, by the logarithm of their values, down to a ten-thousandth of the strongest."""
    from matplotlib.patches import Rectangle

    fig = new_figure(3.1 * len(fields) + 0.3, 3.9)
    for ax, field in zip(fig.subplots(1, len(fields), squeeze=False)[0], fields, strict=True):
        height, width = field.map.shape
        strength = np.log10(np.maximum(field.map / max(field.map.max(), 1e-30), 10.0**-DECADES))
        ax.imshow(strength, cmap="Greys", extent=(0, width, height, 0), vmin=-DECADES, vmax=0)
        for i, share in enumerate(shares):
            side = field.side(share)
            corner = field.center[1] - side / 2, field.center[0] - side / 2
            label = f"{share:.0%} in {side} px"
            ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=hex_color(i), linewidth=1.3, label=label))
        style_axes(ax, field.layer)
        ax.grid(visible=False)
        ax.set(xlim=(0, width), ylim=(height, 0))
        where = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "ncols": len(shares)}
        ax.legend(**where, fontsize=FONT_SIZE - 3, frameon=False, labelcolor=TEXT_COLOR, columnspacing=0.8)
    return save_figure(fig, Path(path))
