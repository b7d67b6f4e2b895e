"""YOLO: a network by the name of its YAML or weights, and what people do with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ultralytics.cfg import DEFAULT_YAML, Options, get_options
from ultralytics.engine.backends import ExportedNetwork, is_exported, open_exported
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.results import Results
from ultralytics.engine.runtime import FusedCopy, inference_dtype
from ultralytics.models.yolo import task_class
from ultralytics.nn.tasks import find_task, yaml_model_load
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError, ModelError, SourceError
from ultralytics.utils.files import nearest
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.torch_utils import select_device

KEPT_OPTIONS = ("data", "imgsz", "single_cls")  # what a checkpoint tells later calls about its training
NOT_IMPLEMENTED = {
    "benchmark": "a comparison of formats",
    "track": "tracking",
    "embed": "image embeddings",
    "tune": "tuning",
}


class YOLO:
    """A network that trains, validates, predicts and is exported.

    `model` is a model YAML (a path, or a bare name such as `yolov8n-DynamicConv.yaml`), which `nc` gives another number
    of classes, or a file of weights, which has its own, or an exported .onnx or .torchscript, which predicts and
    validates only.

    >>> model = YOLO("yolov8n-DynamicConv.yaml")
    >>> model.load("yolov8n.pt")  # doctest: +SKIP
    >>> model.train(data="my.yaml", epochs=100)  # doctest: +SKIP
    """

    def __init__(
        self,
        model: str | Path = "yolov8n.yaml",
        task: str | None = None,
        verbose: bool = False,
        *,
        nc: int | None = None,
    ) -> None:
        self.callbacks = Callbacks()
        self.overrides: dict[str, Any] = {}  # options of later calls
        self.ckpt: Checkpoint | None = None
        self.ckpt_path: Path | None = None
        self.cfg: str | None = None
        self.predictor: Any = None
        self.trainer: Any = None
        self.metrics: Any = None
        self._inference = FusedCopy()
        self._has_weights = False
        if Path(model).suffix in (".yaml", ".yml"):
            self._build(str(model), nc, verbose)
        else:
            self._open(Path(model))
            if nc not in (None, len(self.names)):
                raise ConfigError(f"nc={nc}: {model} has {len(self.names)} classes; nc goes with a model YAML")
        if task and task != self.task:
            raise ConfigError(f"task={task} was asked for, but {model} has a head for {self.task}")

    def _build(self, name: str, nc: int | None, verbose: bool) -> None:
        self.cfg = name
        architecture = yaml_model_load(name)
        self._task = task_class(find_task(architecture))
        self.model: nn.Module = self._task.model_class(architecture, nc=nc, verbose=verbose)
        self.overrides = {"model": name}

    def _open(self, path: Path) -> None:
        if is_exported(path):
            self.model = open_exported(path)
            self._task = task_class(self.model.task)
            self.overrides = self.model.known | {"model": str(path)}
            return
        self.ckpt = load_checkpoint(path)
        self.ckpt_path = path
        self._task, self.model = from_checkpoint(self.ckpt, path)
        self.overrides = {k: v for k, v in self.ckpt.args.items() if k in KEPT_OPTIONS} | {"model": str(path)}
        self._has_weights = True

    def __call__(self, source: Any = None, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """The same as `predict`."""
        return self.predict(source, stream, **options)

    def predict(self, source: Any = None, stream: bool = False, **options: Any) -> list[Results] | Iterator[Results]:
        """Results on images or videos: a list, or with `stream` an iterator that keeps none of them.

        `source` is a path, folder, glob, .txt list, video, BGR array, PIL image, RGB tensor 0..1, or a list of these.
        """
        from ultralytics.engine.predictor import Predictor

        options = self._options("predict", options if source is None else options | {"source": source})
        if options.source is None:
            raise SourceError(
                "nothing to predict on: give source=, a path, folder, glob, video, array, image or tensor"
            )
        self.predictor = Predictor(self._task, options, self.callbacks)
        network = self._network(options)
        results = self.predictor.stream(network, options.source)
        return results if stream else list(results)

    def routing(self, source: Any, file: str | Path | None = "routing.png", **options: Any) -> Any:
        """How the routers of dynamic convolutions weigh their experts on images: engine/routing.py, `Routing`.

        `source` and `options` as for `predict`. Draws `file`, layers x experts, unless it is None; says which experts
        are dead or identical. ModelError for a network without routers.
        """
        from ultralytics.nn import routing

        self._layers("routing")
        if file is not None and not Path(file).suffix:
            raise ConfigError(f"file={file}: give it the suffix of a image, such as {file}.png; None draws nothing")
        options = self._options("predict", options | {"source": source})
        network = self._network(options)
        return routing.report(routing.collect(self._task, network, options), file)

    def val(self, **options: Any) -> Any:
        """Metrics on a split of `data`, by default that of the data the weights were trained on."""
        from ultralytics.engine import setup as prepare

        if batch := self._val_batch():  # the metrics depend a little on the shapes of rectangular batches
            options = {"batch": batch} | options
        options = self._options("val", options)
        network = self._network(options)
        validator = prepare.validator(network, self._task, options, self.callbacks)
        self.metrics = validator(network)
        return self.metrics

    def export(self, **options: Any) -> str:
        """Write the network as it is now to a file of `format`, beside its weights, and return the path.

        Takes format (onnx, torchscript), imgsz, batch, dynamic, half, opset, simplify, device. YOLO() opens the file.
        """
        from ultralytics.engine import exporter

        self._layers("export")
        checked = self._options("export", options)
        exporter.check_given(options, checked)
        stem = self.ckpt_path.with_suffix("") if self.ckpt_path else Path(Path(self.cfg).stem)
        known = {name: self.overrides[name] for name in ("data", "single_cls") if name in self.overrides}
        return str(exporter.export(self.model, checked, stem, known | {"val_batch": self._val_batch()}))

    def train(self, augmentations: Sequence[Callable] = (), **options: Any) -> Any:
        """Train on `data`, leave weights and images in a run folder, and return the metrics of the best weights.

        `augmentations` are the user's own steps for training images, data/transforms.py says what they get.
        `resume=True` goes on with the last.pt this was made of, `resume="path/last.pt"` with another one.
        """
        from ultralytics.engine.setup import Start, resumed
        from ultralytics.engine.trainer import Trainer

        self._layers("train")
        checked = self._options("train", options)
        if checked.resume:
            path = Path(checked.resume if isinstance(checked.resume, str) else self.ckpt_path or checked.model)
            self.trainer = resumed(path, options, self._task, self.callbacks, augmentations)
        else:
            start = Start(self._task, self.model, checked, self._has_weights)
            self.trainer = Trainer(self._task, checked, start.build, self.callbacks, transforms=augmentations)
        self.metrics = self.trainer.train()
        if checked.save:
            self._open(self.trainer.best)
        else:
            self.model, self._has_weights = self.trainer.ema.ema, True
        return self.metrics

    def info(
        self, detailed: bool = False, verbose: bool = True, imgsz: int | None = None
    ) -> tuple[int, int, int, float]:
        """(layers, parameters, gradients, GFLOPs at `imgsz`), logged with `verbose`, row by row with `detailed`."""
        return self._layers("info").info(detailed=detailed, verbose=verbose, imgsz=imgsz)

    def fuse(self) -> "YOLO":
        """Fold the norms into the convolutions, for good: such a network is faster and cannot be trained on."""
        self._layers("fuse").fuse()
        return self

    def load(self, weights: str | Path, verbose: bool = False) -> "YOLO":
        """Take over every weight that has a place in this network, and the names of as many classes.

        Rows of the two networks find each other by structure, and a static convolution becomes a dynamic one where this
        network has that (nn/transfer/). `verbose` says row by row what was copied, expanded, and left as it was.
        """
        self._layers("load")
        checkpoint = load_checkpoint(Path(weights))
        self.model.load(checkpoint, verbose=verbose)
        if checkpoint.names and len(checkpoint.names) == len(self.names):
            self.model.names = checkpoint.names
        self._has_weights = True
        return self

    def save(self, path: str | Path = "model.pt") -> None:
        """Write network and weights as they are now, in half precision, to a file that `YOLO(path)` opens."""
        self._layers("save")
        kept = {"args": self.ckpt.args, "epoch": self.ckpt.epoch, "metrics": self.ckpt.metrics} if self.ckpt else {}
        save_checkpoint(Path(path), Checkpoint(self.model.state_dict(), self.model.yaml, self.task, self.names, **kept))

    def add_callback(self, event: str, function: Callable[[Any], None]) -> None:
        """Call `function` with the trainer, validator or predictor at every `event` (engine/callbacks.py)."""
        self.callbacks.add(event, function)

    def to(self, device: Any) -> "YOLO":
        """Move the network."""
        self._layers("to").to(device if isinstance(device, torch.device) else select_device(device))
        return self

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self.model.names

    @property
    def task(self) -> str:
        """What the head of the network does."""
        return self._task.name

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.model.device

    def __getattr__(self, name: str) -> Any:
        """Only called for what is not there."""
        if name in NOT_IMPLEMENTED:
            raise AttributeError(f"YOLO.{name} comes with {NOT_IMPLEMENTED[name]}, which is not there yet")
        near = nearest(name, [n for n in dir(self) if not n.startswith("_")])
        raise AttributeError(f"YOLO has no {name!r}" + (f", the nearest are: {', '.join(near)}" if near else ""))

    def _layers(self, method: str) -> nn.Module:
        """The network, for what needs its layers; an exported one has none (ConfigError)."""
        if isinstance(self.model, ExportedNetwork):
            raise ConfigError(
                f"{method}() needs the layers, which {self.model.path} as an exported network has no more: "
                "open the .pt that it was made of"
            )
        return self.model

    def _network(self, options: Options) -> nn.Module:
        """What computes with these options: the exported network, or a fused copy of this one."""
        if isinstance(self.model, ExportedNetwork):
            return self.model.choose(options.device)
        device = select_device(options.device)
        return self._inference.of(self.model, device, inference_dtype(options, device))

    def _val_batch(self) -> int | None:
        """The batch that training validated with, for weights of this tree."""
        if isinstance(self.model, ExportedNetwork):
            return self.model.val_batch
        known = self.ckpt.args.get("batch") if self.ckpt is not None and self.ckpt.origin == "native" else None
        return known * self._task.val_batches if isinstance(known, int) and known > 0 else None

    def _options(self, method: str, given: dict[str, Any]) -> Options:
        """Checked options of a call: the method's defaults, what the weights know, what the call says."""
        options = get_options(self.overrides, given)
        if options.task not in (None, self.task):
            where = "" if "task" in options.given else f" in {DEFAULT_YAML}"
            raise ConfigError(
                f"task={options.task}{where}, but {self.overrides['model']} has a head for {self.task}: leave task "
                f"out, or take a model for it, such as {task_class(options.task).default_settings['model']}"
            )
        options = options.resolve(method, {method: {"task": self.task} | self._task.defaults.get(method, {})})
        if options.model != self.overrides["model"] and not options.resume:
            raise ConfigError(f"model={options.model}: this network is {self.overrides['model']}; YOLO() opens another")
        if method != "train" and options.batch == -1:
            raise ConfigError(f"batch=-1 is for training: give model.{method}() a number")
        if method == "predict" and (gone := [c for c in options.classes or () if c not in self.names]):
            raise ConfigError(
                f"classes={gone}: the network has the classes 0 to {len(self.names) - 1}; leave out others"
            )
        self._task.check(options, method)
        if isinstance(self.model, ExportedNetwork):
            options = self.model.fitting(options)
        return fit_stride(options, int(self.model.stride.max()))


def fit_stride(options: Options, stride: int) -> Options:
    """The options with `imgsz`, or both of its sides, raised to multiples of the stride, which is said."""
    sides = options.imgsz
    fit = partial(make_divisible, divisor=stride)
    fitting = list(map(fit, sides)) if isinstance(sides, list) else fit(sides)
    if fitting == sides:
        return options
    LOGGER.warning(f"imgsz={sides} is no multiple of the network's stride {stride}: using imgsz={fitting}")
    return options.replace(imgsz=fitting)


def from_checkpoint(checkpoint: Checkpoint, path: Path) -> tuple[type, nn.Module]:
    """The task of a checkpoint and its network with all weights; one that lacks some is a CheckpointError."""
    if checkpoint.yaml is None:
        raise CheckpointError(
            f"{path} holds weights only: build their network first, YOLO('yolov8n.yaml').load('{path}')"
        )
    architecture = dict(checkpoint.yaml)
    if architecture.get("scales"):  # built without a scale letter, it was the first
        architecture["scale"] = architecture.get("scale") or next(iter(architecture["scales"]))
    task = task_class(checkpoint.task or find_task(architecture))
    try:
        model = task.model_class(architecture, nc=len(checkpoint.names) if checkpoint.names else None, verbose=False)
    except ModelError as exc:  # such as an add-on that is no longer there; the YAML may have changed since
        raise CheckpointError(f"the network of {path} cannot be built here: {exc}") from exc
    saved = shapes_of(checkpoint.state_dict)
    if shapes_of(model.state_dict()) != saved:  # saved after fusing, or another network
        model.fuse(verbose=False)
    if differing := shapes_of(model.state_dict()) ^ saved:
        name, shape = min(differing)
        raise CheckpointError(
            f"{path} does not fit the network that its YAML describes here ({len(differing)} entries differ, as {name} "
            f"{shape}): bring the blocks in nn/Addmodules to the state they had when it was trained"
        )
    model.load_state_dict(checkpoint.state_dict)
    model.names = checkpoint.names or model.names
    return task, model


def shapes_of(state_dict: Mapping[str, torch.Tensor]) -> set[tuple[str, tuple[int, ...]]]:
    """Name and shape of every entry."""
    return {(name, tuple(tensor.shape)) for name, tensor in state_dict.items()}
