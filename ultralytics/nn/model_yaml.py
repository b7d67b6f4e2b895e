"""Reading of model YAMLs: the file a name stands for, its scale, its rows and the values of their args. No `eval`."""

import ast
import math
import re
from pathlib import Path
from typing import Any

from torch import nn

from ultralytics.cfg import resolve_yaml
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import load_yaml

SCALE_LETTER = re.compile(r"yolov?\d+([a-z])(?=[-.])")  # the n of yolov8n-DynamicConv.yaml; no word, no capital
TABLE_HEAD = f"{'':>3} {'from':>14} {'n':>3} {'params':>11}  {'module':<30} args"  # columns of table_row


def yaml_model_load(path: str | Path) -> dict[str, Any]:
    """Read a model YAML; `scale` and `yaml_file` in the result say how it was named.

    A path wins over a bare name in cfg/models, and either may carry a scale letter that the file itself has not:
    `yolov8n-DynamicConv.yaml` is `yolov8-DynamicConv.yaml` at scale n. Raises ModelError if there is no such file.
    """
    file = resolve_yaml(path, "models")
    d = load_yaml(file)
    letter = guess_model_scale(path)
    if letter:
        d["scale"] = letter
    d["yaml_file"] = str(path)
    # In the file's own name a letter that is no scale is just a letter, unless the file has scales.
    if letter and letter not in (d.get("scales") or {}) and ("scales" in d or file.name != Path(path).name):
        known = ", ".join(map(str, d.get("scales") or {})) or "no `scales` at all"
        raise ModelError(f"{path}: there is no scale {letter!r} in {file}, it has {known}")
    return d


def guess_model_scale(model_path: str | Path) -> str:
    """The scale letter in the name of a model YAML, `n` of yolov8n-seg.yaml, "" where it has none."""
    letter = SCALE_LETTER.match(Path(model_path).name)
    return letter[1] if letter else ""


def source(d: dict[str, Any]) -> str:
    """The name of a YAML in messages."""
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
        d["scale"] = next(iter(scales))  # kept, so that the network can be built again from its `yaml`
        LOGGER.warning(f"{source(d)}: no scale letter in the name, taking the first of its scales, {d['scale']!r}")
    numbers = scales.get(d["scale"])
    if numbers is None:
        raise ModelError(f"{source(d)}: there is no scale {d['scale']!r}, it has {', '.join(map(str, scales))}")
    if not isinstance(numbers, list) or len(numbers) != 3 or not all(isinstance(x, int | float) for x in numbers):
        raise ModelError(f"{source(d)}: scale {d['scale']!r} must be [depth, width, max_channels], not {numbers}")
    depth, width, max_channels = numbers
    return depth, width, max_channels


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
    if type(n) is not int or n < 1:  # and not True, which is an int to isinstance
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
    *args, last = args or [{}]  # no args: no keyword arguments either
    if any(isinstance(a, dict) for a in args):
        raise ModelError("a mapping of keyword arguments must be the last of the args")
    if not isinstance(last, dict):
        return [resolve(a, d) for a in (*args, last)], {}
    return [resolve(a, d) for a in args], {name: resolve(a, d) for name, a in last.items()}


def resolve(value: Any, d: dict[str, Any]) -> Any:
    """The value of a text in a row: that of a key of the YAML such as `nc`, `nn.ReLU`, a Python literal, or itself."""
    if not isinstance(value, str):
        return value
    if isinstance(d.get(value), int | float | list):  # nc, kpt_shape, a number of the user's own
        return d[value]
    if value.startswith(("nn.", "torch.nn.")):
        return torch_nn(value)
    try:
        return ast.literal_eval(value)  # "None", "3", "[1, 2]"
    except (ValueError, SyntaxError):
        return value


def torch_nn(text: str) -> Any:
    """`nn.ReLU` as the class, `nn.LeakyReLU(0.1)` as a module of it; ModelError for any other expression."""
    try:
        node = ast.parse(text.strip(), mode="eval").body  # parsed, never run
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
    """Replace every default activation of `model` by the module that `activation:` names."""
    act = torch_nn(text)
    act = act() if isinstance(act, type) else act  # `nn.ReLU` or `nn.ReLU()`
    # A module that was given an activation of its own, or none, keeps it.
    for module in model.modules():
        if getattr(module, "default_act", None) is not None and module.act is module.default_act:
            module.act = act


def table_row(layer: nn.Module, n: int, name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """A layer as parse_model built it, in the columns of TABLE_HEAD."""
    params = sum(p.numel() for p in layer.parameters())
    note = "" if layer.has_rule else "  <- in no set: args as they are, as many channels out as in"
    return f"{layer.i:>3} {layer.f!s:>14} {n:>3} {params:>11,}  {name:<30} {args} {kwargs or ''}{note}"
