"""How much a network computes."""

import copy
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn


def model_flops(model: nn.Module, imgsz: int | Sequence[int] = 640, ch: int = 3) -> float:
    """GFLOPs of one image of `ch` channels and size `imgsz` or (height, width): 2 for each multiply-add.

    Matrix products and convolutions count, dynamic ones included; norms, activations and pooling do not. Runs on the
    meta device, where nothing is computed, unless a block needs real values.
    """
    height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    try:
        return _count(_on_meta(model), torch.empty(1, ch, height, width, device="meta"))
    except Exception:  # whatever is wrong with the network itself comes up again here
        like = next(model.parameters())
        return _count(copy.deepcopy(model), torch.zeros(1, ch, height, width, device=like.device, dtype=like.dtype))


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy of the modules whose tensors have shapes but no memory; the weights are never duplicated."""

    def shape_of(t: Tensor) -> Tensor:
        empty = torch.empty_like(t, device="meta")
        return nn.Parameter(empty, t.requires_grad) if isinstance(t, nn.Parameter) else empty

    tensors = chain(model.parameters(), model.buffers())
    twin = copy.deepcopy(model, {id(t): shape_of(t) for t in tensors})  # deepcopy takes these as already copied
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):  # counts as nothing, but on meta would take most of the time
            module.forward = lambda x: x
    return twin


@torch.no_grad()
def _count(model: nn.Module, image: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode  # brings triton along where that is installed

    model.eval()
    with FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() / 1e9
