"""What training and validation need before their first batch."""

import math
from collections.abc import Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from ultralytics.data.loader import Loader, build_loader
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.plan import largest_batch
from ultralytics.engine.validator import Validator
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.files import increment_path, save_yaml


def data(task: Any, options: Any, need: Sequence[str] = ("train", "val")) -> dict:
    """The mapping of the data-set YAML, the splits of `need` checked; with `single_cls` all of its classes are one."""
    if not options.data:
        raise ConfigError("no data set: give data=, the path of a data-set YAML or a name such as shapes.yaml")
    found = task.load_data(options.data, need)
    if found["channels"] != 3:
        raise ConfigError(f"{options.data}: channels must be 3; grey pictures are read with three equal channels")
    as_one = {"nc": 1, "names": {0: "item"}, "nc_in_files": found["nc"]}
    return found | as_one if options.single_cls else found


def run_folder(options: Any) -> Path:
    """The folder of a new run, made here, so that runs that start together do not share one."""
    while True:
        path = increment_path(Path(options.project) / options.name, options.exist_ok)
        try:
            path.mkdir(parents=True, exist_ok=options.exist_ok)
            return path
        except OSError as exc:
            if path.is_dir() and not options.exist_ok:
                continue
            raise ConfigError(f"{path} cannot be made: {exc.strerror or exc}; give another project=") from exc


def freeze(model: nn.Module, layers: int | list | str | None) -> None:
    """Stop the training of layers: the first n, those of a list of numbers, or those named by a part of their name.

    What the network does not have is a ConfigError.
    """
    chosen = range(layers) if isinstance(layers, int) else layers if isinstance(layers, list) else [layers]
    parameters = dict(model.named_parameters())
    for one in [] if layers is None else chosen:
        if isinstance(one, int):
            there, mine = one < len(model.model), [n for n in parameters if n.startswith(f"model.{one}.")]
        else:
            there = mine = [n for n in parameters if one in n]
        if not there:
            raise ConfigError(
                f"freeze={layers}: there is no {one!r}; the network has the layers 0 to {len(model.model) - 1}, and "
                f"parameters such as {next(iter(parameters))}"
            )
        for name in mine:
            parameters[name].requires_grad_(False)


def train_mode(model: nn.Module) -> None:
    """Train mode, except for norms whose parameters are all frozen: their running statistics are weights, too."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            module.train(module.weight.requires_grad or module.bias.requires_grad)


def tell_epoch(trainer: Any) -> None:
    """Say to modules with a method `set_epoch(epoch, epochs)`, of the network and its average, what begins, from 0."""
    for module in chain(trainer.model.modules(), trainer.ema.ema.modules()):
        if hasattr(module, "set_epoch"):
            module.set_epoch(trainer.epoch, trainer.epochs)


def batch_size(trainer: Any) -> int:
    """The batch that was asked for; for -1 the largest that fits."""
    wanted = trainer.args.batch
    if wanted != -1:
        return wanted
    size = largest_batch(trainer.device, lambda n: bytes_of_a_step(trainer, n))
    LOGGER.info("batch=-1: using %d", size)
    return size


def bytes_of_a_step(trainer: Any, batch: int) -> int:
    """Peak CUDA memory of a forward and backward pass over `batch` empty images of the largest size."""
    torch.cuda.reset_peak_memory_stats(trainer.device)
    model = deepcopy(trainer.model).train()  # its statistics learn from the empty images
    side = multiple(trainer.args.imgsz * (1 + trainer.args.multi_scale), int(model.stride.max()))
    with trainer.plan.autocast():
        outputs = model(torch.zeros(batch, 3, side, side, device=trainer.device))
    sum(value.float().sum() for value in tree_leaves(outputs) if isinstance(value, Tensor)).backward()
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
    found = data(task, options, need=(options.split,))
    if len(model.names) != found["nc"] and not options.single_cls:
        raise ConfigError(
            f"{options.data} has {found['nc']} classes and the network {len(model.names)}: "
            "validate on the data it was trained for, or train it on these"
        )
    task.check_data(model, found, options.data)
    stride = int(model.stride.max())
    split = task.dataset(
        found, options.split, options, augment=False, batch=options.batch, stride=stride, rect=options.rect
    )
    loader = build_loader(split, options.workers, pin_memory=model.device.type == "cuda")
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
    factor = multiple(args.imgsz * (1 + spread), stride) / max(pictures.shape[2:])
    shape = [max(math.ceil(edge * factor / stride), 1) * stride for edge in pictures.shape[2:]]
    return functional.interpolate(pictures, shape, mode="bilinear", align_corners=False)


def multiple(side: float, stride: int) -> int:
    """The nearest multiple of the stride, at least one."""
    return max(round(side / stride), 1) * stride


def folder(trainer: Any) -> None:
    """What lies in a run folder from the start: args.yaml, which `cfg` takes again, and the pictures of the labels."""
    for leftover in chain(trainer.last.parent.glob(".*.tmp"), trainer.save_dir.glob(".*.tmp")):
        leftover.unlink()
    save_yaml(trainer.save_dir / "args.yaml", trainer.args.as_dict())
    if trainer.args.plots:
        trainer.task.plot_labels(trainer.train_loader.dataset, trainer.data["names"], trainer.save_dir)
    LOGGER.info("training on %s, results in %s", trainer.device, trainer.save_dir)
    for note in trainer.plan.notes:
        LOGGER.warning(note)


def with_options(loader: Loader, options: Any, epoch: int) -> Loader:
    """The loader itself, or, where other options change what the pictures of `epoch` are joined of, a new one."""
    dataset, before = loader.dataset, loader.dataset.options  # workers have a copy of these
    mixing = dataset.mixing(epoch)
    dataset.options = options
    if dataset.mixing(epoch) != mixing:
        return build_loader(dataset, loader.num_workers, pin_memory=loader.pin_memory)
    dataset.options = before
    return loader
