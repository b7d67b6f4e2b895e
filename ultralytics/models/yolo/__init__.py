"""Rooms of the tasks: what differs between them. The table below is the only place that names the classes."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ultralytics.utils import refused
from ultralytics.utils.errors import ConfigError

if TYPE_CHECKING:
    from ultralytics.models.yolo.task import Task

TASK_CLASSES = {  # folder here, with a task.py: class in that; the names are those of cfg.TASKS
    "detect": "DetectTask",
    "segment": "SegmentTask",
    "pose": "PoseTask",
    "obb": "OBBTask",
    "classify": "ClassifyTask",
}


def task_class(name: str) -> "type[Task]":
    """Class of a task, imported when it is asked for."""
    if name not in TASK_CLASSES:
        raise ConfigError(f"task={name} is not supported, choose one of: {', '.join(TASK_CLASSES)}")
    return getattr(import_module(f"{__name__}.{name}.task"), TASK_CLASSES[name])


def settings_for(task: str, settings: Mapping[str, object]) -> dict[str, object]:
    """Settings of a script with the task's own model, data and size wherever these are still the first task's."""
    shipped, own = task_class(next(iter(TASK_CLASSES))).default_settings, task_class(task).default_settings
    unedited = {name: own.get(name, value) for name, value in shipped.items() if settings.get(name) == value}
    return {**settings, **unedited}


def exporting(room: str, *names: str) -> Callable[[str], Any]:
    """The `__getattr__` of a task's room: its loops, each imported when it is asked for.

    Their files import the engine, which imports the rooms: at the top of a room's `__init__` that would be a circle.
    """
    files = {"Predictor": "predict", "Trainer": "train", "Validator": "val"}

    def missing(name: str) -> Any:
        if name in names:
            file = next(file for kind, file in files.items() if name.endswith(kind))
            return getattr(import_module(f"{room}.{file}"), name)
        return refused.getter(room)(name)

    return missing


def __getattr__(name: str) -> Any:
    """Import YOLO, which scripts look for here as well, when it is asked for; of other names the reason."""
    if name == "YOLO":
        return import_module("ultralytics.engine.model").YOLO
    return refused.getter(__name__)(name)
