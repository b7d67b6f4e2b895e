"""Reading of model YAMLs: the file a name stands for, its scale, its list of rows, and the table of what was built."""

import math
import re
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.cfg import CFG_DIR, resolve_yaml
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import load_yaml

from .rows import package_value, row_names

SCALE_LETTER = re.compile(r"yolov?\d+([a-z])(?=[-.])")  # the n of yolov8n-DynamicConv.yaml; no word, no capital
LOOSE_LETTER = re.compile(r"yolov?\d+([a-z])(?![a-z])")  # of yolov8s_CBAM.yaml, yolov8sCBAM.yaml, my_yolov8s.yaml
SAME_ROWS = 0.7  # of all rows, in a YAML that is a copy of yolov8.yaml with changes
TABLE_HEAD = f"{'':>3} {'from':>14} {'n':>3} {'params':>11}  {'output':<12} {'module':<30} args"  # columns of table_row


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
    elif (loose := LOOSE_LETTER.search(Path(path).name)) and loose[1] in (d.get("scales") or {}):
        d["scale"] = loose[1]  # of yolov8s_CBAM.yaml; without that scale in the file it is just a name
    d["yaml_file"] = str(path)
    advise(d)
    # In the file's own name a letter that is no scale is just a letter, unless the file has scales.
    if letter and letter not in (d.get("scales") or {}) and ("scales" in d or file.name != Path(path).name):
        known = ", ".join(map(str, d.get("scales") or {})) or "no `scales` at all"
        raise ModelError(f"{path}: there is no scale {letter!r} in {file}, it has {known}")
    return d


def advise(d: dict[str, Any]) -> None:
    """Warn of what a forgotten renumbering leaves behind: old numbers, or rows whose output no other row takes."""
    listed = [row for part in ("backbone", "head") if isinstance(d.get(part), list) for row in d[part]]
    if not all(isinstance(row, list) and len(row) in (4, 5) for row in listed):
        return  # building says what is wrong
    if stale := unshifted(listed):
        LOGGER.warning(
            f"{source(d)}: rows were inserted into those of yolov8.yaml or taken out, and numbers behind them are "
            f"still the old ones: {'; '.join(stale)}"
        )
        return
    names, taken = row_names(listed), set()
    for i, row in enumerate(listed):
        for one in row[0] if isinstance(row[0], list) else [row[0]]:
            number = names.get(one.partition(".")[0]) if isinstance(one, str) else one
            if isinstance(number, int):
                taken.add(i + number if number < 0 else number)
    for i in sorted(set(range(len(listed) - 1)) - taken):
        LOGGER.warning(f"{source(d)}: no row takes the output of row {i} {listed[i]}: are the numbers behind it right?")


def unshifted(listed: list[list[Any]]) -> list[str]:
    """Inputs of rows that are still called by the number they have in yolov8.yaml, though the row has another here.

    Rows are found again by their modules and args. Nothing is known of a YAML that shares too little with yolov8.yaml.
    """
    public = base_rows()
    keys = [[*(str(row[2:4]) for row in part[:-1]), "head"] for part in (public, listed)]
    matcher = SequenceMatcher(None, *keys, autojunk=False)
    if matcher.ratio() < SAME_ROWS:
        return []
    moved: dict[int, int] = {}  # row there: row here, where it is the same or stands in its place
    for _, a, a_end, b, b_end in matcher.get_opcodes():
        moved |= dict(zip(range(a, a_end), range(b, b_end), strict=True)) if a_end - a == b_end - b else {}
    found = []
    for old, new in moved.items():
        before, after = (f if isinstance(f, list) else [f] for f in (public[old][0], listed[new][0]))
        for one, other in zip(before, after, strict=False):
            if one == other and type(other) is int and moved.get(other, other) != other >= 0:
                found.append(f"row {new} {listed[new][2]} takes {other}, which is row {moved[other]} now")
    return found


@cache
def base_rows() -> list[list[Any]]:
    """Rows of yolov8.yaml, read once: parsing takes a tenth of the time in which a small network is built."""
    return rows(load_yaml(CFG_DIR / "models" / "v8" / "yolov8.yaml"))


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


def without_weights(d: dict[str, Any]) -> dict[str, Any]:
    """The YAML of a checkpoint, whose backbones of timm and torchvision get their weights from it and no other file."""
    d = dict(d)
    for part in ("backbone", "head"):
        d[part] = list(d.get(part) or [])
        for i, row in enumerate(d[part]):
            name = row[2] if isinstance(row, list) and len(row) > 3 and isinstance(row[3], list) else None
            if name not in ("timm", "TorchVision"):
                continue
            args = list(row[3])
            named = args.pop() if args and isinstance(args[-1], dict) else {}
            key, place, nothing = "pretrained", 2, False  # [name, out_indices, pretrained]
            if name == "TorchVision":  # [c2, model, weights], whose c2 may be left out
                key, place, nothing = "weights", 1 + isinstance(args[0], int), None
            if len(args) > place:
                args[place] = nothing
            else:
                named = named | {key: nothing}
            d[part][i] = [*row[:3], [*args, named] if named else args, *row[4:]]
    return d


def set_activation(model: nn.Module, d: dict[str, Any]) -> None:
    """Replace every default activation of `model` by the module that `activation:` names, if the YAML has it.

    Raises ModelError for one that cannot be made without arguments, or does not keep the shape of every map.
    """
    if not (text := d.get("activation")):
        return
    try:
        act = package_value(text)
        act = act() if isinstance(act, type) else act  # `nn.ReLU` or `nn.ReLU()`
        maps = [torch.zeros(1, channels, 4, 4) for channels in (8, 12)]
        if any(act(x).shape != x.shape for x in maps):
            raise ModelError("it changes the shape of a map")
    except (AttributeError, IndexError, ModelError, RuntimeError, TypeError, ValueError) as exc:
        reason = " ".join(str(exc).split())
        raise ModelError(
            f"{source(d)}: `activation: {text}` is no activation for every layer ({reason}): write one such as nn.ReLU "
            "or nn.LeakyReLU(0.1)"
        ) from exc
    # A module that was given an activation of its own, or none, keeps it.
    for module in model.modules():
        if getattr(module, "default_act", None) is not None and module.act is module.default_act:
            module.act = act


def table_row(
    layer: nn.Module, i: int, f: Any, n: int, name: str, args: list[Any], kwargs: dict[str, Any], shape: str
) -> str:
    """A layer as parse_model built it, in the columns of TABLE_HEAD; `shape` for an image of PROBE_SIZE."""
    params = sum(p.numel() for p in layer.parameters())
    return f"{i:>3} {f!s:>14} {n:>3} {params:>11,}  {shape:<12} {name:<30} {args} {kwargs or ''}"
