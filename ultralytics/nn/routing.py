"""What the routers of dynamic convolutions do: how much of each expert the images take.

Any module with a method `routing_weights` that gives (B, E) and is called in its forward pass counts as one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.data.sources import load_source
from ultralytics.engine.runtime import batches
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError

DEAD = 0.1  # of an equal share: an expert that no image gives more has died
SAME_KERNEL = 0.01  # relative distance of kernels that are as good as one
SAME_WEIGHT = 1e-6  # relative difference, on every image, of experts that only ever act together: rounding and no more
MOST_NAMED = 5  # issues in a warning


@dataclass(frozen=True)
class LayerRouting:
    """A router on N images, and the experts it chooses from, two or more.

    `name` of the layer as in state dicts, without the first `model.`; `weights` (N, E); `distances` (E, E): how far
    kernels are apart, relative to the larger of the two, or None where the layer has no bank of kernels.
    """

    name: str
    kind: str
    weights: np.ndarray
    distances: np.ndarray | None

    @property
    def mean(self) -> np.ndarray:
        """(E,) mean weight over the images."""
        return self.weights.mean(0)

    @property
    def spread(self) -> np.ndarray:
        """(E,) standard deviation over the images: where it is zero, the layer is a static one."""
        return self.weights.std(0)

    @property
    def shares(self) -> np.ndarray:
        """(N, E) weights that add up to 1 for each image, as those of a softmax do anyway."""
        return self.weights / np.maximum(self.weights.sum(1, keepdims=True), 1e-12)

    @property
    def entropy(self) -> float:
        """Of the shares, mean over images, relative to its largest value: 1 all experts alike, 0 one alone."""
        bits = -(self.shares * np.log2(np.maximum(self.shares, 1e-12))).sum(1)
        return float(bits.mean() / np.log2(len(self.mean)))

    @property
    def issues(self) -> list[str]:
        """Dead and identical experts, a sentence each."""
        most, where = self.shares.max(0) * len(self.mean), f"{self.name} ({self.kind})"
        found = [
            f"{where}: expert {e} is dead, no image gives it more than {most[e]:.0%} of an equal share"
            for e in np.flatnonzero(most < DEAD)
        ]
        for a, b in combinations(range(len(self.mean)), 2):
            if self.distances is not None and self.distances[a, b] < SAME_KERNEL:
                found.append(
                    f"{where}: experts {a} and {b} are identical, their kernels differ by less than {SAME_KERNEL:.0%}"
                )
            elif self._always_equal(a, b):
                found.append(f"{where}: experts {a} and {b} act as one, every image gives them the same weight")
        return found

    def _always_equal(self, a: int, b: int) -> bool:
        first, second = self.weights[:, a], self.weights[:, b]
        return bool((abs(first - second) <= SAME_WEIGHT * np.maximum(first, second)).all())


@dataclass(frozen=True)
class Routing:
    """All routers of a network, in the order of its layers; `str` is a table."""

    layers: tuple[LayerRouting, ...]

    @property
    def images(self) -> int:
        """How many were looked at."""
        return len(self.layers[0].weights) if self.layers else 0

    @property
    def warning(self) -> str | None:
        """Dead and identical experts in a line, None where there are none."""
        issues = [trouble for layer in self.layers for trouble in layer.issues]
        more = f"; and {len(issues) - MOST_NAMED} more" if len(issues) > MOST_NAMED else ""
        return "; ".join(issues[:MOST_NAMED]) + more if issues else None

    def __str__(self) -> str:
        wide = max((len(layer.name) for layer in self.layers), default=5)
        rows = [f"{'layer':<{wide}}  {'kind':<12} entropy  mean weight ± spread over {self.images} images, by expert"]
        for layer in self.layers:
            cells = " ".join(f"{m:.3f}±{s:.3f}" for m, s in zip(layer.mean, layer.spread, strict=True))
            rows.append(f"{layer.name:<{wide}}  {layer.kind:<12} {layer.entropy:>7.3f}  {cells}")
        return "\n".join(rows)


class Recorder:
    """Keeps what the routers of a network answer."""

    def __init__(self, network: nn.Module) -> None:
        self.routers = {
            name.removeprefix("model."): module
            for name, module in network.named_modules()
            if callable(getattr(type(module), "routing_weights", None))
        }
        self._answers: dict[str, list[Tensor]] = {name: [] for name in self.routers}

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Listen meanwhile; the network computes what it always does."""
        for name, module in self.routers.items():
            module.routing_weights = self._listening(name, module.routing_weights)
        try:
            yield
        finally:
            for module in self.routers.values():
                del module.routing_weights  # the class's own appears again

    def _listening(self, name: str, ask: Any) -> Any:
        def routing_weights(*args: Any, **kwargs: Any) -> Tensor:
            weights = ask(*args, **kwargs)
            self._answers[name].append(weights.detach().float())
            return weights

        return routing_weights

    def routing(self) -> Routing:
        """What was heard so far, of every router that was asked; one with a single expert has nothing to choose."""
        heard = {name: torch.cat(answers).cpu().numpy() for name, answers in self._answers.items() if answers}
        return Routing(
            tuple(
                LayerRouting(name, type(self.routers[name]).__name__, weights, distances(self.routers[name], weights))
                for name, weights in heard.items()
                if weights.shape[1] > 1
            )
        )


@torch.no_grad()
def distances(module: nn.Module, weights: np.ndarray) -> np.ndarray | None:
    """How far the kernels of a module's experts are apart (E, E), relative to the larger one.

    The bank of kernels is the largest parameter with one row an expert.
    """
    experts = weights.shape[1]
    banks = [p.detach().float().flatten(1) for p in module.parameters() if p.ndim > 1 and len(p) == experts]
    if not banks:
        return None
    bank = max(banks, key=lambda p: p.numel())
    lengths, apart = bank.norm(dim=1), np.zeros((experts, experts))
    for a, b in combinations(range(experts), 2):
        longer = torch.maximum(lengths[a], lengths[b]).clamp(min=1e-12)
        apart[a, b] = apart[b, a] = (bank[a] - bank[b]).norm() / longer
    return apart


@torch.no_grad()
def collect(task: Any, network: nn.Module, options: Any) -> Routing:
    """The routing of a network in eval mode on the images of `options.source`; ModelError if it has no routers."""
    recorder = Recorder(network)
    with recorder():
        for frames in batches(load_source(options.source, vid_stride=options.vid_stride), options.batch):
            if not recorder.routers:
                break
            images = task.preprocess(frames, options, int(network.stride.max()))
            network(images.to(network.device, network.dtype))
    found = recorder.routing()
    if not found.layers:
        raise ModelError(
            "this network has no routers to look at: none of its modules has routing_weights(), as DynamicConv has, "
            "for two experts or more"
        )
    return found


def report(found: Routing, file: str | Path | None) -> Routing:
    """Warn of dead and identical experts, draw the image, and hand the routing on."""
    if found.warning:
        LOGGER.warning(f"routing: {found.warning}")
    if file is not None:
        from ultralytics.utils.charts.routing import plot_routing

        plot_routing(found.layers, file)
    return found
