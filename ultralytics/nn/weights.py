"""Networks out of weights files, and their tasks, by the names of the public package's functions in nn/tasks.py."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ultralytics.utils.checkpoint import Checkpoint
from ultralytics.utils.checkpoint import load_checkpoint as read_checkpoint
from ultralytics.utils.errors import CheckpointError, ModelError

from . import diagnostics
from .model_yaml import rows, without_weights, yaml_model_load
from .rows import read_row, row_names

if TYPE_CHECKING:
    from .tasks import BaseModel, Cfg  # tasks.py imports this file, so what it defines is imported where it is used

_MISSING = object()


def find_task(d: dict[str, Any]) -> str:
    """Task of the network of a model YAML: that of its last row, the head."""
    from .tasks import find_module

    i, row = len(rows(d)) - 1, rows(d)[-1]
    with diagnostics.row_context(d, i, row):
        read_row(row, i, row_names(rows(d)))
        task = getattr(find_module(row[2]), "task", None)
        if not isinstance(task, str):
            raise ModelError(f"the last row must be a head, such as Detect: {row[2]} has no `task`")
    return task


def checkpoint_task(checkpoint: Checkpoint, path: str | Path) -> str:
    """Task of the network in a checkpoint; CheckpointError for weights without one."""
    if checkpoint.yaml is None:
        raise CheckpointError(
            f"{path} holds weights only: build their network first, YOLO('yolov8n.yaml').load('{path}')"
        )
    return checkpoint.task or find_task(checkpoint.yaml)


def guess_model_task(model: "BaseModel | Cfg") -> str:
    """Task of a network, of a model YAML or of a weights file.

    Raises ModelError for a YAML whose last row is no head, CheckpointError for a file without a network.
    """
    from .tasks import BaseModel

    if isinstance(model, BaseModel):
        return model.task
    if isinstance(model, dict) or Path(model).suffix in (".yaml", ".yml"):
        return find_task(model if isinstance(model, dict) else yaml_model_load(model))
    return checkpoint_task(read_checkpoint(model), model)


def model_from_checkpoint(
    checkpoint: Checkpoint, path: str | Path, model_class: type["BaseModel"] | None = None
) -> "BaseModel":
    """The network of a checkpoint with all its weights, of the class of its task if none is given.

    Raises CheckpointError naming `path` for weights without a network, a network that cannot be built in this tree, and
    one that has other entries than the weights.
    """
    from .tasks import MODEL_CLASSES, DetectionModel

    model_class = model_class or MODEL_CLASSES.get(checkpoint_task(checkpoint, path), DetectionModel)
    architecture = without_weights(checkpoint.yaml)
    if architecture.get("scales"):  # built without a scale letter, it was the first
        architecture["scale"] = architecture.get("scale") or next(iter(architecture["scales"]))
    try:
        model = model_class(architecture, nc=len(checkpoint.names) if checkpoint.names else None, verbose=False)
    except ModelError as exc:  # such as an add-on that is no longer there; the YAML may have changed since
        raise CheckpointError(f"the network of {path} cannot be built here: {exc}") from exc

    saved = {(name, tensor.shape) for name, tensor in checkpoint.state_dict.items()}
    entries = saved ^ {(name, tensor.shape) for name, tensor in model.state_dict().items()}  # in one of them only
    if entries:  # saved after fusing, or another network
        model.fuse(verbose=False)
        fused = {(name, tensor.shape) for name, tensor in model.state_dict().items()}
        entries = min(entries, saved ^ fused, key=len)
    if entries:
        name, shape = min(entries)
        raise CheckpointError(
            f"{path} does not fit the network that its YAML describes here ({len(entries)} entries differ, as {name} "
            f"{tuple(shape)}): bring the blocks in nn/Addmodules to the state they had when it was trained"
        )
    model.load_state_dict(checkpoint.state_dict)
    model.names = checkpoint.names or model.names
    return model


@contextmanager
def temporary_modules(
    modules: Mapping[str, str] | None = None, attributes: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Give modules, and attributes of modules, further dotted names meanwhile: {old name: name that exists}.

    For code of one's own that unpickles old files; nothing here needs it. What was there before is there again.
    """
    aliases, before, added = dict(modules or {}), {}, []
    try:
        for old, new in (attributes or {}).items():
            home, _, name = old.rpartition(".")
            source, _, attribute = new.rpartition(".")
            module = import_module(home)
            added.append((module, name, vars(module).get(name, _MISSING)))
            setattr(module, name, getattr(import_module(source), attribute))
        for old, new in aliases.items():
            before[old] = sys.modules.get(old)
            sys.modules[old] = import_module(new)
        yield
    finally:
        for old, module in before.items():
            sys.modules.pop(old, None)
            if module is not None:
                sys.modules[old] = module
        for module, name, value in reversed(added):
            delattr(module, name) if value is _MISSING else setattr(module, name, value)


def torch_safe_load(weight: str | Path, safe_only: bool = False) -> tuple[dict[str, Any], str]:
    """Open a weights file: its content under the public package's keys, `model` being the network, and its path.

    Nothing in the file is ever run, with or without `safe_only`. Raises CheckpointError.
    """
    checkpoint = read_checkpoint(weight)
    model = model_from_checkpoint(checkpoint, weight)
    model.args, model.pt_path = checkpoint.args, str(weight)
    ckpt = {"epoch": checkpoint.epoch, "model": model, "ema": None, "optimizer": None}
    return ckpt | {"train_args": checkpoint.args, "train_metrics": checkpoint.metrics}, str(weight)


def load_checkpoint(
    weight: str | Path, device: torch.device | str | None = None, inplace: bool = True, fuse: bool = False
) -> tuple["BaseModel", dict[str, Any]]:
    """The network of a weights file, in float32 and eval mode, and the content of the file, see `torch_safe_load`.

    `inplace` changes nothing, as no head here writes into its input. Raises CheckpointError.
    """
    ckpt, _ = torch_safe_load(weight)
    model = ckpt["model"].eval()
    if fuse:
        model.fuse(verbose=False)
    return model if device is None else model.to(device), ckpt


attempt_load_one_weight = load_checkpoint  # its older name


def attempt_load_weights(
    weights: str | Path | Sequence[str | Path],
    device: torch.device | str | None = None,
    inplace: bool = True,
    fuse: bool = False,
) -> "BaseModel":
    """The network of a weights file, in float32 and eval mode; of several files, which are an ensemble, ModelError."""
    files = [weights] if isinstance(weights, str | Path) else list(weights)
    if len(files) != 1:
        raise ModelError(f"ensembles are not supported, found {len(files)} weights files: give one")
    return load_checkpoint(files[0], device, inplace, fuse)[0]
