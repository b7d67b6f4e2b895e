"""Weights in and out: our own checkpoints, those of the public package, state dicts and safetensors.

A checkpoint of ours is a dict of plain data that `torch.load(path, weights_only=True)` reads as well:

    format    "yolo-plain-1"
    model     {name: tensor}, the state dict of the EMA weights; floats are float16 once training is over
    yaml      the model YAML as built, with scale and nc
    task, names, args (options of the run), epoch, metrics
    training  whatever else the run needs to resume where it was; None once it is finished
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, Literal

import torch
from torch import Tensor

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.files import atomic_write, is_endless, nearest
from ultralytics.utils.pickles.archive import Archive, open_archive
from ultralytics.utils.pickles.unpickling import Global, Record, TensorRef

FORMAT = "yolo-plain-1"
_MAX_MODULES = 10_000  # modules that contain each other have no end
_MAX_NAMES = 100_000  # tensors
_MAX_NAME = 500  # characters


@dataclass
class Checkpoint:
    """Weights and what belongs to them. Floating-point weights are float32 after loading."""

    state_dict: dict[str, Tensor]
    yaml: dict[str, Any] | None = None
    task: str | None = None
    names: dict[int, str] | None = None
    args: dict[str, Any] = field(default_factory=dict)
    epoch: int = -1
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] | None = None
    origin: Literal["native", "ultralytics", "safetensors", "state_dict"] = "native"


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read a .pt file (ours, the public package's, or a bare state dict) or a .safetensors file; runs nothing in it.

    Raises CheckpointError naming the file, what is wrong with it and what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(_missing(path))
    best = path.with_name("best.pt")
    hint = f"; {best} holds the best weights of the run" if path.name == "last.pt" and best.is_file() else ""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            checkpoint = Checkpoint(_own(load_file(path)), origin="safetensors")
        else:
            checkpoint = _load_archive(path)
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}{hint}") from exc
    except Exception as exc:  # what zipfile, torch and safetensors make of damaged bytes has no common type
        reason = " ".join(str(exc).split())[:120]
        raise CheckpointError(f"{path} is damaged or cut short ({reason}); copy or download it again{hint}") from exc
    check_content(checkpoint, path)

    weights = checkpoint.state_dict
    bad = [name for name, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if bad:  # the network will answer nonsense; say by which weights
        LOGGER.warning(f"{path}: {len(bad)} of {len(weights)} weights are not finite, the first is {bad[0]}")
    return checkpoint


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "yaml": (dict, type(None)),
    "task": (str, type(None)),
    "names": (dict, type(None)),
    "args": dict,
    "epoch": int,
    "metrics": dict,
    "training": (dict, type(None)),
}


def check_content(checkpoint: Checkpoint, path: Path) -> None:
    """Raise CheckpointError for fields that are not of their kind, so that nobody behind this door has to ask."""
    for name, kind in _FIELDS.items():
        value = getattr(checkpoint, name)
        if not isinstance(value, kind):
            raise CheckpointError(f"{path}: its {name} is a {type(value).__name__}; get the file anew")
        if is_endless(value):
            raise CheckpointError(f"{path}: its {name} repeats or contains itself without end; get the file anew")
    names = checkpoint.names
    if names is not None and (list(names) != list(range(len(names))) or set(map(type, names.values())) - {str}):
        raise CheckpointError(f"{path}: its names are not texts by their numbers from 0 on; get the file anew")
    if not all(isinstance(key, str) for field in (checkpoint.args, checkpoint.metrics) for key in field):
        raise CheckpointError(f"{path}: its args and metrics are not all by name; get the file anew")


def _missing(path: Path) -> str:
    """Sentence that says why there is no file, and where weights come from."""
    if path.is_dir():
        return f"{path} is a folder; expected a weights file in it, such as {path / 'best.pt'}"
    if not path.suffix:
        return f"there is no {path} in {Path.cwd()}: write the ending, {path}.pt for weights, {path}.yaml for a network"
    near = nearest(path.name, [p.name for p in path.parent.glob("*.pt")])
    there = f"; there is {' and '.join(near)}" if near else ""
    return (
        f"there is no {path.name} in {path.absolute().parent}{there}, and nothing is ever downloaded: put it there, "
        "from the release page of the public project, or train your own with YOLO('yolov8n.yaml').train(data=...)"
    )


def _load_archive(path: Path) -> Checkpoint:
    """Read a .pt file; what it holds tells whose it is."""
    with open_archive(path) as archive:
        saved = archive.load()
        root = saved if isinstance(saved, dict) else {"model": saved}
        if "format" in root:
            found = root["format"]
            if found != FORMAT:
                found = repr(found[:40]) if isinstance(found, str) else f"a {type(found).__name__}"  # it may be endless
                raise CheckpointError(f"its format is {found}, expected {FORMAT}; update this tree")
            if odd := {"model", *_FIELDS} ^ (root.keys() - {"format"}):
                raise CheckpointError(f"it lacks or has too many entries, such as {str(min(odd, key=str))[:40]}")
            weights, fields = root["model"], _restore({name: root[name] for name in _FIELDS}, archive)
            are_named = isinstance(weights, dict) and all(isinstance(name, str) for name in weights)
            if not are_named or not all(isinstance(ref, TensorRef) for ref in weights.values()):
                raise CheckpointError("its model is not a mapping of names to tensors; get the file anew")
            return Checkpoint(_own(_restore(weights, archive), archive.max_elements), **fields)

        # The public package pickles whole modules; the averaged one is what it evaluates.
        modules = [m for m in (root.get("ema"), root.get("model")) if isinstance(m, Record) and "_modules" in m.state]
        if modules:
            return _from_public(root, modules[0], archive)

        # Others save a state dict, alone or under one of these names.
        for weights in (root, root.get("ema"), root.get("model"), root.get("state_dict"), root.get("model_state_dict")):
            if weights and isinstance(weights, dict) and all(isinstance(ref, TensorRef) for ref in weights.values()):
                return Checkpoint(_own(_restore(weights, archive), archive.max_elements), origin="state_dict")
    raise CheckpointError("it holds no weights; expected a checkpoint or a state dict")


def _from_public(root: dict[str, Any], module: Record, archive: Archive) -> Checkpoint:
    """Weights and settings of a pickled module; its optimizer state is dropped, as our parameter groups differ."""
    state = module.state
    args = _restore(root.get("train_args") or state.get("args") or {}, archive)
    names = _restore(state.get("names"), archive)
    names = dict(enumerate(names)) if isinstance(names, (list, tuple)) else names  # old files have a list
    epoch = root.get("epoch")
    return Checkpoint(
        state_dict=_own(_restore(_named_tensors(module), archive), archive.max_elements),
        yaml=_restore(state.get("yaml"), archive),
        task=(args.get("task") if isinstance(args, dict) else None) or state.get("task"),
        names={i: str(name) for i, name in names.items()}
        if isinstance(names, dict) and not is_endless(names)
        else names,
        args=args,
        epoch=epoch if isinstance(epoch, int) else -1,
        metrics=_restore(root.get("train_metrics") or {}, archive),
        origin="ultralytics",
    )


def _named_tensors(root: Record) -> dict[str, TensorRef]:
    """Tensors of a pickled module by attribute path, in the order of `nn.Module.state_dict`."""
    tensors: dict[str, TensorRef] = {}
    todo, found = [("", root)], 1  # a stack of our own: a damaged file may be nested beyond Python's recursion limit
    while todo:
        prefix, module = todo.pop()
        state = module.state
        temporary = state.get("_non_persistent_buffers_set") or ()
        parts = [state.get(name, {}) for name in ("_parameters", "_buffers", "_modules")]
        for part in parts:
            if not isinstance(part, dict):
                kind = type(part).__name__
                raise CheckpointError(f"a module of it has a {kind} in place of its parts; get the file anew")
        parameters, buffers, modules = parts
        own = [*parameters.items(), *buffers.items()]
        found += len(modules)  # counted before they are listed: each may contain all of them again
        if found > _MAX_MODULES or len(tensors) + len(own) > _MAX_NAMES or len(prefix) > _MAX_NAME:
            raise CheckpointError(f"it has more than {_MAX_MODULES} modules, or some contain each other")
        tensors |= {
            f"{prefix}{k}"[:_MAX_NAME]: ref for k, ref in own if isinstance(ref, TensorRef) and k not in temporary
        }
        children = [(f"{prefix}{name}."[: _MAX_NAME + 1], child) for name, child in modules.items()]
        # Reversed, as the last one put on the stack is the next to be visited.
        todo.extend((path, child) for path, child in reversed(children) if isinstance(child, Record))
    return tensors


def _restore(value: Any, archive: Archive, memo: dict[int, Any] | None = None) -> Any:
    """Read the tensors in plain data; a Record becomes the dict of its attributes, a Global its name."""
    memo = {} if memo is None else memo  # results by id: what was shared or contains itself does so again
    if isinstance(value, Record):
        value = value.state
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, dict):
        memo[id(value)] = restored = {}
        restored.update((key, _restore(item, archive, memo)) for key, item in value.items())
    elif isinstance(value, list):
        memo[id(value)] = restored = []
        restored.extend(_restore(item, archive, memo) for item in value)
    elif isinstance(value, tuple):
        memo[id(value)] = restored = tuple(_restore(item, archive, memo) for item in value)
    elif isinstance(value, TensorRef):
        memo[id(value)] = restored = archive.tensor(value)
    else:
        restored = str(value) if isinstance(value, Global) else value
    return restored


def _own(tensors: Mapping[str, Tensor], max_elements: float = math.inf) -> dict[str, Tensor]:
    """Tensors with memory of their own, contiguous, floats as float32; CheckpointError for too many elements."""
    if sum(tensor.numel() for tensor in tensors.values()) > max_elements:
        raise CheckpointError("its tensors have many times as many elements as the file could hold")
    return {
        str(name): tensor.to(
            torch.float32 if tensor.is_floating_point() else tensor.dtype,
            memory_format=torch.contiguous_format,
            copy=True,
        )
        for name, tensor in tensors.items()
    }


def save_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Write a checkpoint of ours: with `training` the weights as they are, without it floats as float16.

    The file is replaced as a whole or not at all. Raises CheckpointError for values that are not plain data,
    YOLOError with the system's reason if the file cannot be written.
    """
    finished = checkpoint.training is None  # nobody resumes it, so half the bytes will do
    weights = {}
    for name, tensor in checkpoint.state_dict.items():
        stored = tensor.detach().cpu()
        if finished and stored.is_floating_point():
            half = stored.to(torch.float16)
            if torch.isfinite(half).all():
                stored = half
            elif torch.isfinite(stored).all():  # beyond 65504, such as the variance of an odd channel
                LOGGER.warning(f"{name} exceeds the range of float16 and is saved as float32")
                stored = stored.to(torch.float32)
            else:
                LOGGER.warning(f"{name} is saved although it is not finite")
                stored = half
            stored = stored.contiguous()
        weights[name] = _storable(stored, name)
    data: dict[str, Any] = {"format": FORMAT, "model": weights}
    for name in ("yaml", "task", "names", "args", "epoch", "metrics", "training"):
        data[name] = _storable(getattr(checkpoint, name), name)
    atomic_write(path, lambda file: torch.save(data, file))


def _storable(value: Any, where: str) -> Any:
    """Convert a value to what `torch.load(weights_only=True)` takes; CheckpointError names the place if it cannot."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # torch.save writes a view's whole storage.
        return value if value.untyped_storage().nbytes() == value.numel() * value.element_size() else value.clone()
    if isinstance(value, Mapping):
        return {_storable(key, where): _storable(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        kind = next(k for k in (list, tuple, set) if isinstance(value, k))  # not that of a named tuple
        return kind(_storable(item, where) for item in value)
    # Paths, enums that are texts, and numpy's scalars, most of which are registered as numbers.
    for base, kind in ((PurePath, str), (str, str), (Integral, int), (Real, float)):
        if isinstance(value, base):
            return kind(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():  # np.bool_
        return value.item()
    raise CheckpointError(f"{where} holds a {type(value).__name__}; a checkpoint takes plain values and tensors only")
