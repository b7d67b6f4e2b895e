"""What people get wrong when they edit a YAML, a set or Addmodules, each said in a sentence that names the place."""

import ast
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

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
NO_COUNT = re.compile(r"k|ks|kernel.*|s|stride.*|p|pad.*|d|dilation|g|groups|e|act.*|shortcut|bias")


@contextmanager
def row_context(d: dict[str, Any], i: int, row: Any) -> Iterator[None]:
    """Turn whatever goes wrong inside into a ModelError that names the YAML and the row."""
    try:
        yield
    except Exception as exc:
        if isinstance(exc, NameError):  # a set or branch of parse_model
            reason = str(not_imported(exc.name))
        else:
            reason = str(exc) if isinstance(exc, ModelError) else what_failed(exc)
        raise ModelError(f"{source(d)}, row {i} {row_text(row)}: {reason}") from exc


def row_text(row: Any) -> str:
    """The row as a YAML has it."""
    return re.sub(r"'([^',]+)'", r"\1", str(row))


def what_failed(exc: Exception) -> str:
    """`TypeError: … (MyBlock.py, line 12)`, that line being the innermost one that is neither torch's nor of here."""
    elsewhere = (str(Path(torch.__file__).parent), __file__)
    frames = [f for f in traceback.extract_tb(exc.__traceback__) if not f.filename.startswith(elsewhere)]
    line = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(exc).__name__}: {' '.join(str(exc).split())}{line}"


def unknown_module(name: str, known: Iterable[str]) -> ModelError:
    """The sentence for a name in a YAML that stands for no module."""
    if defining_file(name):
        return not_imported(name)
    near = nearest(name, known)
    hint = f"the nearest known names are {', '.join(near)}" if near else f"known names are {', '.join(sorted(known))}"
    return ModelError(f"there is no module {name!r}; {hint}; {FOUR_STEPS}")


def not_imported(name: str) -> ModelError:
    """The sentence for a name that tasks.py uses, or a YAML, and that nobody imported."""
    file = defining_file(name)
    if file is None:
        near = nearest(name, written_names())
        hint = f"; the nearest names in Addmodules are {', '.join(near)}" if near else ""
        return ModelError(f"ultralytics/nn/tasks.py uses the name {name}, but no file brings it{hint}; {FOUR_STEPS}")
    return ModelError(
        f"{name} is in Addmodules/{file.name}, but ultralytics/nn/tasks.py does not know it: write "
        f"`from .{file.stem} import {name}` in Addmodules/__init__.py"
    )


def defining_file(name: str) -> Path | None:
    """The add-on file in which a class or value of that name is written down."""
    written = re.compile(rf"^(class {re.escape(name)}\b|{re.escape(name)} =)", re.MULTILINE)
    files = sorted(ADDMODULES.glob("*.py"))
    return next((file for file in files if written.search(file.read_text(encoding="utf-8", errors="replace"))), None)


def written_names() -> list[str]:
    """Names of all classes written down in add-on files."""
    texts = (file.read_text(encoding="utf-8", errors="replace") for file in sorted(ADDMODULES.glob("*.py")))
    return [name for text in texts for name in re.findall(r"^class (\w+)", text, re.MULTILINE)]


def check_set(m: type[nn.Module], args: list[Any], repeats: bool) -> None:
    """Refuse a class of `channel_modules` that belongs into `repeat_modules`, or the other way round.

    Otherwise it may well build: `[128, True]` with True as the number of inner blocks, or the count as a kernel size.
    """
    third = _third_parameter(m)
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


def _how_called(m: type[nn.Module]) -> str:
    """`; it is called as SPPF(c1, c2, k=5)`; nothing where Python does not know."""
    try:
        parameters = inspect.signature(m).parameters.values()
    except (TypeError, ValueError):
        return ""
    plain = (p.replace(annotation=p.empty) for p in parameters)
    return f"; it is called as {m.__name__}({', '.join(map(str, plain))})"


def _third_parameter(m: type[nn.Module]) -> str | None:
    """Name of what a constructor takes after its two channel counts, if that can be known."""
    try:
        parameters = list(inspect.signature(m).parameters.values())
    except (TypeError, ValueError):
        return None
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return positional[2] if len(positional) > 2 else None


def check_channels(m: type[nn.Module], f: int | list[int], args: list[Any]) -> None:
    """Refuse a row of `channel_modules` without output channels, or one that takes several inputs."""
    if not isinstance(f, int):
        raise ModelError(f"{m.__name__} takes its input from one layer, not from {f}")
    if not args or isinstance(args[0], bool) or not isinstance(args[0], int | float):
        found = repr(args[0]) if args else "nothing"
        raise ModelError(f"the first arg of {m.__name__} must be the number of output channels, found {found}")


def several(m: type[nn.Module], f: int | list[int]) -> list[int]:
    """The layers a module joins; refuses a single one."""
    if isinstance(f, int):
        raise ModelError(f"{m.__name__} takes its input from a list of layers, such as [{f}, 6], not from {f}")
    return f


def build(m: type[nn.Module], args: list[Any], kwargs: dict[str, Any], n: int, in_set: bool) -> nn.Module:
    """The module of a row, or `n` of them one after the other; if that fails, the call that was tried."""
    try:
        copies = [m(*args, **kwargs) for _ in range(n)]
    except Exception as exc:
        words = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
        hint = "" if isinstance(exc, ValueError) else _how_called(m)  # a ValueError says what to give instead
        hint += "" if in_set else not_in_set(m.__name__, _third_parameter(m))
        raise ModelError(f"{m.__name__}({', '.join(words)}) cannot be built: {what_failed(exc)}{hint}") from exc
    return nn.Sequential(*copies) if n > 1 else copies[0]


def run(layer: nn.Module, x: Any, name: str) -> Any:
    """The output of the layer of a row; if it fails or has other channels than promised, what came in and went out."""
    hint = "" if layer.in_set else not_in_set(name)
    try:
        y = layer(x)
    except Exception as exc:
        came = ", ".join(str(tuple(part.shape)) for part in (x if isinstance(x, list) else [x]))
        raise ModelError(f"{name} cannot take what comes in, {came}: {what_failed(exc)}{hint}") from exc
    if isinstance(y, Tensor) and y.shape[1] != layer.c2:
        raise ModelError(f"{name} gives {y.shape[1]} channels, but parse_model counts on c2 = {layer.c2}{hint}")
    return y


def not_in_set(name: str, third: str | None = None) -> str:
    """What may follow from parse_model having no rule for a class, whose constructor takes `third` after two others."""
    lacking = f"; {name} is in neither of the sets in ultralytics/nn/tasks.py, so it got its args as they are: "
    if third == "n":
        return lacking + "as it takes n after its channels, put it into both, `channel_modules` and `repeat_modules`"
    return lacking + (
        "if it is called as Module(c1, c2, *args) put it into `channel_modules`, into `repeat_modules` too if n "
        "follows c2"
    )


def never_imported(package: ModuleType) -> list[str]:
    """Names of the add-on files that nobody imported, so that their classes are unknown or others of that name."""
    stems = sorted(file.stem for file in Path(package.__file__).parent.glob("*.py"))
    return [stem for stem in stems if stem != "__init__" and f"{package.__name__}.{stem}" not in sys.modules]


def imported_classes(package: ModuleType) -> Iterator[tuple[str, type[nn.Module]]]:
    """The module classes that the `__init__.py` of a package imports from its own files, by name, in order."""
    for node in ast.walk(ast.parse(Path(package.__file__).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom):
            continue
        origin = importlib.util.resolve_name("." * node.level + (node.module or ""), package.__name__)
        module = sys.modules.get(origin)
        if module is None or not origin.startswith(package.__name__ + "."):
            continue
        for alias in node.names:
            public = getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]
            for name in public if alias.name == "*" else [alias.name]:
                found = getattr(module, name, None)
                if isinstance(found, type) and issubclass(found, nn.Module):
                    yield alias.asname or name, found


def exported_twice(package: ModuleType) -> Iterator[tuple[str, type, type]]:
    """(name, earlier class, later class) where one import of `package` replaces what another brought."""
    seen: dict[str, type] = {}
    for name, found in imported_classes(package):
        if seen.setdefault(name, found) is not found:
            yield name, seen[name], found
        seen[name] = found
