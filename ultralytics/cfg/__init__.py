"""Files that a user edits, read into one checked options object.

>>> options = get_options({"imgsz": 320}, parse_overrides(["lr0=1e-3"]))
>>> options.imgsz, options.lr0, sorted(options.given)
(320, 0.001, ['imgsz', 'lr0'])
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal

from ultralytics import utils
from ultralytics.cfg.options import OPTIONS, TASKS, Options, check_values
from ultralytics.utils import IterableSimpleNamespace
from ultralytics.utils.errors import ConfigError, DatasetError, ModelError
from ultralytics.utils.files import load_yaml, nearest

__all__ = ["CFG_DIR", "DEFAULT_YAML", "TASKS", "Options", "get_cfg", "get_options", "parse_overrides", "resolve_yaml"]

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
        file = check_values(load_yaml(path), str(path))
        if file.pop("cfg", None):
            raise ConfigError(f"{path}: cfg cannot name another file in turn; write its options here")
        explicit = file | explicit
    given = {name for name, value in explicit.items() if value is not None}
    # cfg is None afterwards, so that the options of a run can be the cfg file of another.
    return Options({**defaults, **explicit, "cfg": None}, given)


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
    """Path of a model or dataset YAML: an existing file, or a bare name found in cfg/models or cfg/datasets.

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


def get_cfg(
    cfg: str | Path | Mapping[str, Any] | SimpleNamespace | None = None,
    overrides: Mapping[str, Any] | SimpleNamespace | None = None,
) -> IterableSimpleNamespace:
    """All options, checked, as the namespace that trainers written for the public package read and change.

    `cfg` is a YAML file, a mapping or such a namespace; what it leaves open has the default. `overrides` win over it.
    """
    values = load_yaml(cfg) if isinstance(cfg, str | Path) else cfg or {}
    given = [dict(vars(v) if isinstance(v, SimpleNamespace) else v) for v in (values, overrides or {})]
    return IterableSimpleNamespace(**get_options(*given).as_dict())


def __getattr__(name: str) -> Any:
    """Defaults under their published names, read once somebody asks for them; of other names the reason."""
    if name in ("DEFAULT_CFG", "DEFAULT_CFG_DICT", "DEFAULT_CFG_KEYS"):
        return getattr(utils, name)
    return utils.refused.getter(__name__)(name)
