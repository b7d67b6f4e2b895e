"""Tasks: what differs between them is in `yolo`."""

from importlib import import_module
from typing import Any

from ultralytics.utils import refused


def __getattr__(name: str) -> Any:
    """Import YOLO, which scripts look for here as well, when it is asked for; of other names the reason."""
    if name == "YOLO":
        return import_module("ultralytics.engine.model").YOLO
    return refused.getter(__name__)(name)
