"""Routing weights of dynamic convolutions on images: the weight of each expert, dead and identical experts.

Any module with a method `routing_weights` that gives (B, E) and is called in its forward pass counts as a router.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError
from ultralytics.utils.processes import gather_items

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

DEAD = 0.1  # of the average weight: an expert that no image gives more is dead
SAME_KERNEL = 0.01  # relative distance of kernels that are as good as one
SAME_WEIGHT = 1e-6  # relative difference, on every image, of experts that only ever act together: rounding and no more
MAX_NAMED = 5  # issues in a warning


@dataclass
class LayerRouting:
    """One router on N images, and the experts it chooses from, two or more.

    `name` of the layer as in state dicts, without the first `model.`; `weights` (N, E); `distances` (E, E) between the
    kernels of the experts, relative to the larger of the two, or None where the layer has no bank of kernels.
    """

    name: str
    kind: str
    weights: np.ndarray
    distances: np.ndarray | None
    mean: np.ndarray = field(init=False)  # (E,) mean weight over the images
    spread: np.ndarray = field(init=False)  # (E,) standard deviation over them: where it is zero, the layer is static
    largest: np.ndarray = field(init=False)  # (E,) of the images, 1 being the average weight of an image's experts
    entropy: float = field(init=False)  # mean over images, relative to its maximum: 1 all experts alike, 0 one alone

    def __post_init__(self) -> None:
        experts = self.weights.shape[1]
        self.mean, self.spread = self.weights.mean(0), self.weights.std(0)
        # (N, E) normalized to a sum of 1 for each image, which the weights of a softmax have anyway
        fractions = self.weights / np.maximum(self.weights.sum(1, keepdims=True), 1e-12)
        self.largest = fractions.max(0) * experts
        bits = -(fractions * np.log2(np.maximum(fractions, 1e-12))).sum(1)  # (N,) entropies
        self.entropy = float(bits.mean() / np.log2(experts))

    @property
    def issues(self) -> list[str]:
        """Dead and identical experts, a sentence each."""
        where = f"{self.name} ({self.kind})"
        issues = [
            f"{where}: expert {e} is dead, no image gives it more than {self.largest[e]:.0%} of the average weight"
            for e in np.flatnonzero(self.largest < DEAD)
        ]
        for a, b in combinations(range(len(self.mean)), 2):
            first, second = self.weights[:, a], self.weights[:, b]
            if self.distances is not None and self.distances[a, b] < SAME_KERNEL:
                issues.append(
                    f"{where}: experts {a} and {b} are identical, their kernels differ by less than {SAME_KERNEL:.0%}"
                )
            elif (abs(first - second) <= SAME_WEIGHT * np.maximum(first, second)).all():
                issues.append(f"{where}: experts {a} and {b} act as one, every image gives them the same weight")
        return issues


@dataclass(frozen=True)
class Routing:
    """All routers of a network, in the order of its layers; `str` is a table."""

    layers: tuple[LayerRouting, ...]

    def __str__(self) -> str:
        wide = max((len(layer.name) for layer in self.layers), default=5)
        images = len(self.layers[0].weights) if self.layers else 0
        rows = [f"{'layer':<{wide}}  {'kind':<12} entropy  mean weight ± spread over {images} images, by expert"]
        for layer in self.layers:
            cells = " ".join(f"{m:.3f}±{s:.3f}" for m, s in zip(layer.mean, layer.spread, strict=True))
            rows.append(f"{layer.name:<{wide}}  {layer.kind:<12} {layer.entropy:>7.3f}  {cells}")
        return "\n".join(rows)


class Recorder:
    """Keeps the routing weights of a network's forward passes: `with recorder(): network(images)`."""

    def __init__(self, network: nn.Module) -> None:
        self.routers = {
            name.removeprefix("model."): module
            for name, module in network.named_modules()
            if callable(getattr(type(module), "routing_weights", None))
        }
        self._recorded: dict[str, list[Tensor]] = {name: [] for name in self.routers}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Record meanwhile; the network computes what it always does."""
        for name, module in self.routers.items():
            module.routing_weights = partial(self._record, name, module.routing_weights)
        try:
            yield
        finally:
            for module in self.routers.values():
                del module.routing_weights  # the instance's, so that the method of the class shows again

    def _record(self, name: str, method: Any, *args: Any, **kwargs: Any) -> Tensor:
        weights = method(*args, **kwargs)
        self._recorded[name].append(weights.detach().float())
        return weights

    def gather(self) -> None:
        """Add what the other processes have recorded, where several train one run: all of them have to call this."""
        kept = gather_items({name: [weights.cpu() for weights in part] for name, part in self._recorded.items()})
        self._recorded = {name: [weights for part in kept for weights in part[name]] for name in self.routers}

    def routing(self) -> Routing:
        """The weights recorded so far, of every router that was called and has experts to choose from."""
        layers = []
        for name, recorded in self._recorded.items():
            if recorded and recorded[0].shape[1] > 1:  # a single expert leaves no choice
                router, weights = self.routers[name], torch.cat(recorded).cpu().numpy()
                distances = kernel_distances(router, weights.shape[1])
                layers.append(LayerRouting(name, type(router).__name__, weights, distances))
        return Routing(tuple(layers))


@torch.no_grad()
def kernel_distances(module: nn.Module, experts: int) -> np.ndarray | None:
    """Distances (E, E) between the kernels of a module's experts, relative to the larger one; None without a bank."""
    # The bank of kernels is the largest parameter with one row an expert.
    banks = [p.detach().float().flatten(1) for p in module.parameters() if p.ndim > 1 and len(p) == experts]
    if not banks:
        return None
    bank = max(banks, key=lambda p: p.numel())
    lengths, distances = bank.norm(dim=1), np.zeros((experts, experts))
    for a, b in combinations(range(experts), 2):
        longer = torch.maximum(lengths[a], lengths[b]).clamp(min=1e-12)
        distances[a, b] = distances[b, a] = (bank[a] - bank[b]).norm() / longer
    return distances


@torch.no_grad()
def collect(network: "BaseModel", batches: Iterable[Tensor]) -> Routing:
    """The routing of a network in eval mode on batches of images (B, C, H, W) in 0..1.

    Raises ModelError if it has no router with two experts or more; without any, no batch is taken.
    """
    recorder = Recorder(network)
    with recorder():
        for images in batches if recorder.routers else ():
            network(images.to(network.device, network.dtype))
    routing = recorder.routing()
    if not routing.layers:
        raise ModelError(
            "this network has no routers to look at: none of its modules has routing_weights(), as DynamicConv has, "
            "for two experts or more"
        )
    return routing


def report(routing: Routing, file: str | Path | None) -> Routing:
    """Warn of dead and identical experts and draw layers x experts to `file`, unless it is None; returns `routing`."""
    if issues := [issue for layer in routing.layers for issue in layer.issues]:
        more = f"; and {len(issues) - MAX_NAMED} more" if len(issues) > MAX_NAMED else ""
        LOGGER.warning(f"routing: {'; '.join(issues[:MAX_NAMED])}{more}")
    if file is not None:
        from ultralytics.utils.charts.routing import plot_routing  # matplotlib, only where something is drawn

        plot_routing(routing.layers, file)
    return routing
