"""Effective receptive field: how much each pixel of the input matters to one unit of a feature map (arXiv 1701.04128).

It is measured by gradients, so it shows what a network uses, where the theoretical one is what it could use.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ultralytics.nn.features import watching
from ultralytics.nn.heatmaps import Layers, default_layers, find_layers
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

SHARES = (0.5, 0.95, 0.99)  # of the field, of which the sides are told


@dataclass(frozen=True)
class ReceptiveField:
    """Field of the unit in the middle of a layer's map, mean over the images.

    `layer` is the name and the class of the layer, `stride` the pixels of the input in one of its map; `map` (H, W) has
    the share of every pixel, sum 1, `center` (y, x) the place of the unit in pixels.
    """

    layer: str
    stride: float
    map: np.ndarray
    center: tuple[float, float]

    def side(self, share: float) -> int:
        """Side in pixels of the smallest square around the unit that holds this share of the field."""
        rows, columns = (np.abs(np.arange(n) + 0.5 - c) for n, c in zip(self.map.shape, self.center, strict=True))
        reach = 2 * np.maximum(rows[:, None], columns).ravel() + 1  # side of the square that has all of a pixel
        order = reach.argsort(kind="stable")
        held = self.map.ravel()[order].cumsum()
        return int(np.ceil(reach[order][min(np.searchsorted(held, share * held[-1]), len(held) - 1)]))


def receptive_fields(
    network: "BaseModel",
    batches: Iterable[Tensor],
    layer: Layers,
    imgsz: int | Sequence[int],
    file: str | Path | None = None,
) -> list[ReceptiveField]:
    """Fields of layers, by default those that feed the head, logged and, unless `file` is None, drawn.

    The images (B, 3, h, w) are stretched to `imgsz`, a side or (height, width). A pixel contributes the absolute
    gradient, summed over its colors, of the sum of the unit's channels.
    """
    size = (imgsz, imgsz) if isinstance(imgsz, int) else tuple(imgsz)
    layers: list[nn.Module] = []
    totals: dict[nn.Module, np.ndarray] = {}
    outputs: dict[nn.Module, object] = {}

    def keep(one: nn.Module, _: object, output: object) -> None:
        outputs[one] = output.clone() if isinstance(output, Tensor) else output  # what follows may work in place

    for batch in batches:
        images = F.interpolate(batch, size, mode="bilinear").requires_grad_()
        if not layers:
            found = default_layers(network, images) if layer is None else find_layers(network, layer)
            layers = list(dict.fromkeys(found))
        with torch.enable_grad(), watching(layers, keep):
            network(images)
        for one in layers:
            output = outputs[one]
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise ModelError(
                    f"layer {type(one).__name__} gives no feature map (B, C, H, W), whose unit has a field"
                )
            unit = output[:, :, output.shape[2] // 2, output.shape[3] // 2].sum()
            (grad,) = torch.autograd.grad(unit, images, retain_graph=one is not layers[-1])
            totals[one] = totals.get(one, 0) + grad.abs().sum((0, 1)).double().cpu().numpy()
    names = {module: name.removeprefix("model.") for name, module in network.named_modules()}
    fields = []
    for one, total in totals.items():
        strides = [whole / side for whole, side in zip(size, outputs[one].shape[2:], strict=True)]
        center = tuple((side // 2 + 0.5) * stride for side, stride in zip(outputs[one].shape[2:], strides, strict=True))
        name = f"{names[one]} {type(one).__name__}"
        fields.append(ReceptiveField(name, strides[0], total / max(total.sum(), 1e-30), center))
        sides = ", ".join(f"{share:.0%} in {fields[-1].side(share)}" for share in SHARES)
        LOGGER.info(f"receptive field of {name}, stride {strides[0]:g}: {sides} pixels")
    if file is not None:
        from ultralytics.utils.charts.receptive_field import plot_fields  # matplotlib, only where something is drawn

        plot_fields(fields, SHARES, file)
    return fields
