"""Files that a user edits, read into one checked options object.

>>> options = get_options({"imgsz": 320}, parse_overrides(["lr0=1e-3"]))
>>> options.imgsz, options.lr0, sorted(options.given)
(320, 0.001, ['imgsz', 'lr0'])
"""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal

from ultralytics import utils
from ultralytics.cfg.command import MODES, parse_words
from ultralytics.cfg.options import METHOD_DEFAULTS, OPTIONS, TASKS, Options, SettableOptions, check_values
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.errors import ConfigError, DatasetError, ModelError, OptionNameError
from ultralytics.utils.files import load_yaml, nearest

__all__ = [
    "CFG_DIR",
    "DEFAULT_YAML",
    "MODES",
    "TASKS",
    "Options",
    "SettableOptions",
    "cfg2dict",
    "check_dict_alignment",
    "get_cfg",
    "get_options",
    "parse_overrides",
    "resolve_yaml",
]

CFG_DIR = Path(__file__).resolve().parent
DEFAULT_YAML = CFG_DIR / "default.yaml"


@lru_cache(maxsize=1)
def _read_defaults(path: Path, mtime_ns: int) -> Mapping[str, Any]:
    """Options of default.yaml, which must name all. Cached until the file changes, as predict asks for every image."""
    values = check_values(load_yaml(path), str(path))
    missing = [name for name in OPTIONS if name not in values]
    if missing:
        raise ConfigError(f"{path}: no row for {', '.join(missing)}; write `{missing[0]}:` with a value")
    return MappingProxyType(values)


def get_options(*overrides: Mapping[str, Any]) -> Options:
    """Options from default.yaml, a file named by `cfg`, and overrides, of which later ones win.

    Raises ConfigError for a name that is no option or a value that does not fit, naming the file it is from.
    """
    defaults = _read_defaults(DEFAULT_YAML, DEFAULT_YAML.stat().st_mtime_ns if DEFAULT_YAML.is_file() else 0)
    explicit: dict[str, Any] = {}
    for override in overrides:
        explicit |= check_values(override)
    path = explicit.pop("cfg", None) or defaults["cfg"]
    if path:
        explicit = _read_file(path, defaults) | explicit
    given = {name for name, value in explicit.items() if value is not None}
    # cfg is None afterwards, so that the options of a run can be the cfg file of another.
    return Options({**defaults, **explicit, "cfg": None}, given)


def _read_file(path: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a file that `cfg` names.

    A file of the public package, known by its `mode`, gives every option: those at their default are nobody's choice,
    and would keep a method from taking its own.
    """
    rows = load_yaml(path)
    file = check_values(rows, str(path), in_file=True)
    if file.pop("cfg", None):
        raise ConfigError(f"{path}: cfg cannot name another file in turn; write its options here")
    if "mode" in rows:
        unchosen = (defaults, METHOD_DEFAULTS["train"])
        file = {name: value for name, value in file.items() if all(known.get(name) != value for known in unchosen)}
    return file


def parse_overrides(words: Iterable[str]) -> dict[str, Any]:
    """Options from the words of a command line, such as `imgsz=320 lr0=1e-3 classes=[0,2] name="my run"`."""
    return parse_words(words)[0]


def resolve_yaml(name: str | Path, kind: Literal["models", "datasets"] = "models") -> Path:
    """Path of a model or dataset YAML: an existing file, or a bare name found in cfg/models or cfg/datasets.

    The scale letter of a model's name need not be part of the file's: `yolov8n-p2.yaml` finds `yolov8-p2.yaml`.
    Raises ModelError or DatasetError with the nearest names.
    """
    path = Path(name)
    bare = re.sub(r"(yolov?\d+)[a-z](?![a-z])", r"\1", path.name, count=1) if kind == "models" else path.name
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


def get_cfg(
    cfg: str | Path | Mapping[str, Any] | SimpleNamespace | None = None,
    overrides: Mapping[str, Any] | SimpleNamespace | None = None,
) -> IterableSimpleNamespace:
    """All options, checked, as the namespace that trainers written for the public package read and change.

    `cfg` is a YAML file, a mapping or such a namespace; what it leaves open has the default. `overrides` win over it.
    """
    given = [cfg2dict(cfg or {}), cfg2dict(overrides or {})]
    return IterableSimpleNamespace(**get_options(*given).as_dict())


def cfg2dict(cfg: str | Path | Mapping[str, Any] | SimpleNamespace) -> dict[str, Any]:
    """Options as a dict, from a YAML file, a mapping or a namespace."""
    if isinstance(cfg, str | Path):
        return load_yaml(cfg)
    return dict(vars(cfg) if isinstance(cfg, SimpleNamespace) else cfg)


def check_dict_alignment(
    base: Mapping[str, Any],
    custom: Mapping[str, Any],
    e: Exception | None = None,
    allowed_custom_keys: Collection[str] | None = None,
) -> None:
    """Raise OptionNameError, caused by `e`, where `custom` has a key that neither `base` has nor is allowed."""
    wrong = [name for name in custom if name not in base and name not in (allowed_custom_keys or ())]
    if wrong:
        near = {name: nearest(name, base) for name in wrong}
        hints = [
            f"{name!r}" + (f" (did you mean {' or '.join(found)}?)" if found else "") for name, found in near.items()
        ]
        raise OptionNameError(f"there is no option {', '.join(hints)}") from e


def __getattr__(name: str) -> Any:
    """Defaults under their published names, read once somebody asks for them; of other names the reason."""
    if name in ("DEFAULT_CFG", "DEFAULT_CFG_DICT", "DEFAULT_CFG_KEYS", "DEFAULT_CFG_PATH"):
        return getattr(utils, name)
    if name == "entrypoint":  # published here; the command stands above all rooms, and this is the lowest but one
        return import_module("ultralytics.__main__").main
    if name == "copy_default_cfg":
        return import_module("ultralytics.__main__").copy_default_cfg
    return utils.refused.getter(__name__)(name)
