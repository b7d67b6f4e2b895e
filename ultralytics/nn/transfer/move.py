"""Moving of weights: equal entries are copied, dynamic convolutions are made of static ones, classes matched by name.

A dynamic convolution is here any module with `kernel_shape`, that of the static convolution it stands for, and
`expand(weight, bias, generator=...)`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.utils.checkpoint import Checkpoint

from .kernels import Kernel, find_kernel, fit_channels
from .report import ABSENT, OTHER_SHAPE, Transfer, row_of
from .structure import Matching, Node

CLASS_OUTPUT = re.compile(r"\.((one2one_)?cv3\.\d+\.2|linear)\.(weight|bias)$")  # in the heads of the core, (nc, ...)
COUNTER = "num_batches_tracked"  # of a norm


@torch.no_grad()
def transfer(model: nn.Module, weights: Checkpoint | Mapping[str, Any] | nn.Module, seed: int = 0) -> Transfer:
    """Give a network every weight that has a place in it, and leave the rest as it is.

    The weights are a Checkpoint, a state dict, another network, or a dict with that as `model`. A YAML and names of
    classes help: with them rows of equal shape are told apart, and classes that both know by name find each other.
    `seed` decides the noise that makes experts differ.
    """
    if isinstance(weights, Mapping) and isinstance(weights.get("model"), nn.Module):
        weights = weights["model"]
    if isinstance(weights, nn.Module):
        yaml, names = getattr(weights, "yaml", None), getattr(weights, "names", None)
        weights = Checkpoint(weights.state_dict(), yaml, names=names)
    checkpoint = weights if isinstance(weights, Checkpoint) else Checkpoint(dict(weights))
    fitted = fit_channels(checkpoint.state_dict, model.state_dict(), getattr(model, "channels", 0))
    done = _Mover(model, replace(checkpoint, state_dict=checkpoint.state_dict | fitted)).move(seed)
    done.fitted = {name: checkpoint.state_dict[name].shape[1] for name in fitted}
    return done


class _Mover:
    """One transfer: the entries of both sides, and which go where."""

    def __init__(self, model: nn.Module, checkpoint: Checkpoint) -> None:
        self.model, self.state, self.given = model, model.state_dict(), checkpoint.state_dict
        self.dynamic = {f"{name}.": m for name, m in model.named_modules() if hasattr(m, "kernel_shape")}
        self.classes = SameClasses(getattr(model, "names", None), checkpoint.names)
        labels = []  # of each YAML: module, args and perhaps the name of its rows, by the path of their weights
        for yaml in (getattr(model, "yaml", None), checkpoint.yaml):
            parts = yaml if isinstance(yaml, Mapping) else {}
            rows = [*(parts.get("backbone") or []), *(parts.get("head") or [])]
            labels.append({f"model.{i}.": tuple(row[2:5]) for i, row in enumerate(rows) if isinstance(row, list)})
        matching = Matching(self._convertible, tuple(labels))
        self.pairs: dict[str, str] = {}  # entry of the network: entry of the weights
        self.kernels: dict[str, Kernel] = {}  # path of a dynamic convolution: what it is made of
        roots = (Node("", {name: tuple(t.shape) for name, t in state.items()}) for state in (self.state, self.given))
        for own, source in matching.common(*roots):
            dynamic = self.dynamic.get(own.path)
            if dynamic is None or own.shapes == source.shapes:  # equal, or outputs for classes
                self.pairs |= {own.path + name: source.path + name for name in own.shapes}
            else:
                self.kernels[own.path] = find_kernel(source, dynamic.kernel_shape)
        # The counter of a norm, which fits everywhere, goes with its statistics.
        for counter in [name for name in self.pairs if name.endswith(COUNTER)]:
            mean = counter.removesuffix(COUNTER) + "running_mean"
            if mean in self.state and mean not in self.pairs:
                del self.pairs[counter]
        # Entries of the network of which only the rows of shared classes are taken over.
        self.by_class = {a for a, b in self.pairs.items() if self.classes.are_outputs(a, self.state[a], self.given[b])}

    def _convertible(self, own: Node, source: Node) -> bool:
        if "" in own.shapes and "" in source.shapes:  # two entries
            return self.classes.are_outputs(own.path, self.state[own.path], self.given[source.path])
        dynamic = self.dynamic.get(own.path)
        return dynamic is not None and find_kernel(source, dynamic.kernel_shape) is not None

    def move(self, seed: int) -> Transfer:
        """Fill the network, and report."""
        whole = {a: self.given[b] for a, b in self.pairs.items() if a not in self.by_class}
        self.model.load_state_dict(whole, strict=False)
        for name in self.by_class:
            values = self.given[self.pairs[name]][list(self.classes.shared.values())]
            self.state[name][list(self.classes.shared)] = values.to(self.state[name])
        generator = torch.Generator().manual_seed(seed)
        rerouted = []
        for path, kernel in self.kernels.items():
            if kernel.is_routed(self.given):
                rerouted.append(path.rstrip("."))  # one kernel cannot stand for those it mixes for every image
            weight, bias = kernel.tensors(self.given)
            bias = bias if f"{path}cond_conv.bias" in self.state else None
            self.dynamic[path].expand(weight, bias, generator=generator)

        all_shared = self.classes.are_all_shared
        copied = {a: b for a, b in self.pairs.items() if all_shared or a not in self.by_class}
        made = {name: k.weight for path, k in self.kernels.items() for name in self.state if name.startswith(path)}
        changed = tuple(path.rstrip(".") for path, kernel in self.kernels.items() if kernel.norm)
        numbers = dict.fromkeys(row_of(name) for name in self.state)
        kinds = {i: type(self.model.get_submodule(f"model.{i}")).__name__ for i in numbers if i is not None}
        return Transfer(copied, made, changed, tuple(rerouted), *self._left_over(copied | made), kinds)

    def _left_over(self, got: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
        """Entries of the network that got nothing, each with the reason, and entries of the weights without use."""
        used = {*self.pairs.values()}
        for path, kernel in self.kernels.items():
            entries = {name for name in self.given if name.startswith((kernel.path, kernel.norm or kernel.path))}
            # The bias of a kernel has no use where the experts have none.
            used |= entries if f"{path}cond_conv.bias" in self.state else entries - {f"{kernel.path}bias"}
        left = {name: tensor.shape for name, tensor in self.given.items() if name not in used}
        origins = {row_of(own): row_of(source) for own, source in got.items()}
        missing = {}
        for name, tensor in self.state.items():
            if name in got:
                continue
            row = row_of(name)  # the entry of that name in the weights has the number of the row it corresponds to
            there = name if row is None else name.replace(f".{row}.", f".{origins.get(row, row)}.", 1)
            given, own = left.pop(there, None), tensor.shape
            if name in self.by_class:
                missing[name] = f"{len(self.classes.shared)} of {own[0]} classes have a namesake in the weights"
            elif given is None:
                missing[name] = ABSENT
            elif given == own:
                missing[name] = "a counter, without the statistics of its norm"
            else:
                missing[name] = f"{tuple(given)} in the weights, {tuple(own)} {OTHER_SHAPE}"
        return missing, tuple(left)


class SameClasses:
    """Classes that a network and weights know by the same name, where not all of them are the same."""

    def __init__(self, own: Mapping[int, str] | None, given: Mapping[int, str] | None) -> None:
        own, given = own or {}, given or {}
        counted = all(set(names) == set(range(len(names))) for names in (own, given))
        place = {name: j for j, name in given.items() if name != str(j)}  # a class 3 called "3" has no name
        self.shared: dict[int, int] = {}  # index in the network: index in the weights
        if counted and own != given:
            self.shared = {i: place[name] for i, name in own.items() if name in place and name != str(i)}
        self.are_all_shared = len(self.shared) == len(own)
        self.counts = len(own), len(given)

    def are_outputs(self, name: str, own: Tensor, given: Tensor) -> bool:
        """Whether the entry `name` has a row for each class, which are to be taken over one by one."""
        if not self.shared or not CLASS_OUTPUT.search(name):
            return False
        return (*own.shape[:1], *given.shape[:1]) == self.counts and own.shape[1:] == given.shape[1:]
