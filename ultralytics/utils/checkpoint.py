"""Weights in and out: our own checkpoints, those of the public package, state dicts and safetensors.

A checkpoint of ours is a dict of plain data that `torch.load(path, weights_only=True)` reads as well:

    format    "yolo-plain-1"
    model     {name: tensor}, the state dict of the averaged weights; floats are float16 once training is over
    yaml      the model YAML as built, with scale and nc
    task, names, args (options of the run), epoch, metrics
    training  whatever else the run needs to go on where it was; None once it is over
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, Literal

import torch
from torch import Tensor

from ultralytics.utils import LOGGER
from ultralytics.utils.archive import Archive, open_archive
from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.files import atomic_write, nearest
from ultralytics.utils.unpickling import Global, Record, TensorRef

FORMAT = "yolo-plain-1"
_MOST_MODULES = 10_000  # modules that contain each other have no end


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
    try:
        checkpoint = _load_safetensors(path) if path.suffix == ".safetensors" else _load_archive(path)
    except CheckpointError as exc:
        raise CheckpointError(f"{path}: {exc}") from exc
    except Exception as exc:  # what zipfile, torch and safetensors make of damaged bytes has no common type
        reason = " ".join(str(exc).split())[:120]
        raise CheckpointError(f"{path} is damaged or cut short ({reason}); copy or download it again") from exc
    _warn_of_not_finite(path, checkpoint.state_dict)
    return checkpoint


def _missing(path: Path) -> str:
    """Why there is no file, and where weights come from."""
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


def _load_safetensors(path: Path) -> Checkpoint:
    from safetensors.torch import load_file

    return Checkpoint(_own(load_file(path)), origin="safetensors")


def _load_archive(path: Path) -> Checkpoint:
    """Tell what a .pt file is by what lies in it."""
    with open_archive(path) as archive:
        saved = archive.load()
        root = saved if isinstance(saved, dict) else {"model": saved}
        if "format" in root:
            return _from_native(root, archive)
        modules = [m for m in (root.get("ema"), root.get("model")) if isinstance(m, Record) and "_modules" in m.state]
        if modules:
            return _from_public(root, modules[0], archive)
        for weights in (root, root.get("ema"), root.get("model"), root.get("state_dict"), root.get("model_state_dict")):
            if weights and isinstance(weights, dict) and all(isinstance(ref, TensorRef) for ref in weights.values()):
                return Checkpoint(_own(_restore(weights, archive)), origin="state_dict")
    raise CheckpointError("it holds no weights; expected a checkpoint or a state dict")


def _from_native(root: dict[str, Any], archive: Archive) -> Checkpoint:
    if root["format"] != FORMAT:
        raise CheckpointError(f"it is of the format {root['format']!r:.40}, expected {FORMAT}; update this tree")
    fields = _restore({k: v for k, v in root.items() if k != "format"}, archive)
    return Checkpoint(_own(fields.pop("model")), **fields)


def _from_public(root: dict[str, Any], module: Record, archive: Archive) -> Checkpoint:
    """Weights and settings of a pickled module; its optimizer state is left behind, as our groups are not the same."""
    state = module.state
    args = _restore(root.get("train_args") or state.get("args") or {}, archive)
    names = _restore(state.get("names"), archive)
    epoch = root.get("epoch")
    return Checkpoint(
        state_dict=_own(_restore(_named_tensors(module), archive)),
        yaml=_restore(state.get("yaml"), archive),
        task=args.get("task") or state.get("task"),
        names=dict(enumerate(names)) if isinstance(names, (list, tuple)) else names,
        args=args,
        epoch=epoch if isinstance(epoch, int) else -1,
        metrics=_restore(root.get("train_metrics") or {}, archive),
        origin="ultralytics",
    )


def _named_tensors(root: Record) -> dict[str, TensorRef]:
    """Tensors of a pickled module by attribute path, in the order of `nn.Module.state_dict`."""
    found: dict[str, TensorRef] = {}
    todo, visited = [("", root)], 0
    while todo:
        prefix, module = todo.pop()
        visited += 1
        if visited > _MOST_MODULES:
            raise CheckpointError(f"it has more than {_MOST_MODULES} modules, or some contain each other")
        state = module.state
        lost = state.get("_non_persistent_buffers_set") or ()
        for name, ref in {**state.get("_parameters", {}), **state.get("_buffers", {})}.items():
            if isinstance(ref, TensorRef) and name not in lost:
                found[f"{prefix}{name}"] = ref
        children = [(f"{prefix}{name}.", child) for name, child in state.get("_modules", {}).items()]
        todo.extend((path, child) for path, child in reversed(children) if isinstance(child, Record))
    return found


def _restore(value: Any, archive: Archive, memo: dict[int, Any] | None = None) -> Any:
    """Plain data with its tensors read; a Record becomes the dict of its attributes, a Global its name."""
    memo = {} if memo is None else memo
    if isinstance(value, Record):
        value = value.state
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, dict):
        memo[id(value)] = found = {}
        found.update((key, _restore(item, archive, memo)) for key, item in value.items())
    elif isinstance(value, list):
        memo[id(value)] = found = []
        found.extend(_restore(item, archive, memo) for item in value)
    elif isinstance(value, tuple):
        memo[id(value)] = found = tuple(_restore(item, archive, memo) for item in value)
    elif isinstance(value, TensorRef):
        memo[id(value)] = found = archive.tensor(value)
    else:
        found = str(value) if isinstance(value, Global) else value
    return found


def _own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with memory of their own, contiguous, floats as float32."""
    return {
        str(name): tensor.to(
            torch.float32 if tensor.is_floating_point() else tensor.dtype,
            memory_format=torch.contiguous_format,
            copy=True,
        )
        for name, tensor in tensors.items()
    }


def _warn_of_not_finite(path: Path, state_dict: Mapping[str, Tensor]) -> None:
    """Say that a network will answer nonsense, and by which weights."""
    bad = [name for name, tensor in state_dict.items() if not torch.isfinite(tensor).all()]
    if bad:
        LOGGER.warning(f"{path}: {len(bad)} of {len(state_dict)} weights are not finite, the first is {bad[0]}")


def save_checkpoint(path: str | os.PathLike, checkpoint: Checkpoint) -> None:
    """Write a checkpoint of ours: with `training` the weights as they are, without it floats as float16.

    The file is replaced as a whole or not at all. Raises CheckpointError for what is no plain data, YOLOError with the
    system's reason where it cannot be written.
    """
    over = checkpoint.training is None
    weights = {name: _half(name, t) if over else _compact(t) for name, t in checkpoint.state_dict.items()}
    data: dict[str, Any] = {"format": FORMAT, "model": weights}
    for name in ("yaml", "task", "names", "args", "epoch", "metrics", "training"):
        data[name] = _storable(getattr(checkpoint, name), name)
    atomic_write(path, lambda file: torch.save(data, file))


def _half(name: str, tensor: Tensor) -> Tensor:
    """Weights to store; those beyond float16 (65504), such as the variance of an odd channel, keep float32."""
    if not tensor.is_floating_point():
        return _compact(tensor)
    half = tensor.detach().to("cpu", torch.float16)
    if not torch.isfinite(half).all():
        if torch.isfinite(tensor).all():
            LOGGER.warning(f"{name} goes beyond float16 and is saved as float32")
            half = tensor.detach().to("cpu", torch.float32)
        else:
            LOGGER.warning(f"{name} is saved although it is not finite")
    return _compact(half.contiguous())


def _compact(tensor: Tensor) -> Tensor:
    """The tensor on the CPU without a larger storage behind it, all of which would be saved."""
    tensor = tensor.detach().cpu()
    return tensor if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size() else tensor.clone()


def _storable(value: Any, where: str) -> Any:
    """The value made of what `torch.load(weights_only=True)` takes."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return _compact(value)
    if isinstance(value, Mapping):
        return {_storable(key, where): _storable(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        kind = next(k for k in (list, tuple, set) if isinstance(value, k))
        return kind(_storable(item, where) for item in value)
    for base, kind in ((PurePath, str), (str, str), (Integral, int), (Real, float)):
        if isinstance(value, base):
            return kind(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    raise CheckpointError(f"{where} holds a {type(value).__name__}; a checkpoint takes plain values and tensors only")
