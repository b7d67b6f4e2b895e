"""Where a training run starts: from a YAML, from weights, or from the last checkpoint of an interrupted run."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import nn

from ultralytics.cfg import Options, get_options
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.trainer import Trainer
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError, ModelError

# What may be changed when a run is resumed; anything else would make it another run.
CHANGEABLE = ("data", "device", "workers", "cache", "plots", "verbose", "save_period", "patience", "val")
OPEN = (None, "auto", -1)  # left to the run, which has decided


class Start:
    """Builds the network of a new run from the YAML of `source`, with the weights the user wants."""

    def __init__(self, task: Any, source: nn.Module, options: Options, has_weights: bool) -> None:
        self.task = task
        self.source = source
        self.options = options
        self.has_weights = has_weights

    def build(self, data: dict) -> nn.Module:
        """A network for the classes of `data`; what the user froze in `source` is frozen in it, too."""
        model = self.task.build_model(deepcopy(self.source.yaml), data, self.options)
        model.names = data["names"]
        whole = model.yaml == self.source.yaml  # else the head is made for other data
        if layout(model, whole) != layout(self.source, whole):
            raise ModelError(
                "the network was changed after it was built (fused, or layers exchanged in Python), and training "
                "starts from its YAML: write the change into the YAML, or open the weights afresh"
            )
        pretrained = self.options.pretrained
        if isinstance(pretrained, str):
            model.load(load_checkpoint(Path(pretrained)), seed=self.options.seed)
        elif pretrained and self.has_weights:
            model.load(Checkpoint(self.source.state_dict(), self.source.yaml, names=self.source.names))
        frozen = {name for name, p in self.source.named_parameters() if not p.requires_grad}
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(parameter.requires_grad and name not in frozen)
        return model


def layout(model: nn.Module, whole: bool) -> tuple[list, list]:
    """Kinds of all modules and shapes of all weights, those of the head, which depend on the classes, if `whole`."""
    head = f"model.{len(model.model) - 1}."
    shapes = [(name, t.shape) for name, t in model.state_dict().items() if whole or not name.startswith(head)]
    return [(name, type(module)) for name, module in model.named_modules()], shapes


def resumed(
    path: Path, given: dict[str, Any], task: Any, callbacks: Callbacks, transforms: Sequence[Callable]
) -> Trainer:
    """The trainer that goes on where the last.pt at `path` was written; `given` may change a few options."""
    if path.suffix in (".yaml", ".yml"):
        raise ConfigError(
            f"resume=True goes on with the last.pt that YOLO() was given, and that was {path}: "
            "write resume=runs/train/exp/weights/last.pt"
        )
    checkpoint = load_checkpoint(path)
    if checkpoint.training is None:
        raise CheckpointError(
            f"{path} holds weights only, as best.pt and the last.pt of a finished run do: resume an interrupted run "
            f"from its last.pt, or train on from these weights with YOLO('{path}').train() without resume"
        )
    folder = path.resolve().parent
    if folder.name != "weights":
        raise CheckpointError(f"{path} is not in the folder weights of a run, where its results would go: move it back")
    options = changed(Options(checkpoint.args, checkpoint.training["given"]), given)
    yaml, nc = checkpoint.yaml, len(checkpoint.names)

    def build(data: dict) -> nn.Module:
        if data["nc"] != nc:
            raise ConfigError(
                f"{options.data} has {data['nc']} classes and the run {nc}: resume it with the data it was started on, "
                "or start a new run from its weights"
            )
        model = task.build_model(deepcopy(yaml), data, options)
        if model.yaml != yaml:
            name = next(key for key in model.yaml if model.yaml[key] != yaml.get(key))
            raise ConfigError(
                f"{options.data} asks for {name} {model.yaml[name]} and the run has {yaml.get(name)}: resume it with "
                "the data it was started on, or start a new run from its weights"
            )
        model.names = data["names"]
        return model

    return Trainer(task, options, build, callbacks, checkpoint, folder.parent, transforms)


def changed(before: Options, given: dict[str, Any]) -> Options:
    """The options of a run with what is `given` when it is resumed; ConfigError for what would make it another run."""
    asked = get_options(given)
    values = {name: getattr(asked, name) for name in given if name not in ("resume", "model", "cfg")}
    for name, value in values.items():
        if name not in CHANGEABLE and value not in (*OPEN, getattr(before, name)):
            raise ConfigError(
                f"{name}={value} cannot be changed when a run is resumed, it has {name}={getattr(before, name)}: "
                "leave it out, or start a new run from these weights"
            )
    return before.replace(**{name: values[name] for name in CHANGEABLE if values.get(name) is not None})
