"""What a user edits, and how it becomes one checked options object.

>>> options = get_options({"imgsz": 320}, parse_overrides(["lr0=1e-3"]))
>>> options.imgsz, options.lr0, sorted(options.given)
(320, 0.001, ['imgsz', 'lr0'])
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from ultralytics.cfg.options import OPTIONS, check_values
from ultralytics.utils.errors import ConfigError, DatasetError, ModelError
from ultralytics.utils.files import load_yaml, nearest

CFG_DIR = Path(__file__).resolve().parent
DEFAULT_YAML = CFG_DIR / "default.yaml"

Method = Literal["train", "val", "predict", "export"]

_METHOD_DEFAULTS: dict[str, dict[str, Any]] = {
    "train": {"project": "runs/train", "batch": 16, "rect": False, "conf": 0.001, "save": True},
    "val": {"project": "runs/val", "batch": 16, "rect": True, "conf": 0.001, "save": True},
    "predict": {"project": "runs/detect", "batch": 1, "rect": True, "conf": 0.25, "save": False},
    "export": {"batch": 1},
}


def method_defaults(method: Method) -> dict[str, Any]:
    """Values of the options whose default depends on the method: project, name, batch, rect, conf, save.

    `save` is that of a call in Python; detect.py saves.
    """
    return {"name": "exp", **_METHOD_DEFAULTS[method]}


class Options:
    """Every option as an attribute; read-only, `replace` makes a changed copy.

    `given` holds the names somebody gave a value to, in a call or a cfg file, so that "auto" settings can respect them.
    """

    given: frozenset[str]

    def __init__(self, values: Mapping[str, Any], given: Iterable[str] = ()) -> None:
        self.__dict__.update(values, given=frozenset(given))

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not there."""
        near = nearest(name, OPTIONS)
        raise AttributeError(f"there is no option {name!r}" + (f", the nearest are: {', '.join(near)}" if near else ""))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"options are read-only: use options.replace({name}={value!r})")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self.__dict__ == other.__dict__

    __hash__ = None

    def __repr__(self) -> str:
        return f"Options({', '.join(f'{name}={getattr(self, name)!r}' for name in sorted(self.given))})"

    def as_dict(self) -> dict[str, Any]:
        """A copy of all options by name, in the order of default.yaml."""
        return {name: value for name, value in self.__dict__.items() if name != "given"}

    def replace(self, **values: Any) -> "Options":
        """A copy with other values, which count as given."""
        return Options(self.as_dict() | check_values(values), self.given | set(values))

    def resolve(
        self, method: Method, task_defaults: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    ) -> "Options":
        """A copy in which what nobody gave has the default of the task and, if that is open too, of the method.

        `task_defaults` are by method, such as {"val": {"conf": 0.01}}.
        """
        values, task = self.as_dict(), task_defaults.get(method, {})
        values |= {k: v for k, v in task.items() if k not in self.given}
        return Options(values | {k: v for k, v in method_defaults(method).items() if values[k] is None}, self.given)


def _read(path: Path) -> dict[str, Any]:
    """Options of a YAML file, checked; an error names the file."""
    return check_values(load_yaml(path), str(path))


@lru_cache(maxsize=1)
def _defaults(path: Path, changed: int) -> Mapping[str, Any]:
    """Options of default.yaml, which has to name all of them. Kept until the file changes: predict asks per image."""
    values = _read(path)
    missing = [name for name in OPTIONS if name not in values]
    if missing:
        raise ConfigError(f"{path}: no row for {', '.join(missing)}; write `{missing[0]}:` with a value")
    return MappingProxyType(values)


def get_options(*overrides: Mapping[str, Any]) -> Options:
    """Options from default.yaml, a file named by `cfg`, and overrides, of which later ones win.

    Raises ConfigError for a name or value that is not an option's, naming the file it stands in.
    """
    values = _defaults(DEFAULT_YAML, DEFAULT_YAML.stat().st_mtime_ns if DEFAULT_YAML.is_file() else 0)
    explicit: dict[str, Any] = {}
    for override in overrides:
        explicit |= check_values(override)
    path = explicit.pop("cfg", None) or values["cfg"]
    if path:
        file = _read(Path(path))
        if file.pop("cfg", None):
            raise ConfigError(f"{path}: cfg cannot name another file in turn; write its options here")
        explicit = file | explicit
    given = {name for name, value in explicit.items() if value is not None}
    return Options({**values, **explicit, "cfg": None}, given)


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Options from the words of a command line, such as `imgsz=320 lr0=1e-3 classes=[0,2] name="my run"`."""
    overrides = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise ConfigError(
                f"{word!r} is not an option: write name=value without dashes or blanks, such as imgsz=320"
            )
        overrides[name] = OPTIONS[name].parse(text.strip()) if name in OPTIONS else text.strip()
    return check_values(overrides)


def resolve_yaml(name: str | Path, kind: Literal["models", "datasets"] = "models") -> Path:
    """Path of a model or dataset YAML: a file that exists, or a bare name found in cfg/models or cfg/datasets.

    The scale letter of a model's name need not be part of the file's: `yolov8n-p2.yaml` finds `yolov8-p2.yaml`.
    Raises ModelError or DatasetError with the nearest names.
    """
    path = Path(name)
    bare = re.sub(r"^(yolov?\d+)[a-z](?=[-.])", r"\1", path.name) if kind == "models" else path.name
    folder = CFG_DIR / kind
    shipped = {file.name: file for file in sorted(folder.rglob("*.yaml"))}
    candidates = [path, path.with_name(bare)]
    if path.name == str(name):
        candidates += [shipped[n] for n in (path.name, bare) if n in shipped]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    error, what = (ModelError, "model") if kind == "models" else (DatasetError, "dataset")
    near = ", ".join(nearest(bare, shipped) or sorted(shipped))
    raise error(f"there is no {what} YAML {name}, neither as a path nor in {folder}; the nearest there: {near}")
