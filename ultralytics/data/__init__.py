"""Data, from files to batches."""

from importlib import import_module
from typing import Any

from ultralytics.utils import refused

HOMES = {"YOLODataset": "dataset", "ClassificationDataset": "dataset"}
HOMES |= dict.fromkeys(("build_dataloader", "build_yolo_dataset", "load_inference_source"), "build")


def __getattr__(name: str) -> Any:
    """Names that scripts look for here, imported when they are asked for; of others what to use instead."""
    if name in HOMES:
        return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
    return refused.getter(__name__)(name)
