"""Reads and writes small files (YAML, CSV), numbers folders, and finds the name somebody meant."""

import contextlib
import csv
import difflib
import importlib
import io
import itertools
import locale
import math
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any, BinaryIO

import yaml

from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import ConfigError, DependencyError, YOLOError

# Plain values as YAML 1.2 has them (core schema), with decimal integers that may start with zeros.
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    re.ASCII,
)
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_TAG = "tag:yaml.org,2002:"
_MAX_DIGITS = 25  # of an integer of 64 bits, with some zeros before it
_MAX_TREE = 1_000_000  # values and characters of data that is written out in full
# What PyYAML raises beside its own errors: `!!bool x`, `!!float ''`, brackets in brackets in brackets.
_ODD_YAML = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's plain values: `1e-3` is a number; `no`, `12:30` and `2024-01-01` are class names like any other."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (PyYAML's own protocol)
        first: [(tag, regex) for tag, regex in resolvers if tag in (_TAG + "null", _TAG + "merge")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Refuse a key that is there twice, as one of its two values would be lost unseen."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(None, None, f"{key.value!r} is there twice", key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def construct_decimal(self, node: yaml.ScalarNode) -> int | str:
        """Read an integer; a leading zero does not make it octal, and one of more than 64 bits stays text."""
        digits = self.construct_scalar(node)
        if len(digits) > _MAX_DIGITS:
            return digits
        value = int(digits, 16 if digits.startswith("0x") else 10)
        return value if value.bit_length() <= 64 else digits

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Take over what `<<` names; refuse merges of merges of merges, which double every time."""
        super().flatten_mapping(node)
        if len(node.value) > _MAX_TREE:
            raise yaml.constructor.ConstructorError(None, None, "endless merges by `<<`", node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that either this loader or a YAML 1.1 loader would take for something else."""


for _kind, _regex, _first in (
    ("bool", _BOOL, "tTfF"),
    ("int", _INT, "-+0123456789"),
    ("float", _FLOAT, "-+.0123456789"),
):
    # The dumper, which knows YAML 1.1's values already, quotes texts that this loader would take for a number.
    _whole = re.compile(f"(?:{_regex.pattern})$", re.ASCII)
    _Loader.add_implicit_resolver(_TAG + _kind, _whole, list(_first))
    _Dumper.add_implicit_resolver(_TAG + _kind, _whole, list(_first))
_Loader.add_constructor(_TAG + "int", _Loader.construct_decimal)
_Dumper.add_representer(tuple, _Dumper.represent_list)
_Dumper.add_multi_representer(PurePath, lambda dumper, path: dumper.represent_str(str(path)))


def _decode(path: Path) -> str:
    """Read a text file in UTF-8 (with or without a byte-order mark), UTF-16, or the encoding of this computer."""
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):  # "Unicode" of the Windows Notepad
        return raw.decode("utf-16", errors="replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = raw.count(b"\n", 0, exc.start) + 1
    try:
        return raw.decode(locale.getpreferredencoding(False))  # GBK on a Chinese Windows
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{path}, line {line}: not UTF-8 text; save the file with the encoding UTF-8") from exc


def load_yaml(path: str | os.PathLike) -> dict[Any, Any]:
    """Read a YAML file whose top level is a mapping; an empty file gives an empty one.

    Raises ConfigError naming file and line for anything that cannot be read that way.
    """
    path = Path(path)
    text = _decode(path)
    try:
        data = yaml.load(text, Loader=_Loader)
        if is_endless(data):
            raise ValueError("its aliases repeat each other, or contain themselves, far beyond a million values")
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
        if mark is None:  # a character that YAML does not allow: its position is all there is
            line, reason = text.count("\n", 0, getattr(exc, "position", 0)) + 1, getattr(exc, "reason", str(exc))
        else:
            line, reason = mark.line + 1, getattr(exc, "problem", None) or str(exc)
            row = next(itertools.islice(text.splitlines(), mark.line, None), "")
            if "\t" in row[: len(row) - len(row.lstrip())]:
                reason = "the row is indented with a tab; use spaces"
        line, reason = next((found for found in full_width(text) if found[0] <= line), (line, reason))
        raise ConfigError(f"{path}, line {line}: not valid YAML: {reason}") from exc
    except _ODD_YAML as exc:
        raise ConfigError(f"{path}: not valid YAML: {type(exc).__name__} {exc}"[:300]) from exc
    for line, reason in full_width(text):
        if not isinstance(data, dict):
            raise ConfigError(f"{path}, line {line}: {reason}")
        LOGGER.warning(f"{path}, line {line}: {reason}")
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected `name: value` rows, found a {type(data).__name__}")
    return data


def full_width(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a YAML with a full-width colon behind a key or a full-width comma in a list, and what is wrong there."""
    for number, line in enumerate(text.splitlines(), 1):
        if "：" not in line and "，" not in line:
            continue
        bare = re.sub(r"""'[^']*'|"[^"]*"|(^|\s)#.*""", "", line)  # quoted it is text, as in a comment
        if found := re.match(r"[\s\-{]*[\w.]+\s*(：)", bare) or re.search(r"[\[{][^\[\]{}]*(，)", bare):
            mark, kind = (":", "colon") if found[1] == "：" else (",", "comma")
            yield (
                number,
                f"the full-width {kind} {found[1]} is a letter to YAML: write {mark} or put the text in quotes",
            )


def parse_value(text: str) -> Any:
    """Read a text as a value in a YAML file: `1e-3`, `true`, `[0, 1]`; what is not YAML stays text."""
    try:
        value = yaml.load(text, Loader=_Loader)
        return text if is_endless(value) else value
    except (yaml.YAMLError, *_ODD_YAML):
        return text


def is_endless(value: Any) -> bool:
    """Whether plain data that shares parts of itself, written out in full, would be far larger than any file.

    Whoever prints, compares or copies it would not come back.
    """
    sizes: dict[int, float] = {}

    def size(part: Any) -> float:
        if not isinstance(part, dict | list | tuple | set | frozenset):
            return len(part) if isinstance(part, str | bytes) else 1
        if id(part) not in sizes:
            sizes[id(part)] = math.inf  # until it is known: what contains itself has no end
            inner = itertools.chain.from_iterable(part.items()) if isinstance(part, dict) else part
            sizes[id(part)] = 1 + sum(map(size, inner))
        return sizes[id(part)]

    return size(value) > _MAX_TREE


def expand_user(path: str | os.PathLike) -> Path:
    """The path with `~` replaced by the home folder; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def is_utf8(text: str) -> bool:
    """Whether a text has no half characters, as Python makes them of file names that are not UTF-8."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def why_no_path(text: str) -> str:
    """Reason why no file system can have a path, empty if some could: to be asked before the system, which raises."""
    if "\0" in text:
        return "it contains a null byte"
    if any("\ud800" <= c <= "\udfff" and not "\udc80" <= c <= "\udcff" for c in text):  # of a name they are the latter
        return "it contains half a character"
    if max(map(len, map(os.fsencode, re.split(r"[/\\\\]" if os.name == "nt" else "/", text)))) > 255:
        return "a part of it is longer than the 255 bytes that a file name may have"
    return "it is longer than any path" if len(text) > 4000 else ""


def save_yaml(path: str | os.PathLike, data: dict[Any, Any], header: str = "") -> None:
    """Write a mapping of plain values, tuples and paths as UTF-8 YAML, in its own order, below `header` (comments)."""
    atomic_write(path, lambda file: file.write((header + dump_yaml(data)).encode()))


def dump_yaml(data: dict[Any, Any]) -> str:
    """YAML text of a mapping of plain values, tuples and paths, in its own order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120)


def read_csv(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read the rows of a CSV file by column name, cells stripped, blank lines skipped; OSError if it cannot be read.

    Cells that a short row lacks are empty; those beyond the header are dropped.
    """
    with Path(path).open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [[cell.strip() for cell in row] for row in csv.reader(file) if row] or [[]]
    return [dict(itertools.zip_longest(header, row[: len(header)], fillvalue="")) for row in rows]


def write_csv(
    path: str | os.PathLike, rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None
) -> None:
    """Write rows as a CSV file, as a whole or not at all; None and missing cells are empty.

    `columns`: those to write, in this order; default: all that a row has, in the order of their first appearance.
    """
    if columns is None:
        columns = list(dict.fromkeys(column for row in rows for column in row))
    text = io.StringIO(newline="")  # leave line ends alone, on Windows too
    writer = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    atomic_write(path, lambda file: file.write(text.getvalue().encode()))


def increment_path(path: str | os.PathLike, exist_ok: bool = False, sep: str = "", mkdir: bool = False) -> Path:
    """First of exp, exp2, exp3, … that is not there yet, or with `exist_ok` the path itself.

    `sep` stands before the number; the folder is made only with `mkdir`.
    """
    path = candidate = Path(path)
    stem, suffix = (path.stem, path.suffix) if path.is_file() else (path.name, "")  # a folder's dot is no suffix
    number = 2
    while candidate.exists() and not exist_ok:
        candidate = path.with_name(f"{stem}{sep}{number}{suffix}")
        number += 1
    if mkdir:
        candidate.mkdir(parents=True, exist_ok=True)
    return candidate


def unused_name(name: str, taken: set[str]) -> str:
    """First of name, name_2, name_3, … that is not in `taken`, a set in lower case to which it is added."""
    candidate, number = name, 2
    while candidate.lower() in taken:  # some file systems do not tell A from a
        candidate, number = f"{name}_{number}", number + 1
    taken.add(candidate.lower())
    return candidate


def atomic_write(path: str | os.PathLike, write: Callable[[BinaryIO], Any]) -> None:
    """Let `write` fill a temporary file in the same folder and rename it: `path` never is half a file.

    Raises YOLOError with the system's reason; the old file and no temporary remain then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the new name with no bytes behind it
        os.replace(temporary, path)  # noqa: PTH105 (one name to fail in tests, on every system)
    except BaseException as exc:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        # torch wraps the system's errors of the file that it writes to: look for the root.
        reason: BaseException | None = exc
        while reason is not None and not isinstance(reason, OSError):
            reason = reason.__cause__ or reason.__context__
        if reason is None or not isinstance(exc, Exception):
            raise
        raise YOLOError(
            f"{path} cannot be written: {reason.strerror or reason}; what was there before is unchanged"
        ) from exc


def nearest(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Up to `n` of the known names that somebody who wrote `name` may have meant, the closest first."""
    lowered = {k.lower(): k for k in known}
    wanted = name.lower()
    close = difflib.get_close_matches(wanted, lowered, n)
    # Abbreviations and extensions, such as lr for lr0, are not close by difflib's ratio.
    part_of = [k for k in lowered if k not in close and len(k) > 2 and len(wanted) > 1 and (k in wanted or wanted in k)]
    return [lowered[k] for k in (close + part_of)[:n]]


def import_extra(module: str, extra: str) -> ModuleType:
    """Import an optional package, or raise DependencyError saying which extra of pyproject.toml brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        raise DependencyError(
            f'{module} cannot be imported ({exc}): run `pip install ".[{extra}]"` in the folder of pyproject.toml'
        ) from exc


# Published names that nothing here needs ---------------------------------------------------------------------------


class WorkingDirectory(contextlib.ContextDecorator):
    """Context, and decorator, in which another folder is the current one."""

    def __init__(self, new_dir: str | os.PathLike) -> None:
        self.dir = new_dir

    def __enter__(self) -> None:
        self._before = Path.cwd()
        os.chdir(self.dir)

    def __exit__(self, *_: object) -> None:
        os.chdir(self._before)


@contextlib.contextmanager
def spaces_in_path(path: str | os.PathLike) -> Iterator[str | os.PathLike]:
    """A path for programs that cannot take spaces: a copy, brought back at the end; any other path as it is."""
    if " " not in str(path):
        yield path
        return
    path = Path(path)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name.replace(" ", "_")
        if path.is_dir():
            shutil.copytree(path, copy)
        elif path.is_file():
            shutil.copy2(path, copy)
        try:
            yield copy
        finally:
            if copy.is_dir():
                shutil.copytree(copy, path, dirs_exist_ok=True)
            elif copy.is_file():
                shutil.copy2(copy, path)


def file_age(path: str | os.PathLike = __file__) -> int:
    """Days since a file was last written."""
    return int((time.time() - Path(path).stat().st_mtime) / 86_400)


def file_date(path: str | os.PathLike = __file__) -> str:
    """Day on which a file was last written, as 2026-1-31."""
    day = time.localtime(Path(path).stat().st_mtime)
    return f"{day.tm_year}-{day.tm_mon}-{day.tm_mday}"


def file_size(path: str | os.PathLike) -> float:
    """Size in MB of 2**20 bytes of a file, or of all files in a folder; 0 if there is none."""
    path = Path(path)
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file()) / 2**20


def get_latest_run(search_dir: str | os.PathLike = ".") -> str:
    """The last*.pt below a folder that was written last, or ""."""
    found = sorted(Path(search_dir).rglob("last*.pt"), key=lambda path: path.stat().st_mtime)
    return str(found[-1]) if found else ""


def check_chart_file(file: str | Path | None) -> None:
    """Refuse a file for a chart whose name has no suffix that says its format; None is none."""
    if file is not None and not Path(file).suffix:
        raise ConfigError(f"file={file}: give it the suffix of an image, such as {file}.png; None draws nothing")


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
