"""Tables for people: the rows of a model as it is built, and what it adds up to."""

from typing import Any

from torch import nn


def table_head() -> str:
    """Column names of the build table."""
    return f"{'':>3} {'from':>14} {'n':>3} {'params':>11}  {'module':<30} args"


def table_row(layer: nn.Module, n: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """A layer as parse_model built it."""
    params = sum(p.numel() for p in layer.parameters())
    note = "" if layer.in_set else "  <- in no set: args as they are, as many channels out as in"
    return f"{layer.i:>3} {layer.f!s:>14} {n:>3} {params:>11,}  {name:<30} {args} {kwargs or ''}{note}"
