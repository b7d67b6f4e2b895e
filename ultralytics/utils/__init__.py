"""Small tools that know nothing of networks, datasets or loops; here the log and a few that custom code imports."""

import csv
import functools
import io
import json
import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ContextDecorator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ultralytics.utils import refused

if TYPE_CHECKING:
    import pandas as pd

LOGGER = logging.getLogger("ultralytics")
HEADING = {"style": "bold"}  # `extra` of the heads of a table

ROOT = Path(__file__).resolve().parents[1]  # the folder of the package
ASSETS = ROOT / "assets"  # two drawn scenes, under the names that scripts ask for
DEFAULT_CFG_PATH = ROOT / "cfg" / "default.yaml"
LINUX, MACOS, WINDOWS = (platform.system() == name for name in ("Linux", "Darwin", "Windows"))
ARM64 = platform.machine() in ("arm64", "aarch64")
PYTHON_VERSION = platform.python_version()
RANK, LOCAL_RANK = (int(os.getenv(name, "-1")) for name in ("RANK", "LOCAL_RANK"))  # -1: a single process
NUM_THREADS = min(8, max(1, (os.cpu_count() or 1) - 1))


class _ConsoleHandler(logging.StreamHandler):
    """Shows messages on today's stdout, unless the application set up logging of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record; a configured root logger already does."""
        if logging.getLogger().handlers:
            return
        self.stream = sys.stdout  # not the one at import: notebooks and tests exchange it
        super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        """Text of the record; on a terminal heads of tables are bold, warnings yellow and errors red."""
        text = super().format(record)
        style = {"WARNING": "yellow", "ERROR": "red"}.get(record.levelname) or getattr(record, "style", None)
        plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"  # no-color.org
        knows_colors = not WINDOWS or "WT_SESSION" in os.environ  # the older console of Windows prints the codes
        if not style or plain or not knows_colors or not self.stream.isatty():
            return text
        return colorstr(style, text)


def _make_printable(record: logging.LogRecord) -> bool:
    """Replace halves of characters, which Python makes of file names that are not UTF-8: no handler can write them."""
    text = record.getMessage()
    if any("\ud800" <= c <= "\udfff" for c in text):
        record.msg, record.args = text.encode("utf-8", "backslashreplace").decode(), ()
    return True


LOGGER.addFilter(_make_printable)
if not LOGGER.handlers:  # an application may have given it some before
    LOGGER.addHandler(_ConsoleHandler(sys.stdout))
    LOGGER.setLevel(logging.INFO)


class IterableSimpleNamespace(SimpleNamespace):
    """Namespace of options: iterating gives (name, value) pairs, `get` takes a default."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __str__(self) -> str:
        return "\n".join(f"{name}={value}" for name, value in self)

    def get(self, key: str, default: Any = None) -> Any:
        """Value of a name, or the default."""
        return getattr(self, key, default)


class SimpleClass:
    """Base of result classes: printed, an object lists its public attributes."""

    def __str__(self) -> str:
        lines = [f"{type(self).__module__}.{type(self).__qualname__} object with attributes:", ""]
        for name, value in sorted(vars(self).items()):
            if callable(value) or name.startswith("_"):
                continue
            if isinstance(value, SimpleClass):  # named only, as it may in turn hold this one
                lines.append(f"{name}: {type(value).__module__}.{type(value).__qualname__} object")
            else:
                lines.append(f"{name}: {value!r}")
        return "\n".join(lines)

    __repr__ = __str__


class DataExportMixin:
    """Base of classes with a `summary`, a list of dictionaries, one a row: gives it as a table or as text."""

    def to_df(self, normalize: bool = False, decimals: int = 5) -> "pd.DataFrame":
        """`summary` as a pandas DataFrame; DependencyError without pandas."""
        from ultralytics.utils.files import import_extra

        return import_extra("pandas", "dev").DataFrame(self.summary(normalize=normalize, decimals=decimals))

    def to_csv(self, normalize: bool = False, decimals: int = 5) -> str:
        """`summary` as CSV text with a row of names; what is nested, such as a box, is one cell."""
        rows = self.summary(normalize=normalize, decimals=decimals)
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
        if rows:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def to_json(self, normalize: bool = False, decimals: int = 5) -> str:
        """`summary` as JSON text."""
        return json.dumps(self.summary(normalize=normalize, decimals=decimals), indent=2, ensure_ascii=False)


class YAML:
    """YAML files as mappings, read by the rules of YAML 1.2 (utils/files.py)."""

    @staticmethod
    def load(file: str | os.PathLike = "data.yaml", append_filename: bool = False) -> dict[Any, Any]:
        """Read a file; `append_filename` adds its path as `yaml_file`. Raises ConfigError naming file and line."""
        from ultralytics.utils.files import load_yaml  # here, as `import ultralytics` does without PyYAML

        data = load_yaml(file)
        return {**data, "yaml_file": str(file)} if append_filename else data

    @staticmethod
    def save(file: str | os.PathLike = "data.yaml", data: dict[Any, Any] | None = None, header: str = "") -> None:
        """Write a mapping of plain values, tuples and paths below a header, which has to be a comment."""
        from ultralytics.utils.files import save_yaml

        save_yaml(file, data or {}, header)

    @classmethod
    def print(cls, yaml_file: str | os.PathLike | dict[Any, Any]) -> None:
        """Log a file or a mapping as YAML text."""
        from ultralytics.utils.files import dump_yaml

        data = yaml_file if isinstance(yaml_file, dict) else cls.load(yaml_file)
        LOGGER.info("%s", dump_yaml(data))


yaml_load, yaml_save, yaml_print = YAML.load, YAML.save, YAML.print


class TryExcept(ContextDecorator):
    """Context, or decorator, that goes on after an error of what is inside, and logs it after `msg` if `verbose`."""

    def __init__(self, msg: str = "", verbose: bool = True) -> None:
        self.msg, self.verbose = msg, verbose

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type | None, value: BaseException | None, traceback: object) -> bool:
        """Log what happened; what is no Exception, such as Ctrl-C, passes."""
        caught = isinstance(value, Exception)
        if caught and self.verbose:
            LOGGER.warning(f"{self.msg}: {value}" if self.msg else str(value))
        return caught


class ThreadingLocked:
    """Decorator of a function that one thread at a time may be in."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(f)
        def locked(*args: Any, **kwargs: Any) -> Any:
            with self.lock:
                return f(*args, **kwargs)

        return locked


def threaded(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function to run in a thread of its own, which is returned; with `threaded=False` as it is."""

    @functools.wraps(func)
    def start(*args: Any, threaded: bool = True, **kwargs: Any) -> Any:
        if not threaded:
            return func(*args, **kwargs)
        thread = threading.Thread(target=func, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    return start


def clean_url(url: str | os.PathLike) -> str:
    """An address without its query; one that a Path has shortened to a single slash is mended."""
    return unquote(Path(url).as_posix().replace(":/", "://")).split("?")[0]


def url2file(url: str | os.PathLike) -> str:
    """Name of the file that an address leads to."""
    return Path(clean_url(url)).name


def colorstr(*words: str) -> str:
    """The last word in the colors and styles that those before it name; alone it is blue and bold."""
    colors = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
    codes = {"end": 0, "bold": 1, "underline": 4}
    codes |= {name: 30 + i for i, name in enumerate(colors)} | {
        f"bright_{name}": 90 + i for i, name in enumerate(colors)
    }
    *styles, text = words if len(words) > 1 else ("blue", "bold", words[0])
    return "".join(f"\x1b[{codes[style]}m" for style in styles) + f"{text}\x1b[0m"


def emojis(string: str = "") -> str:
    """The text, on Windows without what its consoles cannot print."""
    return string.encode().decode("ascii", "ignore") if WINDOWS else string


def __getattr__(name: str) -> Any:
    """Values that cost an import or a file, made once somebody asks for them; of other names the reason."""
    if name == "TQDM":
        made = {name: import_module("tqdm").tqdm}
    elif name in ("TORCH_VERSION", "TORCHVISION_VERSION"):
        made = {name: str(import_module(name.partition("_")[0].lower()).__version__)}
    elif name in ("DEFAULT_CFG", "DEFAULT_CFG_DICT", "DEFAULT_CFG_KEYS"):
        options = YAML.load(DEFAULT_CFG_PATH)
        made = {"DEFAULT_CFG_DICT": options, "DEFAULT_CFG_KEYS": options.keys()}
        made["DEFAULT_CFG"] = IterableSimpleNamespace(**options)
    else:
        return refused.getter(__name__)(name)
    globals().update(made)  # so that this is asked once for each
    return made[name]
