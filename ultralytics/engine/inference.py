"""A fused copy of a network for looking at images, remade whenever the network has changed."""

from copy import deepcopy
from itertools import chain
from operator import is_
from typing import Any

import torch
from torch import nn


class InferenceCopy:
    """Fusing changes a network for good, and the user may want to train it on: so it is done to a copy."""

    def __init__(self) -> None:
        self._copy: nn.Module | None = None
        self._parts: list[Any] = []
        self._state: tuple[Any, ...] = ()

    def of(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """`model` fused on `device` in eval mode; unfused where hooks wait for its layers to be called."""
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            return (model if dtype == torch.float32 else deepcopy(model)).to(device, dtype).eval()
        parts, state = parts_of(model), (device, dtype, *fingerprint(model))
        if state != self._state or len(parts) != len(self._parts) or not all(map(is_, parts, self._parts)):
            self._copy = deepcopy(model).eval().fuse(verbose=False).to(device, dtype)
            self._parts, self._state = parts, state
        self._copy.names = model.names
        return self._copy


def parts_of(model: nn.Module) -> list[Any]:
    """All layers and their attributes, the same objects as long as none was exchanged."""
    return list(chain.from_iterable((module, *vars(module).values()) for module in model.modules()))


def fingerprint(model: nn.Module) -> tuple[Any, ...]:
    """Equal as long as no weight was written to; their sums tell of writing through `.data`, which torch does not."""
    tensors = [t.detach() for t in chain(model.parameters(), model.buffers())]
    sums = torch.stack([t.sum(dtype=torch.float32) for t in tensors])
    written = ((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)
    return (*written, sums.cpu().numpy().tobytes())
