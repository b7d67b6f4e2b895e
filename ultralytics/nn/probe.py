"""One run of an empty image through a network that was just built, to see that its layers fit and what they halve."""

from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.nn.diagnostics import row_context, run

from .model_yaml import rows

SIZE = 256  # pixels; whole cells up to stride 256, and room for the windows of attention blocks


def gather(f: int | list[int], x: Any, outputs: list[Any]) -> Any:
    """The input of a layer: `x`, what the one before it gave, or outputs of earlier ones as its row's `from` says."""
    if isinstance(f, list):
        return [x if layer == -1 else outputs[layer] for layer in f]
    return x if f == -1 else outputs[f]


@torch.no_grad()
def probe_strides(model: nn.Module, d: dict[str, Any], ch: int) -> Tensor:
    """Strides (levels,) of the maps that the last layer takes, in pixels.

    Raises ModelError naming the row of a layer that cannot take what comes in, or gives other channels than parse_model
    told the layers behind it.
    """
    *layers, head = model.eval()
    x: Any = torch.zeros(1, ch, SIZE, SIZE, device=next(model.parameters()).device)
    outputs: list[Any] = []
    for i, (layer, row) in enumerate(zip(layers, rows(d), strict=False)):
        with row_context(d, i, row):
            x = run(layer, gather(layer.f, x, outputs), row[2])
        outputs.append(x)
    model.train()
    return torch.tensor([SIZE / feat.shape[-1] for feat in gather(head.f, x, outputs)], device="cpu")
