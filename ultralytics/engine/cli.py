"""Command line of the scripts: `name=value` words, help, the CPU where there is no GPU, errors of one line."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ultralytics.cfg import DEFAULT_YAML, get_options, parse_overrides
from ultralytics.models.yolo import settings_for
from ultralytics.utils.errors import CheckpointError, NoGPUError, YOLOError
from ultralytics.utils.files import parse_value
from ultralytics.utils.torch_utils import select_device

EMPTY: Mapping[str, object] = MappingProxyType({})


def run(
    main: Callable[[dict[str, object]], None], settings: dict[str, object], doc: str, own: Mapping[str, object] = EMPTY
) -> None:
    """Call `main` with the settings of a script and what the command line changes in them.

    Where `task` is asked for, on the command line or in default.yaml, model and data follow it unless they were edited.
    `own` are settings that are not options: their words are read as YAML and checked by the script.
    A mistake is reported in one sentence with exit code 1; YOLO_TRACEBACK=1 in the environment shows the traceback.
    """
    words = sys.argv[1:]
    if any(word in ("-h", "--help", "help") for word in words):
        print(f"{doc.strip()}\n\nOptions and their defaults are described in {DEFAULT_YAML}")
        return
    try:
        names = [word.partition("=")[0].strip() for word in words]
        given = parse_overrides(word for word, name in zip(words, names, strict=True) if name not in own)
        own_given = {n: parse_value(word.partition("=")[2]) for word, n in zip(words, names, strict=True) if n in own}
        if given.get("resume"):  # that run has its own settings
            settings = {"device": settings.get("device")}
        elif task := given.get("task") or settings.get("task") or get_options().task:
            settings = settings_for(task, settings)
        options = settings | given
        try:
            select_device(options.get("device"))
        except NoGPUError as exc:
            print(f"{exc}. Continuing with device=cpu.")
            options["device"] = "cpu"
        main({**own, **own_given, **options})
    except YOLOError as exc:
        if os.environ.get("YOLO_TRACEBACK") == "1":
            raise
        sys.exit(f"{type(exc).__name__}: {exc}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def newest_weights(name: str = "best.pt", folder: str = "runs/train") -> str:
    """Path of the best.pt, or last.pt, that was written last below a folder."""
    found = sorted(Path(folder).rglob(name), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(f"there is no {name} below {folder}: run train.py first, or give the path of weights")
    return str(found[-1])
