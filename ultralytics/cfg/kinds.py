"""Kinds of option values: what they take from Python or YAML, and how a word of the command line becomes one."""

import math
import numbers
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ultralytics.utils.files import parse_value

INVALID = object()  # what `OptionType.read` gives for a value that is not of the kind

_FLAG_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NOTHING_WORDS = ("", "none", "null")
_ROW_OF_NUMBERS = re.compile(r"\d+(,\s*\d+)+")


def _parse_plain(word: str) -> Any:
    """Numbers, flags, nothing, and lists of them: `1e-3`, `True`, `none`, `[0, 1]`, `0,1`; anything else stays text."""
    if word.lower() in _NOTHING_WORDS:
        return None
    return parse_value(f"[{word}]" if _ROW_OF_NUMBERS.fullmatch(word) else word)


def _parse_text(word: str) -> str | None:
    """Text as it stands, so that a run may be called 007; quotes around it are dropped, `none` is None."""
    if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1]
    return None if word.lower() in _NOTHING_WORDS else word


def _parse_flag_or_text(word: str) -> bool | str | None:
    """True or False where the word says so, else text."""
    return _FLAG_WORDS[word.lower()] if word.lower() in _FLAG_WORDS else _parse_text(word)


def _parse_source(word: str) -> Any:
    """A list where it stands in brackets, else text."""
    return parse_value(word) if word.startswith("[") and word.endswith("]") else _parse_text(word)


@dataclass(frozen=True)
class OptionType:
    """`read` gives the value to use, or REFUSED; `parse` reads a word; `alternatives` say what is expected."""

    alternatives: tuple[str, ...]
    read: Callable[[Any], Any]
    parse: Callable[[str], Any] = _parse_plain

    @property
    def expected(self) -> str:
        """The alternatives as one phrase: a, b or c."""
        *first, last = self.alternatives
        return f"{', '.join(first)} or {last}" if first else last


def integer(low: int, high: float = math.inf) -> OptionType:
    """Integers from `low` to `high`."""

    def read(value: Any) -> Any:
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool) and low <= value <= high
        return int(value) if fits else INVALID

    span = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
    return OptionType((f"a whole number {span}",), read)


def number(low: float, high: float = math.inf) -> OptionType:
    """Finite numbers from `low` to `high`."""

    def read(value: Any) -> Any:
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if fits and low <= value <= high else INVALID

    return OptionType((f"a number from {low} to {high}" if high < math.inf else f"a number of at least {low}",), read)


def positive(high: float = math.inf) -> OptionType:
    """Finite numbers above 0, up to `high`."""

    def read(value: Any) -> Any:
        found = number(0, high).read(value)
        return INVALID if found == 0 else found

    return OptionType((f"a number above 0, up to {high}" if high < math.inf else "a number above 0",), read)


def choice(*names: str | int) -> OptionType:
    """One of a few values; upper and lower case are the same."""
    known = {str(name).lower(): name for name in names}

    def read(value: Any) -> Any:
        plain = isinstance(value, (str, int)) and not isinstance(value, bool)
        return known.get(str(value).lower(), INVALID) if plain else INVALID

    return OptionType(tuple(map(str, names)), read)


def any_of(*kinds: OptionType, parse: Callable[[str], Any] = _parse_plain) -> OptionType:
    """The first of several kinds that takes the value."""

    def read(value: Any) -> Any:
        return next((found for kind in kinds if (found := kind.read(value)) is not INVALID), INVALID)

    return OptionType(tuple(text for kind in kinds for text in kind.alternatives), read, parse)


def optional(kind: OptionType) -> OptionType:
    """None, or an empty text, as well."""

    def read(value: Any) -> Any:
        return None if value is None or (isinstance(value, str) and not value) else kind.read(value)

    return OptionType((*kind.alternatives, "nothing"), read, kind.parse)


def list_of(kind: OptionType) -> OptionType:
    """A list of one kind; a value alone is a list of one."""

    def read(value: Any) -> Any:
        items = [kind.read(item) for item in (value if isinstance(value, (list, tuple)) else [value])]
        return INVALID if any(item is INVALID for item in items) else items

    return OptionType((*kind.alternatives, "a list of such"), read)


def pair(kind: OptionType, what: str) -> OptionType:
    """A list of exactly two of one kind."""

    def read(value: Any) -> Any:
        return list_of(kind).read(value) if isinstance(value, (list, tuple)) and len(value) == 2 else INVALID

    return OptionType((what,), read)


def _read_flag(value: Any) -> Any:
    if isinstance(value, str):
        return _FLAG_WORDS.get(value.lower(), INVALID)
    return value if isinstance(value, bool) else INVALID


def _read_text(value: Any) -> Any:
    return str(value) if isinstance(value, (str, PurePath)) and str(value) else INVALID


def _read_torch_device(value: Any) -> Any:
    return str(value) if type(value).__module__ == "torch" and type(value).__name__ == "device" else INVALID


FLAG = OptionType(("True", "False"), _read_flag)
FRACTION = number(0, 1)
TEXT = OptionType(("text (in quotes if it looks like a number)",), _read_text, _parse_text)
PATH = OptionType(("a path",), _read_text, _parse_text)
FLAG_OR_PATH = any_of(FLAG, PATH, parse=_parse_flag_or_text)
_ANY_DEVICE = any_of(integer(0), OptionType((), _read_text), OptionType((), _read_torch_device))
DEVICE = OptionType(("an index such as 0", "cuda:0", "cpu", "mps"), any_of(_ANY_DEVICE, list_of(_ANY_DEVICE)).read)
SOURCE = OptionType(("anything to predict on",), lambda value: value, _parse_source)
