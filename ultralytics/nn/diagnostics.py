"""Diagnostics of model YAMLs, of the sets in tasks.py and of Addmodules: one sentence that names the place to mend."""

import ast
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import nearest

from .model_yaml import source

ADDMODULES = Path(__file__).parent / "Addmodules"
FOUR_STEPS = (
    "to add a block: (1) put its file into ultralytics/nn/Addmodules, (2) import it in Addmodules/__init__.py, "
    "(3) see that ultralytics/nn/tasks.py imports that, (4) put the class into `channel_modules` there, into "
    "`repeat_modules` too if it takes the repeat count, or give it a branch in parse_model; a class from outside the "
    "tree is made known by register_module() of ultralytics.nn.tasks, before its network is built or opened"
)
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


def what_failed(exc: Exception) -> str:
    """`TypeError: … (MyBlock.py, line 12)`, the innermost line that is neither torch's nor of this file."""
    elsewhere = (str(Path(torch.__file__).parent), __file__)
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if not f.filename.startswith(elsewhere)]
    line = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}{line}"


def unknown_name(name: str, known: Collection[str] | None = None) -> ModelError:
    """The error for a name in a YAML that is none of the `known` modules, or without these a name in tasks.py."""
    files = sorted(ADDMODULES.glob("*.py"))
    texts = {file: file.read_text(encoding="utf-8", errors="replace") for file in files}
    definition = re.compile(rf"^(class {re.escape(name)}\b|{re.escape(name)} =)", re.MULTILINE)
    for file, text in texts.items():
        if definition.search(text):
            return ModelError(
                f"{name} is in Addmodules/{file.name}, but ultralytics/nn/tasks.py does not know it: write "
                f"`from .{file.stem} import {name}` in Addmodules/__init__.py"
            )
    if known is None:
        classes = [found for text in texts.values() for found in re.findall(r"^class (\w+)", text, re.MULTILINE)]
        near = nearest(name, classes)
        hint = f"; the nearest names in Addmodules are {', '.join(near)}" if near else ""
        return ModelError(f"ultralytics/nn/tasks.py uses the name {name}, but no file brings it{hint}; {FOUR_STEPS}")
    near = nearest(name, known)
    hint = f"the nearest known names are {', '.join(near)}" if near else f"known names are {', '.join(sorted(known))}"
    return ModelError(f"there is no module {name!r}; {hint}; {FOUR_STEPS}")


def check_channels(m: type[nn.Module], f: int | list[int], args: list[Any]) -> None:
    """Refuse a row of `channel_modules` without output channels, or one that takes several inputs."""
    if not isinstance(f, int):
        raise ModelError(f"{m.__name__} takes its input from one layer, not from {f}")
    # In Python a bool is an int, so `true` would pass as 1 channel.
    if not args or isinstance(args[0], bool) or not isinstance(args[0], int | float):
        given = repr(args[0]) if args else "nothing"
        raise ModelError(f"the first arg of {m.__name__} must be the number of output channels, found {given}")


def require_several_inputs(m: type[nn.Module], f: int | list[int]) -> list[int]:
    """The layers that a module joins; ModelError for a single one."""
    if isinstance(f, int):
        raise ModelError(f"{m.__name__} takes its input from a list of layers, such as [{f}, 6], not from {f}")
    return f


def check_set(m: type[nn.Module], args: list[Any], repeats: bool) -> None:
    """Refuse a class of `channel_modules` that belongs into `repeat_modules`, or the other way round.

    Otherwise it may well build: `[128, True]` with True as the number of inner blocks, or the count as a kernel size.
    """
    _, third = signature_of(m)
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


def signature_of(m: type[nn.Module]) -> tuple[str, str | None]:
    """`SPPF(c1, c2, k=5)`, and the name of what follows the two channel counts, `k`; "" and None where unknown."""
    try:
        parameters = list(inspect.signature(m).parameters.values())
    except (TypeError, ValueError):  # a class without a Python constructor
        return "", None
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    plain = [str(p.replace(annotation=p.empty)) for p in parameters]  # without annotations, to be read at a glance
    return f"{m.__name__}({', '.join(plain)})", positional[2] if len(positional) > 2 else None


def build_layer(m: type[nn.Module], args: list[Any], kwargs: dict[str, Any], n: int, has_rule: bool) -> nn.Module:
    """The module of a row, or `n` of them one after the other; a ModelError tells the call that failed."""
    try:
        copies = [m(*args, **kwargs) for _ in range(n)]
    except Exception as exc:
        words = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
        call, third = signature_of(m)
        # A ValueError says itself what to give instead.
        hint = f"; it is called as {call}" if call and not isinstance(exc, ValueError) else ""
        hint += "" if has_rule else no_rule_hint(m.__name__, third)
        raise ModelError(f"{m.__name__}({', '.join(words)}) cannot be built: {what_failed(exc)}{hint}") from exc
    return nn.Sequential(*copies) if n > 1 else copies[0]


def run_layer(layer: nn.Module, x: Any, name: str) -> Any:
    """The output of the layer of a row; ModelError for an input that does not fit, or other channels than expected."""
    hint = "" if layer.has_rule else no_rule_hint(name)
    try:
        y = layer(x)
    except Exception as exc:
        shapes = ", ".join(str(tuple(part.shape)) for part in (x if isinstance(x, list) else [x]))
        raise ModelError(f"{name} cannot take what comes in, {shapes}: {what_failed(exc)}{hint}") from exc
    if isinstance(y, Tensor) and y.shape[1] != layer.c2:  # another output, such as a list, is the next layer's affair
        raise ModelError(f"{name} gives {y.shape[1]} channels, but parse_model counts on c2 = {layer.c2}{hint}")
    return y


def no_rule_hint(name: str, third: str | None = None) -> str:
    """A hint for a class that parse_model has no rule for; its constructor takes `third` after two others."""
    lacking = f"; {name} is in neither of the sets in ultralytics/nn/tasks.py, so it got its args as they are: "
    if third == "n":
        return lacking + "as it takes n after its channels, put it into both, `channel_modules` and `repeat_modules`"
    return lacking + (
        "if it is called as Module(c1, c2, *args) put it into `channel_modules`, into `repeat_modules` too if n "
        "follows c2"
    )


def check_addmodules(package: ModuleType, names: Mapping[str, Any]) -> None:
    """Warn of two add-ons with one name, and of files that `package` does not import.

    `names` are those of tasks.py: where the core has a name there, no add-on replaces anything.
    """
    seen: dict[str, type] = {}
    for name, later in imported_classes(package):
        earlier = seen.get(name, later)
        if earlier is not later and names.get(name) is later:
            warn_replaced(name, earlier, later)
        seen[name] = later
    for file in sorted(Path(package.__file__).parent.glob("*.py")):
        # Its classes are unknown, or a YAML builds others of that name.
        if file.stem != "__init__" and f"{package.__name__}.{file.stem}" not in sys.modules:
            LOGGER.warning(
                f"Addmodules/{file.name} is not used: write `from .{file.stem} import *` in Addmodules/__init__.py"
            )


def imported_classes(package: ModuleType) -> Iterator[tuple[str, type[nn.Module]]]:
    """The module classes that the `__init__.py` of a package imports from its own files, by name, in order."""
    # Read from its text: in the package itself a name is the last class that was imported under it.
    for node in ast.walk(ast.parse(Path(package.__file__).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package.__name__)
        module = sys.modules.get(origin)  # None where the import stands in a branch that did not run
        if module is None or not origin.startswith(package.__name__ + "."):
            continue
        for alias in node.names:
            # The names that `import *` brings.
            public = getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]
            for name in public if alias.name == "*" else [alias.name]:
                found = getattr(module, name, None)
                if isinstance(found, type) and issubclass(found, nn.Module):
                    yield alias.asname or name, found


def warn_replaced(name: str, earlier: type, later: type) -> None:
    """Warn that a name of an add-on now stands for another class."""
    LOGGER.warning(f"two add-ons export {name}: that of {later.__module__} replaces that of {earlier.__module__}")
