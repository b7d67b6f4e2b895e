"""Outputs of single layers of a network, the vectors made of them, the time that each takes."""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError
from ultralytics.utils.torch_utils import flop_counter

if TYPE_CHECKING:
    from .tasks import BaseModel


@contextmanager
def watching(layers: Iterable[nn.Module], see: Callable[[nn.Module, Any, Any], None]) -> Iterator[None]:
    """Call `see(layer, input, output)` for every one of the layers whenever it has computed."""
    hooks = [layer.register_forward_hook(lambda m, args, output: see(m, args[0], output)) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def embed(model: "BaseModel", images: Tensor, layers: Sequence[int] | None = None) -> tuple[Tensor, ...]:
    """Vector (C,) of every image (B, 3, H, W): the means of the feature maps of `layers`, one after the other.

    Without `layers` those of the last one before the head. Raises ModelError for a layer that gives no feature map.
    """
    last = len(model.model) - 2
    wanted = [last] if layers is None else list(layers)
    if unknown := [i for i in wanted if not 0 <= i <= last]:
        raise ModelError(f"embed={wanted}: there is no layer {unknown[0]}; those before the head are 0 to {last}")
    maps: dict[int, Tensor] = {}
    numbers = {id(layer): i for i, layer in enumerate(model.model)}

    def keep(layer: nn.Module, _: Any, output: Any) -> None:
        if numbers[id(layer)] in wanted:
            if not isinstance(output, Tensor) or output.ndim != 4:
                raise ModelError(f"embed={wanted}: layer {numbers[id(layer)]} gives no feature map (B, C, H, W)")
            maps[numbers[id(layer)]] = output.mean((2, 3))

    with watching(model.model, keep):
        model(images)
    return torch.cat([maps[i] for i in sorted(maps)], 1).unbind(0)


def profile(model: "BaseModel", images: Tensor) -> Any:
    """Output for images; logs milliseconds, GFLOPs of the whole batch and parameters of every layer."""
    rows: list[tuple[float, str]] = []
    started = perf_counter()

    def measure(layer: nn.Module, x: Any, _: Any) -> None:
        nonlocal started
        if images.is_cuda:
            torch.cuda.synchronize(images.device)
        ms = 1e3 * (perf_counter() - started)
        twin = copy.deepcopy(layer).eval()  # norms would learn from the input once more
        with torch.no_grad(), flop_counter() as counter:
            twin.forward(x)  # a tensor or a list of them
        gflops, parameters = counter.get_total_flops() / 1e9, sum(p.numel() for p in layer.parameters())
        rows.append((ms, f"{ms:>10.2f} {gflops:>10.3f} {parameters:>10}  {layer.type}"))
        started = perf_counter()

    with watching(model.model, measure):
        output = model(images)
    LOGGER.info(f"{'time (ms)':>10} {'GFLOPs':>10} {'params':>10}  module")
    for _, row in rows:
        LOGGER.info(row)
    LOGGER.info(f"{sum(ms for ms, _ in rows):>10.2f} {'-':>10} {'-':>10}  total")
    return output
