"""Diagnostics of model YAMLs and of the sets in tasks.py: one sentence that names the place to mend."""

import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from ultralytics.utils.errors import ModelError

from .addons import unknown_name
from .model_yaml import rows, source
from .probe import PROBE_SIZE, DeviceMixError, probe, shape_of, shape_text
from .rows import OUT, WORDS, parameters, positional

TAKE_ONE = "take one with a row such as [-1, 1, Index, [0]], or name the row and write name.0 for its `from`"
MAX_SIZE = 65_536  # layers, channels, classes or pixels in a model YAML
SIZING = ("nc", "ch", "channels", "kpt_shape", "scales", "depth_multiple", "width_multiple", "backbone", "head")
# Where classes come from whose training mode no build has to try: those of the tree are tested.
TESTED = ("torch.nn.", "ultralytics.nn.modules.")
# Names of parameters that are no repeat count, whatever an integer in their place might mean.
NO_COUNT = re.compile(r"k|ks|kernel.*|s|stride.*|p|pad.*|d|dilation|g|groups|e|act.*|shortcut|bias")


@contextmanager
def row_context(d: Mapping[str, Any], i: int, row: Any) -> Iterator[None]:
    """Raise every error inside as a ModelError that names the YAML and the row."""
    try:
        yield
    except Exception as exc:
        if isinstance(exc, NameError):  # of a set or a branch of parse_model
            reason = str(unknown_name(exc.name))
        else:
            reason = str(exc) if isinstance(exc, ModelError) else what_failed(exc)
        as_in_yaml = re.sub(r"'([^',]+)'", r"\1", str(row))
        raise ModelError(f"{source(d)}, row {i} {as_in_yaml}: {reason}") from exc


def what_failed(exc: Exception, named: bool = True) -> str:
    """`TypeError: … (MyBlock.py, line 12)`, or without the name of its type if not `named`.

    The line is the innermost that is neither torch's nor of these files; where there is none, it is left out.
    """
    frames = traceback.extract_tb(exc.__traceback__)
    message = " ".join(str(exc).split()) or frames[-1].line  # a bare `assert h == w`
    elsewhere = (str(Path(torch.__file__).parent), __file__, str(Path(__file__).with_name("probe.py")))
    own = [f for f in frames if not f.filename.startswith(elsewhere)]
    where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(exc).__name__}: {message}{where}" if named else f"{message}{where}"


def check_keys(d: Mapping[str, Any]) -> None:
    """Refuse keys of newer public YAMLs that the head does not know, and numbers that no network has."""
    named = str([d.get("backbone"), d.get("head")])
    for key, value in d.items():
        if key in SIZING or str(key) in named:  # others, such as `version: 20260101`, make no layer
            check_sizes(value, f"{source(d)}: `{key}:`")
    if type(d.get("channels", 3)) is not int or d.get("channels", 3) < 1:
        raise ModelError(
            f"{source(d)}: `channels: {d['channels']}` is not the number of an image's channels, such as 3"
        )
    if d.get("end2end") and "v10Detect" not in str(rows(d)[-1:]):
        raise ModelError(
            f"{source(d)}: `end2end: {d['end2end']}` is for a head that needs no NMS: v10Detect in the last row"
        )
    if d.get("reg_max", 16) != 16:
        raise ModelError(
            f"{source(d)}: `reg_max: {d['reg_max']}` is not supported, heads have 16 bins: subclass Detect with "
            "another `reg_max` and name that class in the last row"
        )


def check_sizes(value: Any, where: str) -> None:
    """Raise ModelError for numbers far beyond those of any network: building one of them would take all memory."""
    if isinstance(value, int | float) and not abs(value) <= MAX_SIZE:
        raise ModelError(f"{where} has the number {value:g}, and none may be larger than {MAX_SIZE}")
    if isinstance(value, dict):
        value = [*value, *value.values()]
    for part in value if isinstance(value, list | tuple) else ():
        check_sizes(part, where)


def check_channels(m: type[nn.Module], f: Any, c1: int | list[int], args: list[Any]) -> None:
    """Refuse a row of a module with one input and so many output channels that has either of them wrong."""
    if isinstance(f, list):
        raise ModelError(f"{m.__name__} takes its input from one layer, not from {f}")
    if isinstance(c1, list):
        raise ModelError(f"{m.__name__} takes one map, and what comes in are {len(c1)}: {TAKE_ONE}")
    # In Python a bool is an int, so `true` would pass as 1 channel.
    if not args or isinstance(args[0], bool) or not isinstance(args[0], int | float):
        given = repr(args[0]) if args else "nothing"
        hint = f"; the words that a row knows are {WORDS}" if args and isinstance(args[0], str) else ""
        raise ModelError(f"the first arg of {m.__name__} must be the number of output channels, found {given}{hint}")


def require_several_inputs(m: type[nn.Module], f: Any, c1: int | list[int]) -> list[int]:
    """Channels of the maps that a module joins; ModelError for a single one."""
    if not isinstance(c1, list):
        raise ModelError(f"{m.__name__} takes its input from a list of layers, such as [{f}, 6], not from {f}")
    return c1


def check_set(m: type[nn.Module], args: list[Any], repeats: bool) -> None:
    """Refuse a class of `channel_modules` that belongs into `repeat_modules`, or the other way round.

    Otherwise it may well build: `[128, True]` with True as the number of inner blocks, or the count as a kernel size.
    """
    third = (*positional(m), None, None, None)[2]
    if not repeats and third == "n" and (len(args) < 3 or type(args[2]) is not int):
        given = f"{args[2]!r} would be read as n" if len(args) > 2 else "n would stay 1"
        raise ModelError(
            f"{m.__name__} takes the repeat count `n` after its channels but is not in `repeat_modules`, so {given}: "
            "add it there in ultralytics/nn/tasks.py (or register_module(..., repeats=True))"
        )
    if repeats and third is not None and NO_COUNT.fullmatch(third):
        raise ModelError(
            f"{m.__name__} is in `repeat_modules`, but what it takes after its channels is `{third}`, not a repeat "
            f"count, so {args[2]} would be read as {third}: take it out there, in ultralytics/nn/tasks.py"
        )


def build_layer(m: type[nn.Module], args: list[Any], kwargs: dict[str, Any], n: int, has_rule: bool) -> nn.Module:
    """The module of a row, or `n` of them one after the other; a ModelError tells the call that failed."""
    try:
        copies = [m(*args, **kwargs) for _ in range(n)]
    except ModelError:  # says it all
        raise
    except Exception as exc:
        words = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
        # Without annotations, to be read at a glance: SPPF(c1, c2, k=5). A ValueError says itself what to give instead.
        called = ", ".join(str(p.replace(annotation=p.empty)) for p in parameters(m).values())
        hint = f"; it is called as {m.__name__}({called})" if called and not isinstance(exc, ValueError) else ""
        hint += "" if has_rule else no_rule_hint(m)
        texts = [a for a in (*args, *kwargs.values()) if isinstance(a, str)]
        if texts and isinstance(exc, TypeError):
            hint += f"; {texts[0]!r} is a text, the words that a row knows are {WORDS}"
        raise ModelError(f"{m.__name__}({', '.join(words)}) cannot be built: {what_failed(exc)}{hint}") from exc
    return nn.Sequential(*copies) if n > 1 else copies[0]


def run_layer(layer: nn.Module, x: Any, m: type[nn.Module], has_rule: bool, is_last: bool) -> Any:
    """The output of the layer of a row on the meta device; ModelError for what does not fit, or is no map at all."""
    y = try_layer(layer, x, m, has_rule, training=is_last)  # a head has its raw output in training
    parts = y if isinstance(y, list | tuple) else [y]
    if not is_last and not (parts and all(isinstance(part, Tensor) and part.ndim > 1 for part in parts)):
        kinds = ", ".join(f"{tuple(p.shape)}" if isinstance(p, Tensor) else type(p).__name__ for p in parts)
        raise ModelError(f"{m.__name__} gives {kinds or 'nothing'}: a row gives a map (B, C, H, W), or a list of maps")
    in_sets = has_rule and m.__module__.startswith("ultralytics.")
    if not (is_last or in_sets or m.__module__.startswith(TESTED)):
        pair = tree_map_only(Tensor, lambda t: t.new_empty(2, *t.shape[1:]), x)  # norms of single values need two
        trained = shape_of(try_layer(layer, pair, m, True, training=True, mode=", in training"))
        if shape_text(trained) != shape_text(shape_of(y)):
            raise ModelError(
                f"{m.__name__} gives {shape_text(trained)} in training and {shape_text(shape_of(y))} otherwise: "
                "the rows behind it are built for one of them"
            )
    return y


def try_layer(layer: nn.Module, x: Any, m: type[nn.Module], has_rule: bool, training: bool, mode: str = "") -> Any:
    """The output of a layer on the meta device; ModelError where it fails or mixes devices."""
    try:
        return probe(layer, x, training)
    except DeviceMixError as exc:
        raise ModelError(
            f"{m.__name__} makes a tensor on another device than its input, which fails on a GPU: "
            f"{what_failed(exc, named=False)}; make it with device=x.device, keep it in register_buffer, or layers in "
            "a ModuleList"
        ) from exc
    except Exception as exc:
        shapes = ", ".join(map(str, shape_of(x) if isinstance(x, list | tuple) else [shape_of(x)]))
        hint = f"; these are several maps: {TAKE_ONE}" if isinstance(x, list | tuple) else ""
        hint += "" if has_rule else no_rule_hint(m)
        raise ModelError(f"{m.__name__} cannot take what comes in, {shapes}{mode}: {what_failed(exc)}{hint}") from exc


def no_rule_hint(m: type[nn.Module]) -> str:
    """A hint for a class that parse_model has no rule for, from what its constructor takes."""
    name, parameters = m.__name__, positional(m)
    lacking = f"; {name} is in neither of the sets in ultralytics/nn/tasks.py, so it got its args as they are: "
    if parameters[2:3] == ["n"]:
        return lacking + "as it takes n after its channels, put it into both, `channel_modules` and `repeat_modules`"
    if len(parameters) > 1 and OUT.fullmatch(parameters[1]):
        return (
            lacking + "write [c1, w(64), …] for its channels in and out, or put it into `channel_modules`: then [64, …]"
        )
    return lacking + "write c1 for the channels that come in, as in [c1, …]"


def label_layer(layer: nn.Module, m: type[nn.Module], i: int, f: Any) -> nn.Module:
    """Give a layer the attributes that code around networks reads, where it has none of these names itself."""
    labels = {"i": i, "f": f, "np": sum(p.numel() for p in layer.parameters())}
    for key, value in labels.items():
        if not hasattr(layer, key):
            setattr(layer, key, value)
    if getattr(type(layer), "type", None) is nn.Module.type and "type" not in vars(layer):
        layer.type = f"{m.__module__}.{m.__qualname__}"  # in the place of a method that casts
    return layer


def stride_of(shape: tuple[int, ...], head: nn.Module) -> float:
    """Pixels of a cell of a map that a head takes; ModelError where they are not whole, as anchor points need."""
    stride = PROBE_SIZE / shape[-1]
    if hasattr(head, "bias_init") and not stride.is_integer():
        raise ModelError(
            f"{type(head).__name__} takes a map of {shape[-1]} cells a side from an image of {PROBE_SIZE} pixels, a "
            f"stride of {stride:.3g}, not a power of two such as 8: look for a row without padding, or of stride 3"
        )
    return stride
