"""Run of a single row while its network is built: on the meta device, where nothing is computed, and without a trace.

The output says how many channels the rows behind get, at what stride, and that the row works on its input's device.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from .shape_rules import OPERATORS, SHAPES, DeviceMixError

PROBE_SIZE = 256  # pixels a side of the image: whole cells up to stride 256, room for windows of attention blocks
CONTAINERS = (dict, list, set)
PLAIN = (*CONTAINERS, bool, int, float, str, tuple, type(None))  # quicker to tell than that a value is no tensor
# Operators that take tensors of several devices on a GPU as well: copies, and places to pick, which may be on the CPU.
MIXED = ("aten.copy_", "aten._to_copy", "aten.index.", "aten.index_put", "aten._index_put")


class OneDevice(TorchDispatchMode):
    """Raises DeviceMixError where an operator gets tensors of the meta device and of another; single numbers may mix.

    On meta most operators check that themselves, but not all: convolutions and products of matrices do not.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True, the default, imports the compiler, which takes a second; nothing is compiled here

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Check the tensors that an operator gets, and run it."""
        found = [t.device.type for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor) and t.ndim]
        if len(found) > 1 and len(set(found)) > 1 and not str(func).startswith(MIXED):
            raise DeviceMixError(f"{func.__name__.partition('.')[0]} gets tensors of two devices")
        rule = OPERATORS.get(func)
        return func(*args, **(kwargs or {})) if rule is None else rule(*args, **(kwargs or {}))


@torch.no_grad()
def probe(layer: nn.Module, x: Any, training: bool = False) -> Any:
    """Output of a layer on the meta device for an input there; the layer and all random generators stay as they are.

    A layer that reads values, which meta tensors lack, is run on random ones. Raises DeviceMixError where it makes a
    tensor on another device than its input, and what the layer itself raises.
    """
    # With a default device of the user's own, a layer may rely on that.
    watched = torch.get_default_device().type in ("cpu", "meta")
    try:
        on_meta = unchanged(layer, lambda t: torch.empty_like(t, device="meta"), training)
        with on_meta, OneDevice() if watched else nullcontext():
            for module in layer.modules():
                if type(module) in SHAPES:
                    vars(module)["forward"] = partial(SHAPES[type(module)], module)
            y = layer(x)
    except DeviceMixError:
        raise
    except Exception:  # it needs values, or it fails: then it says so once more, in the words of a real device
        device = next((t.device for t in layer.parameters() if not t.is_meta), torch.device("cpu"))
        generator = torch.Generator().manual_seed(0)
        with unchanged(layer, lambda t: torch.zeros_like(t, device=device) if t.is_meta else t.clone(), training):
            y = layer(tree_map_only(Tensor, lambda t: torch.rand(t.shape, generator=generator).to(device), x))
        return tree_map_only(Tensor, lambda t: t.to("meta"), y)
    if watched and any(isinstance(t, Tensor) and not t.is_meta for t in tree_leaves(y)):
        raise DeviceMixError("its output is on another device than its input")
    return y


@contextmanager
def unchanged(layer: nn.Module, replace: Callable[[Tensor], Tensor], training: bool) -> Iterator[None]:
    """Let a layer run on other parameters and buffers, and afterwards give every module the attributes it had."""
    before, containers = [], []
    for module in layer.modules():
        attributes = vars(module)
        before.append((attributes, attributes.copy()))
        # Lists and dicts of a module, such as its buffers or a cache, as they are now; most are torch's, and empty.
        containers += [(v, v.copy() if v else None) for v in attributes.values() if isinstance(v, CONTAINERS)]
    twins: dict[int, Tensor] = {}  # a tensor that two modules share stays one
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        layer.train(training)  # otherwise norms would learn, and refuse a single value a channel
        for attributes, original in before:
            for tensors in (attributes["_parameters"], attributes["_buffers"]):
                for name, t in tensors.items():
                    if t is not None:
                        twins[id(t)] = tensors[name] = twins[id(t)] if id(t) in twins else replace(t)
            # A tensor that is neither stays on its device, as it does when the network moves to another one.
            for name, value in original.items():
                if not isinstance(value, PLAIN) and isinstance(value, Tensor):
                    attributes[name] = value.detach().clone()
        yield
    finally:
        for attributes, original in before:
            attributes.clear()
            attributes.update(original)
        for container, original in containers:
            container.clear()
            if original is not None:
                (container.extend if isinstance(container, list) else container.update)(original)
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def channels(y: Any) -> int | list[int] | None:
    """Channels of an output, or those of each of several; None of what a head gives."""
    if isinstance(y, list | tuple):
        return [channels(part) for part in y]
    return y.shape[1] if isinstance(y, Tensor) and y.ndim > 1 else None


def shape_of(y: Any) -> tuple[int, ...] | list[Any]:
    """The shape of an output, or those of several, also of the values of a dict, as far as they are tensors."""
    if isinstance(y, Tensor):
        return tuple(y.shape)
    parts = y.values() if isinstance(y, dict) else y if isinstance(y, list | tuple) else []
    return [shape_of(part) for part in parts if isinstance(part, Tensor)]


def shape_text(shape: tuple[int, ...] | list[Any]) -> str:
    """Shapes without the batch: 64x32x32, and several behind each other."""
    shapes = shape if isinstance(shape, list) else [shape]
    return " ".join("x".join(map(str, one[1:])) for one in shapes)
