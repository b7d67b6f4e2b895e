"""A fused copy of a network for looking at images, remade whenever the network has changed."""

from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from torch import nn


class InferenceCopy:
    """Fusing changes a network for good, and the user may want to train it on: so it is done to a copy."""

    def __init__(self) -> None:
        self._state: tuple[Any, ...] = ()
        self._copy: nn.Module | None = None

    def of(self, model: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """`model` fused on `device` in eval mode; the network itself where hooks wait for its layers to be called."""
        if any(module._forward_hooks or module._forward_pre_hooks for module in model.modules()):
            return model.to(device, dtype).eval()
        state = (device, dtype, *fingerprint(model))
        if state != self._state:
            self._copy = deepcopy(model).eval().fuse(verbose=False).to(device, dtype)
            self._copy.requires_grad_(False)
            self._state = state
        return self._copy


def fingerprint(model: nn.Module) -> tuple[Any, ...]:
    """Equal as long as no layer was exchanged and no weight was written to."""
    tensors = chain(model.parameters(), model.buffers())
    return (*map(id, model.modules()), *((t.data_ptr(), t._version) for t in tensors))
