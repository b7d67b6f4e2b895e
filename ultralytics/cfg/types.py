"""Types of options: the values each takes from Python or YAML, and how a word of the command line becomes one."""

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ultralytics.utils.files import parse_value, why_no_path

_INT64 = 2**63 - 1
INVALID = object()  # returned by `OptionType.read` for a value that is not of the type

_FLAG_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NONE_WORDS = ("", "none", "null")


def parse_plain(word: str) -> Any:
    """Numbers, flags, None, and lists of them: `1e-3`, `True`, `none`, `[0, 1]`, `0,1`; anything else stays text."""
    if word.lower() in _NONE_WORDS:
        return None
    if "," in word and re.fullmatch(r"\(?[\d.]+(,\s*[\d.]+)*,?\)?", word):  # numbers need no brackets; Python's tuples
        word = f"[{word.strip('(,)')}]"
    return parse_value(word)


def _parse_text(word: str) -> str | None:
    """Text as it is, so that a run may be called 007; quotes around it are dropped, `none` is None."""
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    return None if word.lower() in _NONE_WORDS else word


@dataclass(frozen=True)
class OptionType:
    """`read` returns the value to use, or INVALID; `parse` reads a word; `alternatives` are for error messages."""

    alternatives: tuple[str, ...]
    read: Callable[[Any], Any]
    parse: Callable[[str], Any] = parse_plain

    @property
    def expected(self) -> str:
        """The alternatives as one phrase: a, b or c."""
        *first, last = self.alternatives
        return f"{', '.join(first)} or {last}" if first else last


def integer(low: int, high: float = math.inf) -> OptionType:
    """Integers from `low` to `high`; 3.0 is one."""

    def read(value: Any) -> Any:
        # A bool is an Integral, too; NumPy's integers are taken and become Python's. None has more than 64 bits.
        whole = isinstance(value, numbers.Integral) or (isinstance(value, float) and value.is_integer())
        fits = whole and not isinstance(value, bool) and low <= value <= min(high, _INT64)
        return int(value) if fits else INVALID

    text = f"an integer from {low} to {high}" if high < math.inf else f"an integer of at least {low}"
    return OptionType((text,), read)


def number(low: float, high: float = math.inf, above: bool = False) -> OptionType:
    """Finite numbers from `low` to `high`; `above`: without `low` itself."""

    def read(value: Any) -> Any:
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not -_INT64 <= value <= _INT64:  # nor NaN
            return INVALID
        return float(value) if low <= value <= high and not (above and value == low) else INVALID

    if above:
        text = f"a number above {low}" + (f", up to {high}" if high < math.inf else "")
    else:
        text = f"a number from {low} to {high}" if high < math.inf else f"a number of at least {low}"
    return OptionType((text,), read)


def choice(*names: str | int, **meanings: Any) -> OptionType:
    """One of a few values, or a word that stands for another one, its meaning; case does not matter."""
    known = {str(name).lower(): name for name in names} | meanings

    def read(value: Any) -> Any:
        plain = isinstance(value, (str, int)) and not isinstance(value, bool)
        return known.get(str(value).lower(), INVALID) if plain else INVALID

    return OptionType((*map(str, names), *meanings), read)


def any_of(*types: OptionType, parse: Callable[[str], Any] = parse_plain) -> OptionType:
    """The first of several types that takes the value."""
    return OptionType(
        alternatives=tuple(dict.fromkeys(text for option_type in types for text in option_type.alternatives)),
        read=lambda value: next((v for t in types if (v := t.read(value)) is not INVALID), INVALID),
        parse=parse,
    )


def optional(option_type: OptionType) -> OptionType:
    """None as well, which an empty text also means."""
    return OptionType(
        alternatives=(*option_type.alternatives, "None"),
        read=lambda value: None if value is None or (isinstance(value, str) and not value) else option_type.read(value),
        parse=option_type.parse,
    )


def list_of(item: OptionType, length: int | None = None, expected: str = "") -> OptionType:
    """A list of one type, of any length if that is not given; a single value becomes a list of one."""

    def read(value: Any) -> Any:
        items = [item.read(v) for v in (value if isinstance(value, (list, tuple)) else [value])]
        return INVALID if length not in (None, len(items)) or any(v is INVALID for v in items) else items

    return OptionType((expected,) if expected else (*item.alternatives, "a list of such"), read)


FLAG = OptionType(
    ("True", "False"),
    read=lambda value: _FLAG_WORDS.get(str(value).lower(), INVALID) if isinstance(value, (bool, str)) else INVALID,
)
FRACTION = number(0, 1)
TEXT = OptionType(
    ("text",),
    read=lambda value: (
        str(value) if isinstance(value, (str, PurePath)) and str(value) and not why_no_path(str(value)) else INVALID
    ),
    parse=_parse_text,
)
# Which losses there are is known when one is made: users add theirs, and their table is code that needs torch.
LOSS_NAME = OptionType(
    ("the name of a loss",),
    read=lambda value: value.lower() if isinstance(value, str) and value.isidentifier() else INVALID,
)
NAME = OptionType(  # of a folder, which may well be a number
    TEXT.alternatives,
    read=lambda value: str(value) if isinstance(value, int) and not isinstance(value, bool) else TEXT.read(value),
    parse=_parse_text,
)
PATH = OptionType(("a path",), TEXT.read, _parse_text)
_INDEX_OR_NAME = any_of(integer(0), TEXT)
FLAG_OR_PATH = any_of(FLAG, PATH, parse=lambda word: _FLAG_WORDS.get(word.lower(), _parse_text(word)))
_ONE_DEVICE = OptionType(
    ("an index such as 0", "cuda:0", "cpu", "mps"),
    # A torch.device is recognized by the name of its class, so that torch need not be imported.
    read=lambda value: str(value) if f"{type(value)}" == "<class 'torch.device'>" else _INDEX_OR_NAME.read(value),
)
DEVICE = OptionType(_ONE_DEVICE.alternatives, any_of(_ONE_DEVICE, list_of(_ONE_DEVICE)).read)
# Anything may be predicted on. On the command line only brackets make a list: a file may be called 007 or a,b.jpg.
SOURCE = OptionType(
    ("anything to predict on",),
    read=lambda value: value,
    parse=lambda word: parse_value(word) if word.startswith("[") and word.endswith("]") else _parse_text(word),
)
