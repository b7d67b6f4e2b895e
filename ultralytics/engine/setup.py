"""Preparation of training and validation for the first batch: dataset, run folder, network, resume point, loaders.

Functions of their arguments alone: none knows the trainer. `train_each` begins a run for each of several datasets.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from ultralytics import utils
from ultralytics.cfg import Options, check_values, get_options
from ultralytics.cfg.options import OPTIONS, Method
from ultralytics.data.build import Loader, build_loader
from ultralytics.data.utils import DatasetInfo, dataset_name
from ultralytics.engine import distributed
from ultralytics.engine.runtime import RuntimeSettings, largest_batch
from ultralytics.engine.state import check_training_state
from ultralytics.models.yolo.task import Task
from ultralytics.nn.model_yaml import without_weights
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError, ModelError, YOLOError
from ultralytics.utils.files import atomic_write, increment_path, load_yaml, save_yaml, unused_name
from ultralytics.utils.processes import apart, gather_items
from ultralytics.utils.torch_utils import select_device

if TYPE_CHECKING:
    from ultralytics.engine.trainer import BaseTrainer

Given = str | Path | Options | Mapping[str, object] | SimpleNamespace | None  # options as a caller has them
Scores = dict[str, dict[str, float] | None]  # final metrics by dataset

# Options that may differ when a run is resumed; any other would make it another run.
# `cache` is among them for a run that was killed for lack of memory; with True or without, mosaics differ in partners.
CHANGEABLE = ("data", "device", "workers", "cache", "plots", "verbose", "save_period", "patience", "val")
RESUME_ADVICE = "resume it with the data it was started on, or start a new run from its weights"
UNDECIDED = (None, "auto", -1)  # values that leave a decision to the run, which has made it
PATIENCE = 10.0  # seconds, in which the loader processes of a killed run end, which hold its locks as well


# Options, the dataset and the run folder -------------------------------------------------------------------------


def explicit_options(cfg: Given, overrides: Given = None) -> dict[str, object]:
    """Options that a loop is made with: those of `cfg`, a file or all options, that differ from their defaults; then
    `overrides`, which win.
    """
    chosen: dict[str, object] = {}
    for given in (cfg, overrides):
        if isinstance(given, Options):
            chosen |= {name: getattr(given, name) for name in given.given}
            continue
        values = load_yaml(given) if isinstance(given, str | Path) else given or {}
        values = vars(values) if isinstance(values, SimpleNamespace) else values
        default = utils.DEFAULT_CFG_DICT if given is cfg else {}
        chosen |= {k: v for k, v in values.items() if k not in default or v != default[k]}
    return chosen


def resolve_options(task: type[Task], method: Method, given: Mapping[str, object]) -> Options:
    """Checked options of a call of a method, with the defaults of the task and of the method."""
    options = get_options(given)
    if options.task not in (None, task.name):
        raise ConfigError(f"task={options.task}: this loop is for {task.name}; take the one of that task")
    options = options.resolve(method, {method: {"task": task.name} | task.method_defaults.get(method, {})})
    task.check_options(options, method)
    return options


def load_data(task: type[Task], options: Options, splits: Sequence[str] = ("train", "val")) -> DatasetInfo:
    """Description of the dataset of `options.data`, its `splits` checked; with `single_cls` all classes become one."""
    if not options.data:
        raise ConfigError("no dataset: give data=, the path of a dataset YAML or a name such as shapes.yaml")
    if isinstance(options.data, list):
        raise ConfigError(f"data={options.data}: several datasets are for train(); give one")
    data = task.describe_data(options.data, splits)
    if {"train", "val"} <= set(splits) and data["train"] == data["val"]:
        LOGGER.warning(f"{options.data}: train and val are the same images, so the metrics say nothing about others")
    if options.single_cls:
        data = data | {"nc": 1, "names": {0: "item"}}  # `nc_in_files` stays
    return data


def check_replaced(before: Options, after: Options) -> None:
    """Raise ConfigError where a callback has replaced options that the run has begun with."""
    begun = ("model", "data", "single_cls", "device", "epochs", "amp", "compile", "channels_last", "deterministic")
    for name in (*begun, "project", "name", "exist_ok", "resume"):
        if getattr(before, name) != getattr(after, name):
            advice = "set trainer.epochs" if name == "epochs" else f"give {name}= to train()"
            raise ConfigError(
                f"a callback has changed {name}={getattr(before, name)} to {getattr(after, name)} in trainer.args, "
                f"but the run has begun with it: {advice}"
            )


def init_run_dir(options: Options) -> Path:
    """Create and return the folder of a new run; of runs that start together each gets its own."""
    while True:
        path = increment_path(Path(options.project) / options.name, options.exist_ok)
        try:
            path.mkdir(parents=True, exist_ok=options.exist_ok)
            return path
        except OSError as exc:
            if path.is_dir() and not options.exist_ok:
                continue  # another run was faster
            raise ConfigError(f"{path} cannot be made: {exc.strerror or exc}; give another project=") from exc


@contextmanager
def claim_run_dir(run_dir: Path, resumed: "ResumePoint | None" = None) -> Iterator[None]:
    """Keep other processes from training in a run folder meanwhile; the first process of a run does.

    ConfigError where one does so already, or has written last.pt since `resumed` was read. The system releases the lock
    of a process that dies; where a file system has no locks, nothing is locked.
    """
    file = run_dir / ".train.lock"
    lock = FileLock(file)
    try:
        if distributed.is_first():
            take_lock(lock, file)
            if resumed and resumed.path.stat().st_mtime_ns != resumed.written:
                raise ConfigError(f"{resumed.path} was written by another process meanwhile: start this one again")
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # of Windows, which removes it with the lock
                file.unlink()
            lock.release()


def take_lock(lock: FileLock, file: Path) -> None:
    """Take the lock of a run folder and leave in its file who holds it; ConfigError where another process does."""
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            LOGGER.info(f"{file.parent}: waiting {PATIENCE:.0f} s for what is left of another run there")
            lock.acquire(timeout=PATIENCE)
        with file.open("r+b", buffering=0) as holder:
            holder.seek(1)  # Windows locks the first byte, for reading, too
            holder.write(f"process {os.getpid()} on {platform.node()}\n".encode())
    except Timeout as exc:
        name = "another process"
        with suppress(OSError), file.open("rb", buffering=0) as holder:
            holder.seek(1)
            name = holder.readline().decode(errors="replace").strip() or name
        raise ConfigError(
            f"{file.parent}: {name} is training in this folder: wait for its end, end it, or give a new run another "
            "name="
        ) from exc
    except (OSError, NotImplementedError) as exc:
        LOGGER.debug(f"{file.parent} is not locked: {exc}")


def start_run_dir(run_dir: Path, options: Options) -> None:
    """Write args.yaml, which `cfg` takes again, and remove what a killed run was writing; the first process does."""
    if not distributed.is_first():
        return
    for folder in (run_dir / "weights", run_dir):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()
    save_yaml(run_dir / "args.yaml", options.as_dict())


def with_images(data: DatasetInfo, split: str, images: object) -> DatasetInfo:
    """The data with other images in a split: a path, or a list of them, as the YAML may name them."""
    if images == data[split]:
        return data
    paths = [Path(path) for path in ([images] if isinstance(images, str | Path) else images)]
    return data | {split: paths if isinstance(data[split], list) else paths[0]}


# The network -----------------------------------------------------------------------------------------------------


def check_unchanged(model: BaseModel, source: BaseModel) -> None:
    """Raise ModelError where `source` was changed after it was built: `model`, built of its YAML, would lose that."""
    # Rows that the data decide about: the head is made for their classes, the first row for their channels.
    other = [] if model.yaml == source.yaml else [f"model.{len(model.model) - 1}."]
    other += [] if model.channels == source.channels else ["model.0."]
    layouts = []
    for network in (model, source):
        shapes = [(n, t.shape) for n, t in network.state_dict().items() if not n.startswith(tuple(other))]
        layouts.append(([(name, type(module)) for name, module in network.named_modules()], shapes))
    if layouts[0] != layouts[1]:
        raise ModelError(
            "the network was changed after it was built (fused, or layers exchanged in Python), and training "
            "starts from its YAML: write the change into the YAML, or open the weights afresh"
        )


@dataclass(frozen=True)
class ResumePoint:
    """Interrupted run: its last.pt, when that was written (ns), what it held, and the options of the run."""

    path: Path
    written: int
    checkpoint: Checkpoint
    options: Options

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return self.path.parent.parent

    def check(self, data: DatasetInfo, model: BaseModel) -> None:
        """Refuse data of another number of classes, or for which another `model` is built, as for other keypoints."""
        nc = len(self.checkpoint.names or ())
        if data["nc"] != nc:
            raise ConfigError(f"{self.options.data} has {data['nc']} classes and the run {nc}: {RESUME_ADVICE}")
        yaml = without_weights(self.checkpoint.yaml)
        if model.yaml != yaml:
            name = next(key for key in model.yaml if model.yaml[key] != yaml.get(key))
            raise ConfigError(
                f"{self.options.data} asks for {name} {model.yaml[name]} and the run has {yaml.get(name)}: "
                f"{RESUME_ADVICE}"
            )


def resume_point(path: Path, given: dict[str, object]) -> ResumePoint:
    """Point where the last.pt at `path` was written; `given` may change a few options of the run (ConfigError)."""
    if path.suffix in (".yaml", ".yml") or path == Path():
        raise ConfigError(
            f"resume=True resumes the run of the last.pt that YOLO() was given, and that was {path.name or 'nothing'}: "
            "write resume=runs/train/exp/weights/last.pt"
        )
    checkpoint = load_checkpoint(path)
    if checkpoint.training is None:
        raise CheckpointError(
            f"{path} holds weights only, as best.pt and the last.pt of a finished run do: resume an interrupted run "
            f"from its last.pt, or train on from these weights with YOLO('{path}').train() without resume"
        )
    if path.resolve().parent.name != "weights":
        raise CheckpointError(f"{path} is not in the folder weights of a run, where its results would go: move it back")

    try:
        check_training_state(checkpoint.training, checkpoint.epoch)
        # An older run does not know the options that came since.
        before = get_options().as_dict() | check_values(checkpoint.args)
    except (CheckpointError, ConfigError) as exc:
        raise CheckpointError(f"{path} cannot be resumed: {exc}") from exc
    before, asked = Options(before, checkpoint.training["given"]), get_options(given)
    values = {n: getattr(asked, n) for n in given if n in OPTIONS and n not in ("resume", "model", "cfg")}
    for name, value in values.items():
        if name not in CHANGEABLE and value not in (*UNDECIDED, getattr(before, name)):
            raise ConfigError(
                f"{name}={value} cannot be changed when a run is resumed, it has {name}={getattr(before, name)}: "
                "leave it out, or start a new run from these weights"
            )
    changes = {name: values[name] for name in CHANGEABLE if values.get(name) is not None}
    return ResumePoint(path.resolve(), path.stat().st_mtime_ns, checkpoint, before.replace(**changes))


def freeze(model: BaseModel, layers: int | list | str | None) -> None:
    """Stop the training of layers: the first n, those of a list of numbers, or those of a name.

    A name is that of a module or parameter from its layer on, such as model.22.dfl or 2.cv1, or without a number one
    that modules have anywhere, such as bn. Whole names: 2.cv1 is not a part of 12.cv1. What the network does not have
    is a ConfigError.
    """
    chosen = range(layers) if isinstance(layers, int) else layers if isinstance(layers, list) else [layers]
    parameters = dict(model.named_parameters())
    for layer in [] if layers is None else chosen:
        if isinstance(layer, int):
            known, names = layer < len(model.model), [n for n in parameters if n.startswith(f"model.{layer}.")]
        else:
            name = layer.strip(".")
            if name.partition(".")[0].isdecimal():
                name = f"model.{name}"
            if name.startswith("model."):
                names = [n for n in parameters if f"{n}.".startswith(f"{name}.")]
            else:
                names = [n for n in parameters if f".{name}." in f".{n}."]
            known = names
        if not known:  # a layer without parameters is known, too
            raise ConfigError(
                f"freeze={layers}: there is no {layer!r}; the network has the layers 0 to {len(model.model) - 1}, and "
                f"parameters such as {next(iter(parameters))}"
            )
        for name in names:
            parameters[name].requires_grad_(False)


def set_train_mode(model: nn.Module) -> None:
    """Set train mode, except for norms whose parameters are all frozen: their running statistics are weights, too."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            module.train(module.weight.requires_grad or module.bias.requires_grad)


# Batches ---------------------------------------------------------------------------------------------------------


def choose_batch(options: Options, model: BaseModel, runtime: RuntimeSettings) -> int:
    """Largest batch size that fits into the GPU's memory, or into the fraction `batch` of it."""
    stride = model.max_stride
    side = max(round(options.imgsz * (1 + options.multi_scale) / stride), 1) * stride  # the largest of multi_scale
    memory = {"fraction": options.batch} if 0 < options.batch < 1 else {}
    # By process, of which the one with the least room decides: the batch is that of all.
    sizes = gather_items(largest_batch(runtime.device, lambda n: step_memory(model, n, side, runtime), **memory))
    size = min(sizes) * len(sizes)
    LOGGER.info(f"batch={options.batch}: using {size}")
    return size


def step_memory(model: BaseModel, batch: int, side: int, runtime: RuntimeSettings) -> int:
    """Peak CUDA memory in bytes of a forward and backward pass over `batch` empty images of `side` pixels."""
    torch.cuda.reset_peak_memory_stats(runtime.device)
    model = deepcopy(model).train()  # its running statistics learn from the empty images
    with apart(), runtime.autocast():  # another process's memory may run out, so that it tries fewer batches
        preds = model(torch.zeros(batch, model.channels, side, side, device=runtime.device))
    sum(value.float().sum() for value in tree_leaves(preds) if isinstance(value, Tensor)).backward()
    return torch.cuda.max_memory_allocated(runtime.device)


def refresh_loader(loader: Loader, options: Options, epoch: int) -> Loader:
    """The loader itself, or, where the options change what the images of `epoch` are mixed of, a new one."""
    dataset = loader.dataset
    if not hasattr(dataset, "mix_probs"):  # one of the user's own, which joins no images that we know of
        return loader
    before = dataset.options
    probs = dataset.mix_probs(epoch)
    dataset.options = options
    if dataset.mix_probs(epoch) != probs:
        # Workers have a copy of the options: only new ones know the others.
        return build_loader(dataset, loader.num_workers, pin_memory=loader.pin_memory)
    dataset.options = before
    return loader


# Several datasets ------------------------------------------------------------------------------------------------


def train_each(options: Options, make_trainer: "Callable[[Options], BaseTrainer]") -> Scores:
    """Final metrics by dataset; None for one on which training failed, which does not keep the others from it;
    in several processes the first failure ends all.

    The folder `multitrain`, or `name`, gets a run folder a dataset and all metrics as multitrain_results.json.
    """
    if options.resume:
        raise ConfigError("resume: give the last.pt of one run, as resume=runs/train/multitrain/NAME/weights/last.pt")
    name = options.name if "name" in options.given else "multitrain"
    distributed.join(options, select_device(options.device))
    folder = distributed.first(lambda: init_run_dir(options.replace(name=name)))
    scores: Scores = {}
    taken: set[str] = set()
    for number, data in enumerate(options.data, 1):
        path = Path(data)
        key = unused_name(dataset_name(path), taken)
        LOGGER.info(f"dataset {number} of {len(options.data)}: {data}")
        own = options.replace(data=data, project=str(folder), name=key, exist_ok=True)
        try:
            scores[key] = dict(make_trainer(own).train().results_dict)
        except YOLOError as exc:
            if distributed.started():  # the others may not have failed, and would wait for this one
                raise
            LOGGER.error(f"{data} skipped: {exc}")
            scores[key] = None
    text = json.dumps(scores, indent=2)
    if distributed.is_first():
        atomic_write(folder / "multitrain_results.json", lambda file: file.write(text.encode()))
    LOGGER.info(f"Results of all datasets saved to {folder}")
    return scores
