"""What a model YAML says: which file a name means, its scale, its rows, and the values of their args. No `eval`."""

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from ultralytics.cfg import resolve_yaml
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import load_yaml

SCALE_LETTER = re.compile(r"yolov?\d+([a-z])(?=[-.])")  # the n of yolov8n-DynamicConv.yaml; no word, no capital


def yaml_model_load(path: str | Path) -> dict[str, Any]:
    """Read a model YAML; `scale` and `yaml_file` in the result say how it was named.

    A path wins over a bare name in cfg/models, and either may carry a scale letter that the file itself has not:
    `yolov8n-DynamicConv.yaml` is `yolov8-DynamicConv.yaml` at scale n. Raises ModelError if there is no such file.
    """
    file = resolve_yaml(path, "models")
    d = load_yaml(file)
    letter = SCALE_LETTER.match(Path(path).name)
    if letter:
        d["scale"] = letter[1]
    d["yaml_file"] = str(path)
    if letter and letter[1] not in (d.get("scales") or {}) and ("scales" in d or file.name != Path(path).name):
        raise ModelError(f"{path}: there is no scale {letter[1]!r} in {file}, it has {known_scales(d)}")
    return d


def known_scales(d: dict[str, Any]) -> str:
    """The letters of `scales`, to be read by a person."""
    return ", ".join(map(str, d.get("scales") or {})) or "no `scales` at all"


def source(d: dict[str, Any]) -> str:
    """What to call the YAML in messages."""
    return str(d.get("yaml_file") or "the model YAML")


def scaling(d: dict[str, Any]) -> tuple[float, float, float]:
    """Depth, width and max_channels at the YAML's scale: the first of `scales`, with a warning, where none is chosen.

    A YAML without scales may have `depth_multiple` and `width_multiple`, as older ones do.
    """
    scales = d.get("scales")
    if not scales:
        return d.get("depth_multiple", 1.0), d.get("width_multiple", 1.0), math.inf
    if not isinstance(scales, dict):
        raise ModelError(f"{source(d)}: `scales:` must be rows such as `n: [0.33, 0.25, 1024]`, found {scales!r}")
    if not d.get("scale"):
        d["scale"] = next(iter(scales))
        LOGGER.warning(f"{source(d)}: no scale letter in the name, taking the first of its scales, {d['scale']!r}")
    numbers = scales.get(d["scale"])
    if numbers is None:
        raise ModelError(f"{source(d)}: there is no scale {d['scale']!r}, it has {known_scales(d)}")
    if not isinstance(numbers, list) or len(numbers) != 3 or not all(isinstance(x, int | float) for x in numbers):
        raise ModelError(f"{source(d)}: scale {d['scale']!r} must be [depth, width, max_channels], not {numbers}")
    depth, width, max_channels = numbers
    return depth, width, max_channels


def class_count(d: dict[str, Any]) -> int:
    """`nc`, the number of classes."""
    nc = d.get("nc")
    if type(nc) is not int or nc < 1:
        raise ModelError(f"{source(d)}: `nc:` must be the number of classes, such as 80, found {nc!r}")
    return nc


def rows(d: dict[str, Any]) -> list[Any]:
    """All rows, backbone first: a row's place in this list is the number other rows know it by."""
    for part in ("backbone", "head"):
        if not isinstance(d.get(part), list) or not d[part]:
            raise ModelError(f"{source(d)}: `{part}:` must be a list of rows [from, repeats, module, args]")
    return [*d["backbone"], *d["head"]]


def check_row(row: Any, i: int) -> None:
    """Refuse a row that is no [from, repeats, module, args], or takes its input from a layer that is not before it."""
    if not isinstance(row, list) or len(row) != 4:
        raise ModelError("a row must be [from, repeats, module, args]")
    f, n, name, args = row
    if type(n) is not int or n < 1:
        raise ModelError(f"repeats must be a whole number from 1, not {n!r}")
    if not isinstance(name, str) or not isinstance(args, list):
        raise ModelError("the third entry must be the name of a module and the fourth the list of its args")
    for layer in f if isinstance(f, list) and f else [f]:
        if type(layer) is not int:
            raise ModelError(f"`from` must be the number of a layer or a list of them, not {f!r}")
        if layer != -1 and not -i <= layer < i:
            before = f"the layers before it are 0 to {i - 1}" if i else "the first row has only the image, -1"
            raise ModelError(f"it takes its input from layer {layer}, but {before}")


def resolve_args(args: list[Any], d: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Positional and keyword arguments of a row; a mapping as last arg, `{num_experts: 8}`, holds the latter."""
    *args, last = args or [{}]
    if any(isinstance(a, dict) for a in args):
        raise ModelError("a mapping of keyword arguments must be the last of the args")
    if not isinstance(last, dict):
        return [resolve(a, d) for a in (*args, last)], {}
    return [resolve(a, d) for a in args], {name: resolve(a, d) for name, a in last.items()}


def resolve(value: Any, d: dict[str, Any]) -> Any:
    """What a text in a row stands for: a value of the YAML such as `nc`, `nn.ReLU`, `None`, a number, or the text."""
    if not isinstance(value, str):
        return value
    if isinstance(d.get(value), int | float | list):
        return d[value]
    if value.startswith(("nn.", "torch.nn.")):
        return torch_nn(value)
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def torch_nn(text: str) -> Any:
    """`nn.ReLU` is the class, `nn.LeakyReLU(0.1)` a module of it; no other expression is understood."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else None
        name = ast.unparse(call.func if call else node).removeprefix("torch.").removeprefix("nn.")
        found = getattr(nn, name)
        if not issubclass(found, nn.Module):
            raise TypeError
        if call is None:
            return found
        values = [ast.literal_eval(a) for a in call.args]
        return found(*values, **{a.arg: ast.literal_eval(a.value) for a in call.keywords})
    except (AttributeError, SyntaxError, TypeError, ValueError) as exc:
        raise ModelError(f"{text!r} is not a class of torch.nn, nor such a class called with plain values") from exc


def set_activation(model: nn.Module, text: str) -> None:
    """Put the module that `activation:` names in the place of every default activation of `model`."""
    act = torch_nn(text)
    act = act() if isinstance(act, type) else act
    for module in model.modules():
        if getattr(module, "default_act", None) is not None and module.act is module.default_act:
            module.act = act


def layers_of(f: int | list[int]) -> Iterator[int]:
    """The layers that `from` names."""
    yield from [f] if isinstance(f, int) else f
