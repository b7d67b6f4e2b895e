"""Tables for people: the rows of a model as it is built, and what it adds up to."""

from typing import Any

from torch import nn

from ultralytics.utils import LOGGER
from ultralytics.utils.flops import model_flops


def table_head() -> str:
    """Column names of the build table."""
    return f"{'':>3} {'from':>14} {'n':>3} {'params':>11}  {'module':<30} args"


def table_row(layer: nn.Module, n: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """A layer as parse_model built it."""
    params = sum(p.numel() for p in layer.parameters())
    note = "" if layer.in_set else "  <- in no set: args as they are, as many channels out as in"
    return f"{layer.i:>3} {layer.f!s:>14} {n:>3} {params:>11,}  {name:<30} {args} {kwargs or ''}{note}"


def model_info(
    model: nn.Module, name: str, ch: int, imgsz: int | list[int] = 640, detailed: bool = False, verbose: bool = True
) -> tuple[int, int, int, float]:
    """(layers, parameters, gradients, GFLOPs at `imgsz`); logged with `verbose`, with a row a tensor if `detailed`.

    Layers are all modules, containers and the model itself included, a shared one counted once. Parameters that are
    trained count as gradients. GFLOPs: utils/flops.py.
    """
    layers = len(list(model.modules()))
    parameters = sum(p.numel() for p in model.parameters())
    gradients = sum(p.numel() for p in model.parameters() if p.requires_grad)
    gflops = model_flops(model, imgsz, ch)
    if verbose and detailed:
        LOGGER.info(f"{'name':<48} {'trained':>7} {'params':>10} {'shape':>20} {'mean':>10} {'std':>10}")
        for tensor, p in model.named_parameters():
            mean, std = p.detach().float().mean(), p.detach().float().std(correction=0)
            shape = "x".join(map(str, p.shape))
            LOGGER.info(f"{tensor:<48} {p.requires_grad!s:>7} {p.numel():>10,} {shape:>20} {mean:>10.3g} {std:>10.3g}")
    if verbose:
        LOGGER.info(f"{name}: {layers} layers, {parameters:,} parameters, {gradients:,} gradients, {gflops:.2f} GFLOPs")
    return layers, parameters, gradients, gflops
