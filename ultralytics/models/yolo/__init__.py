"""What differs by task, one file a task. The table below is the only place that names the tasks."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from ultralytics.utils.errors import ConfigError

TASKS = {  # file in this folder: class in it
    "detect": "DetectTask",
    "segment": "SegmentTask",
    "pose": "PoseTask",
    "obb": "OBBTask",
    "classify": "ClassifyTask",
}


def task_class(name: str) -> type:
    """The class that answers all of the loops' questions about a task."""
    if name not in TASKS:
        raise ConfigError(f"task={name} is not supported, choose one of: {', '.join(TASKS)}")
    return getattr(import_module(f"{__name__}.{name}.task"), TASKS[name])


def settings_for(task: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a script with the task's own where they are still those of the first task: model, data, size."""
    shipped, own = task_class(next(iter(TASKS))).default_settings, task_class(task).default_settings
    unedited = {name: own.get(name, value) for name, value in shipped.items() if settings.get(name) == value}
    return {**settings, **unedited}
