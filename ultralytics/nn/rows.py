"""Rows of a model YAML, [from, repeats, module, args] and perhaps a name, and the values of their args. No `eval`."""

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from torch import nn

from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import nearest

from .modules import Index, Segment, Timm, TorchVision

# Packages whose classes a row may name, by the prefix of the name; imported when a row does.
PACKAGES = {
    "nn": "torch.nn",
    "torch.nn": "torch.nn",
    "torchvision.ops": "torchvision.ops",
    "timm.layers": "timm.layers",
}
PREFIX = re.compile(rf"({'|'.join(map(re.escape, PACKAGES))})\.(?=\w)")
CALL = re.compile(r"([wd])\((.*)\)")  # w(256), d(3)
OUT = re.compile(r"c2|c_?out|ch_?out|out.*|oup|dim_out|c_")  # names of parameters for channels that come out
IN = re.compile(r"c|c1|c_?in|ch.*|in_?(ch|planes|feat|dim).*|inp|dim|planes|num_(channels|features)")  # that come in
NAME = re.compile(r"[^\W\d]\w*")
WORDS = "c1 (channels that come in), w(64) (64 scaled by the width), d(3) (3 by the depth) and the YAML's own keys"

From = int | list[int]


class Output(int):
    """Number of a row that gives several maps, of which one is meant, `k`."""

    def __new__(cls, row: int, k: int = 0) -> "Output":
        """A number like any other, with `k`."""
        self = super().__new__(cls, row)
        self.k = k
        return self

    def __repr__(self) -> str:
        """`4.k` as in messages and tables."""
        return f"{int(self)}.{self.k}"


class Channels(list):
    """Channels that every row gives, ch[i]; of a row with several maps a list, which ch[f] looks into."""

    def __getitem__(self, f: Any) -> Any:
        """Channels of what `from` names: a number, or a list where it is a list or the row gives several maps."""
        if isinstance(f, list):
            return [self[x] for x in f]
        found = super().__getitem__(f)
        if not isinstance(f, Output):
            return found
        if not isinstance(found, list) or f.k >= len(found):
            given = f"{len(found)} maps, the last is number {len(found) - 1}" if isinstance(found, list) else "one map"
            raise ModelError(f"it takes map {f.k} of row {int(f)}, which gives {given}")
        return found[f.k]


def row_names(rows: Sequence[Any]) -> dict[str, int]:
    """Numbers of the rows that have a name, by that name; the first where two have the same."""
    names: dict[str, int] = {}
    for i, row in enumerate(rows):
        if isinstance(row, list) and len(row) == 5 and isinstance(row[4], str):
            names.setdefault(row[4], i)
    return names


def read_row(row: Any, i: int, names: Mapping[str, int]) -> tuple[From, int, str, list[Any]]:
    """Parts of row `i`: from, in which names are numbers by now, repeats, module and args. Raises ModelError."""
    if not isinstance(row, list) or len(row) not in (4, 5):
        raise ModelError(
            "a row must be [from, repeats, module, args], or with a name [from, repeats, module, args, p3]"
        )
    f, n, module, args = row[:4]
    if type(n) is not int or n < 1:  # and not True, which is an int to isinstance
        raise ModelError(f"repeats must be a whole number from 1, not {n!r}")
    if not isinstance(module, str) or not isinstance(args, list):
        raise ModelError("the third entry must be the name of a module and the fourth the list of its args")
    if len(row) == 5 and not (isinstance(row[4], str) and NAME.fullmatch(row[4])):
        raise ModelError(f"the fifth entry names the row: a word such as p3, not {row[4]!r}")
    if len(row) == 5 and names[row[4]] != i:
        raise ModelError(f"the name {row[4]} is taken by row {names[row[4]]}: give it another")
    if isinstance(f, list) and f:
        return [layer_number(one, i, names) for one in f], n, module, args
    return layer_number(f, i, names), n, module, args


def layer_number(f: Any, i: int, names: Mapping[str, int]) -> int:
    """Number of the row before row `i` that a number, a name, or `name.k` for its k-th map stands for."""
    if isinstance(f, str):
        name, dot, k = f.partition(".")
        if name not in names or (dot and not k.isdecimal()):
            near = nearest(name, names) or list(names)
            known = (
                f"the nearest names are {', '.join(near)}" if near else "no row has a name, which is its fifth entry"
            )
            raise ModelError(f"it takes its input from {f!r}, but no row is called so; {known}")
        if names[name] >= i:
            where = "is this row itself" if names[name] == i else f"is row {names[name]}, which comes later"
            raise ModelError(f"it takes its input from {name}, but that {where}")
        return Output(names[name], int(k)) if dot else names[name]
    if type(f) is not int:
        raise ModelError(f"`from` must be the number or the name of a layer or a list of them, not {f!r}")
    if f != -1 and not -i <= f < i:
        before = f"the layers before it are 0 to {i - 1}" if i else "the first row has only the image, -1"
        raise ModelError(f"it takes its input from layer {f}, but {before}")
    return f


@dataclass(frozen=True)
class Words:
    """Words that a row's args may hold, with the values they have there."""

    keys: Mapping[str, Any]  # of the YAML: nc, kpt_shape, numbers of the user's own
    c1: int | list[int]  # channels that come in
    width: Callable[[float], int]  # w(256)
    depth: Callable[[float], int]  # d(3)
    find: Callable[[str], type[nn.Module]]  # the class of a name, for blocks inside of others

    def resolve_args(self, args: list[Any], m: type[nn.Module]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments of a row of `m`; a mapping as last arg, `{num_experts: 8}`, has the latter.

        Where `m` takes a `block`, that is the name of a module, or a list of it and its args.
        """
        *args, last = args or [{}]  # no args: no keyword arguments either
        if any(isinstance(a, dict) for a in args):
            raise ModelError("a mapping of keyword arguments must be the last of the args")
        if not isinstance(last, dict):
            return self.resolve([*args, last]), {}
        block = last.get("block")
        name = block[0] if isinstance(block, list) and block else block
        if isinstance(name, str) and not name.startswith("\\") and "block" in parameters(m):
            self.find(name)  # a name that nobody knows is told at once
            return self.resolve(args), self.resolve(last | {"block": None}) | {"block": Slot(block, self)}
        return self.resolve(args), self.resolve(last)

    def resolve(self, value: Any) -> Any:
        """A value of a row with its words replaced, lists and mappings entry by entry."""
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        if isinstance(value, dict):
            return {name: self.resolve(one) for name, one in value.items()}
        return self.word(value) if isinstance(value, str) else value

    def word(self, text: str) -> Any:
        """The value of a text: a word, a key of the YAML, `nn.ReLU`, a Python literal, or the text itself.

        A backslash in front keeps a text as it is.
        """
        if text.startswith("\\"):
            value = text[1:]
        elif text == "c1":
            value = self.c1
        elif call := CALL.fullmatch(text):
            function, inside = call.groups()
            number = self.resolve(inside.strip())
            if isinstance(number, bool) or not isinstance(number, int | float):
                example = f"{function}({256 if function == 'w' else 3})"
                raise ModelError(f"{text} takes a number, such as {example}")
            value = self.width(number) if function == "w" else self.depth(number)
        elif isinstance(self.keys.get(text), int | float | list):
            value = self.keys[text]
        elif PREFIX.match(text):
            value = package_value(text)
        else:
            try:
                value = ast.literal_eval(text)  # "None", "3", "[1, 2]"
            except (ValueError, SyntaxError):
                value = text
        return value


@dataclass(frozen=True)
class Slot:
    """A block inside of another one: a row's `{block: X}` or `{block: [X, args…]}`, called with its channels."""

    value: str | list[Any]
    words: Words

    def __call__(self, c1: int, c2: int) -> nn.Module:
        """X(c1, c2, *args), X(c1, *args) or X(*args), by the names of its parameters; with `c1` in its args as is."""
        name, *args = self.value if isinstance(self.value, list) else [self.value]
        m = self.words.find(name)
        given, kwargs = replace(self.words, c1=c1).resolve_args(args, m)
        if "c1" not in args:
            given = [*(c1, c2)[: channel_counts(m)], *given]
        return m(*given, **kwargs)

    def __repr__(self) -> str:
        """As in the YAML."""
        return str(self.value)


def parameters(m: type[nn.Module]) -> Mapping[str, inspect.Parameter]:
    """Parameters of a constructor by name; empty for a class without one in Python."""
    try:
        return inspect.signature(m).parameters
    except (TypeError, ValueError):
        return {}


def positional(m: type[nn.Module]) -> list[str]:
    """Names of what a constructor takes by position."""
    return [p.name for p in parameters(m).values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def channel_counts(m: type[nn.Module]) -> int:
    """Number of channel counts that a constructor takes first: 2, in and out, 1, those that come in, or 0."""
    names = positional(m)
    if len(names) > 1 and OUT.fullmatch(names[1]):
        return 2
    required = bool(names) and parameters(m)[names[0]].default is inspect.Parameter.empty
    return int(required or (bool(names) and IN.fullmatch(names[0]) is not None))


def is_scaled(args: Sequence[Any]) -> bool:
    """Whether the first of a row's args is a number of channels as it is, c1 or w(256), not one to be scaled."""
    return bool(args) and isinstance(args[0], str) and (args[0] == "c1" or args[0].startswith("w("))


def public_args(
    m: type[nn.Module], args: list[Any], c1: int | list[int], scaled: Callable[[float], int], row: list[Any]
) -> list[Any]:
    """Args of a class in no set: as they are, except where the grammar of public YAMLs is another."""
    if m is nn.ConvTranspose2d and not is_scaled(row[3]):  # [c2, k, s]
        return [c1, scaled(args[0]), *args[1:]] if args else args
    if m is nn.BatchNorm2d and not args:
        return [c1]
    if m is Index and not isinstance(c1, list):
        raise ModelError("Index takes one of several maps, and what comes in is a single one")
    if m in (Index, TorchVision) and len(args) > 1 and isinstance(args[0], int):  # [c2, index], [c2, name, …]
        return args[1:]
    if m is Timm:
        return [c1, *args]
    return args


def head_args(
    m: type[nn.Module],
    args: list[Any],
    kwargs: dict[str, Any],
    levels: list[int],
    scaled: Callable[[float], int],
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments of a head of several maps: those of the row, and the channels of the maps, `levels`."""
    if issubclass(m, Segment):  # [nc, nm, npr]: only npr is scaled
        args = [*args[:2], *map(scaled, args[2:3]), *args[3:]]
        kwargs = {name: scaled(value) if name == "npr" else value for name, value in kwargs.items()}
    # A row with arguments by name may have left out any of the others: the channels go by name, too.
    return (args, {**kwargs, "ch": levels}) if kwargs else ([*args, levels], kwargs)


def package_value(text: str) -> Any:
    """`nn.ReLU` as the class, `nn.LeakyReLU(0.1)` as a module of it; ModelError for any other expression."""
    prefix = PREFIX.match(text.strip())
    package = PACKAGES[prefix[1]] if prefix else "torch.nn"  # `activation: ReLU`
    try:
        node = ast.parse(text.strip()[prefix.end() if prefix else 0 :], mode="eval").body  # parsed, never run
        call = node if isinstance(node, ast.Call) else None
        name = (call.func if call else node).id
        values = [ast.literal_eval(a) for a in call.args] if call else []
        named = {a.arg: ast.literal_eval(a.value) for a in call.keywords} if call else {}
    except (AttributeError, SyntaxError, TypeError, ValueError) as exc:
        raise ModelError(f"{text!r} is not a class of {package}, nor such a class called with plain values") from exc
    found = package_class(package, name)
    try:
        return found if call is None else found(*values, **named)
    except (TypeError, ValueError) as exc:
        raise ModelError(f"{text!r} cannot be built: {exc}") from exc


def package_class(package: str, name: str) -> type[nn.Module]:
    """A module class of one of the PACKAGES; ModelError for anything else, and for a package that is not installed."""
    try:
        here = importlib.import_module(package)
    except ImportError as exc:
        raise ModelError(f"{package} cannot be imported ({exc}): pip install {package.partition('.')[0]}") from exc
    root = package.partition(".")[0]
    # timm.layers does not give out all that its files have, such as CbamModule.
    files = [m for m in vars(here).values() if isinstance(m, ModuleType) and m.__name__.startswith(f"{package}.")]
    classes = {
        key: value
        for module in (*files, here)
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__.partition(".")[0] == root
    }
    if name not in classes:
        near = nearest(name, classes)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise ModelError(f"{name!r} is not a class of {package} for networks{hint}")
    return classes[name]
