"""What training and validation need before their first batch."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves

from ultralytics.cfg import Options, get_options
from ultralytics.data.loader import Loader, build_loader
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.runtime import largest_batch
from ultralytics.engine.validator import Validator
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError, ModelError
from ultralytics.utils.files import increment_path, save_yaml


def data(task: Any, options: Any, need: Sequence[str] = ("train", "val")) -> dict:
    """The mapping of the dataset YAML, the splits of `need` checked; with `single_cls` all of its classes are one."""
    if not options.data:
        raise ConfigError("no dataset: give data=, the path of a dataset YAML or a name such as shapes.yaml")
    found = task.load_data(options.data, need)
    if found["channels"] != 3:
        raise ConfigError(f"{options.data}: channels must be 3; gray images are read with three equal channels")
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


def set_epoch_of_modules(trainer: Any) -> None:
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
    """A batch's images on the device, 0..1, in another size for each batch with `multi_scale`."""
    args = trainer.args
    images = batch["img"].to(trainer.device, non_blocking=True).float() / 255
    if trainer.plan.channels_last:
        images = images.to(memory_format=torch.channels_last)
    if not args.multi_scale:
        return images
    stride = int(trainer.model.stride.max())
    spread = np.random.default_rng((args.seed, iteration)).uniform(-args.multi_scale, args.multi_scale)
    factor = multiple(args.imgsz * (1 + spread), stride) / max(images.shape[2:])
    shape = [max(math.ceil(edge * factor / stride), 1) * stride for edge in images.shape[2:]]
    return functional.interpolate(images, shape, mode="bilinear", align_corners=False)


def multiple(side: float, stride: int) -> int:
    """The nearest multiple of the stride, at least one."""
    return max(round(side / stride), 1) * stride


def folder(trainer: Any) -> None:
    """What lies in a run folder from the start: args.yaml, which `cfg` takes again, and the images of the labels."""
    for leftover in chain(trainer.last.parent.glob(".*.tmp"), trainer.save_dir.glob(".*.tmp")):
        leftover.unlink()
    save_yaml(trainer.save_dir / "args.yaml", trainer.args.as_dict())
    if trainer.args.plots:
        trainer.task.plot_labels(trainer.train_loader.dataset, trainer.data["names"], trainer.save_dir)
    LOGGER.info("training on %s, results in %s", trainer.device, trainer.save_dir)
    for note in trainer.plan.notes:
        LOGGER.warning(note)


def with_options(loader: Loader, options: Any, epoch: int) -> Loader:
    """The loader itself, or, where other options change what the images of `epoch` are joined of, a new one."""
    dataset, before = loader.dataset, loader.dataset.options  # workers have a copy of these
    mixing = dataset.mixing(epoch)
    dataset.options = options
    if dataset.mixing(epoch) != mixing:
        return build_loader(dataset, loader.num_workers, pin_memory=loader.pin_memory)
    dataset.options = before
    return loader


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


def resumed(path: Path, given: dict[str, Any], task: Any, callbacks: Callbacks, transforms: Sequence[Callable]) -> Any:
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

    from ultralytics.engine.trainer import Trainer

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
