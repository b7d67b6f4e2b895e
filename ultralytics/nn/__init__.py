"""Networks: modules, add-on modules, and how a model YAML becomes one. Knows nothing of datasets or loops."""

from importlib import import_module
from typing import Any

from ultralytics.utils import refused

_OF_TASKS = ("BaseModel", "ClassificationModel", "DetectionModel", "SegmentationModel", "guess_model_scale")
_OF_TASKS += ("guess_model_task", "load_checkpoint", "parse_model", "torch_safe_load", "yaml_model_load")


def __getattr__(name: str) -> Any:
    """Names of tasks.py, which scripts look for here as well, when they are asked for; of others the reason."""
    if name in _OF_TASKS:
        return getattr(import_module("ultralytics.nn.tasks"), name)
    return refused.getter(__name__)(name)
