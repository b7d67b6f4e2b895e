"""What differs by task, one file a task. The table below is the only place that names the tasks."""

from importlib import import_module

from ultralytics.utils.errors import ConfigError

TASKS = {"detect": "DetectTask"}  # file in this folder: class in it


def task_class(name: str) -> type:
    """The class that answers all of the loops' questions about a task."""
    if name not in TASKS:
        raise ConfigError(f"task={name} is not supported, choose one of: {', '.join(TASKS)}")
    return getattr(import_module(f"{__name__}.{name}"), TASKS[name])
