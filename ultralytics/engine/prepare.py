"""What training and validation need before their first batch."""

import math
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ultralytics.data.config import load_data_yaml
from ultralytics.data.loader import Loader, build_loader
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.plan import largest_batch
from ultralytics.engine.validator import Validator
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import increment_path, save_yaml


def data(options: Any, need: Sequence[str] = ("train", "val")) -> dict:
    """The mapping of the data-set YAML, the splits of `need` checked; with `single_cls` all of its classes are one."""
    if not options.data:
        raise ConfigError("no data set: give data=, the path of a data-set YAML or a name such as shapes.yaml")
    found = load_data_yaml(options.data, need)
    if found["channels"] != 3:
        raise ConfigError(f"{options.data}: channels must be 3; grey pictures are read with three equal channels")
    return found | {"nc": 1, "names": {0: "item"}} if options.single_cls else found


def run_folder(options: Any) -> Path:
    """The folder of a new run, made here so that one that cannot be written to is known at once."""
    path = increment_path(Path(options.project) / options.name, options.exist_ok)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be made: {exc.strerror or exc}; give another project=") from exc
    return path


def freeze(model: nn.Module, layers: int | list | str | None) -> None:
    """Stop the training of layers: the first n, those of a list of indices, or those named by a part of their name.

    A part that is in no parameter's name is a ConfigError.
    """
    if layers is None:
        return
    chosen = range(layers) if isinstance(layers, int) else layers if isinstance(layers, list) else [layers]
    parts = [f"model.{c}." if isinstance(c, int) else c for c in chosen]
    parameters = dict(model.named_parameters())
    for part in parts:
        mine = [p for name, p in parameters.items() if part in name]
        if not mine and part not in "".join(f"model.{i}." for i in range(len(model.model))):
            raise ConfigError(f"freeze={layers}: {part!r} is in no parameter's name, such as {next(iter(parameters))}")
        for parameter in mine:
            parameter.requires_grad_(False)


def train_mode(model: nn.Module) -> None:
    """Train mode, except for frozen norm layers: their running statistics are weights, too."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine and not module.weight.requires_grad:
            module.eval()


def batch_size(trainer: Any) -> int:
    """The batch that was asked for; for -1 the largest that fits."""
    wanted = trainer.args.batch
    if wanted != -1:
        return wanted
    size = largest_batch(trainer.device, lambda n: bytes_of_a_step(trainer, n))
    LOGGER.info("batch=-1: using %d", size)
    return size


def bytes_of_a_step(trainer: Any, batch: int) -> int:
    """Peak CUDA memory of a forward and backward pass over `batch` empty images."""
    torch.cuda.reset_peak_memory_stats(trainer.device)
    images = torch.zeros(batch, 3, trainer.args.imgsz, trainer.args.imgsz, device=trainer.device)
    with trainer.plan.autocast():
        outputs = trainer.model.train()(images)
    sum(value.float().sum() for value in outputs.values() if isinstance(value, torch.Tensor)).backward()
    trainer.model.zero_grad()
    return torch.cuda.max_memory_allocated(trainer.device)


def loaders(trainer: Any) -> tuple[Loader, Validator]:
    """Loader of the training images, and the validator with its own."""
    args, task, data = trainer.args, trainer.task, trainer.data
    stride = int(trainer.model.stride.max())
    train = task.dataset(
        data, "train", args, augment=True, batch=trainer.batch_size, stride=stride, rect=args.rect,
        transforms=trainer.transforms,
    )  # fmt: skip
    val = task.dataset(
        data, "val", args, augment=False, batch=trainer.batch_size * task.val_batches, stride=stride, rect=True
    )
    train_loader, val_loader = (
        build_loader(d, args.workers, pin_memory=trainer.device.type == "cuda") for d in (train, val)
    )
    return train_loader, Validator(task, args, data, val_loader, trainer.save_dir, trainer.callbacks)


def validator(model: nn.Module, task: Any, options: Any, callbacks: Callbacks) -> Validator:
    """The validator of a network by itself, on `options.split`, with a run folder of its own."""
    found = data(options, need=(options.split,))
    if len(model.names) != found["nc"] and not options.single_cls:
        raise ConfigError(
            f"{options.data} has {found['nc']} classes and the network {len(model.names)}: "
            "validate on the data it was trained for, or train it on these"
        )
    first = next(model.parameters())
    stride = int(model.stride.max())
    split = task.dataset(
        found, options.split, options, augment=False, batch=options.batch, stride=stride, rect=options.rect
    )
    loader = build_loader(split, options.workers, pin_memory=first.device.type == "cuda")
    folder = increment_path(Path(options.project) / options.name, options.exist_ok)
    return Validator(task, options, found, loader, folder, callbacks)


def images(trainer: Any, batch: dict, iteration: int) -> Tensor:
    """A batch's pictures on the device, 0..1, in another size for each batch with `multi_scale`."""
    args = trainer.args
    pictures = batch["img"].to(trainer.device, non_blocking=True).float() / 255
    if trainer.plan.channels_last:
        pictures = pictures.to(memory_format=torch.channels_last)
    if not args.multi_scale:
        return pictures
    stride = int(trainer.model.stride.max())
    spread = np.random.default_rng((args.seed, iteration)).uniform(-args.multi_scale, args.multi_scale)
    side = args.imgsz * (1 + spread)
    factor = max(round(side / stride), 1) * stride / max(pictures.shape[2:])
    shape = [max(math.ceil(edge * factor / stride), 1) * stride for edge in pictures.shape[2:]]
    return functional.interpolate(pictures, shape, mode="bilinear", align_corners=False)


def folder(trainer: Any) -> None:
    """The run folder with args.yaml, and the pictures of the labels."""
    trainer.last.parent.mkdir(parents=True, exist_ok=True)
    for leftover in chain(trainer.last.parent.glob(".*.tmp"), trainer.save_dir.glob(".*.tmp")):
        leftover.unlink()
    save_yaml(trainer.save_dir / "args.yaml", trainer.args.as_dict() | {"save_dir": str(trainer.save_dir)})
    if trainer.args.plots:
        trainer.task.plot_labels(trainer.train_loader.dataset, trainer.data["names"], trainer.save_dir)
    LOGGER.info("training on %s, results in %s", trainer.device, trainer.save_dir)
    for note in trainer.plan.notes:
        LOGGER.warning(note)


def with_options(loader: Loader, options: Any, epoch: int) -> Loader:
    """The loader itself, or, where other options change what the pictures of `epoch` are joined of, a new one."""
    dataset = loader.dataset
    before = dataset.mixing(epoch)
    dataset.options = options
    if dataset.mixing(epoch) == before:
        return loader
    return build_loader(dataset, loader.num_workers, pin_memory=loader.pin_memory)
