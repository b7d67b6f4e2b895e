"""What train.py, val.py and detect.py share: `name=value` words, help, a CPU for want of a GPU, one-line errors."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ultralytics.cfg import DEFAULT_YAML, parse_overrides
from ultralytics.utils.devices import select_device
from ultralytics.utils.errors import CheckpointError, DeviceError, YOLOError


def run(main: Callable[[dict[str, Any]], None], settings: dict[str, Any], doc: str) -> None:
    """Call `main` with the settings of a script and what the command line changes in them.

    A mistake is told in one sentence, exit code 1; YOLO_TRACEBACK=1 in the environment shows where it came up.
    """
    words = sys.argv[1:]
    if any(word in ("-h", "--help", "help") for word in words):
        print(f"{doc.strip()}\n\nOptions and their defaults are described in {DEFAULT_YAML}")
        return
    try:
        given = parse_overrides(words)
        if given.get("resume"):  # that run has its own settings
            settings = {"device": settings.get("device")}
        options = settings | given
        options["device"] = usable_device(options.get("device"))
        main(options)
    except YOLOError as exc:
        if os.environ.get("YOLO_TRACEBACK") == "1":
            raise
        sys.exit(f"{type(exc).__name__}: {exc}")
    except KeyboardInterrupt:
        sys.exit("interrupted")


def usable_device(device: Any) -> Any:
    """The device asked for, or "cpu", saying why, where it is not there."""
    try:
        select_device(device)
    except DeviceError as exc:
        print(f"{exc}. Going on with device=cpu.")
        return "cpu"
    return device


def newest_weights(folder: str = "runs/train") -> str:
    """The best.pt that was written last below a folder."""
    found = sorted(Path(folder).rglob("best.pt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(f"there is no best.pt below {folder}: run train.py first, or give model=weights.pt")
    return str(found[-1])
