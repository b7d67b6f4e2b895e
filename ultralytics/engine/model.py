"""YOLO: a network by the name of its YAML or weights, and what people do with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ultralytics.cfg import DEFAULT_YAML, TASKS, Options, get_options
from ultralytics.engine.callbacks import Callbacks
from ultralytics.engine.results import Results
from ultralytics.engine.runtime import (
    HALF_IS_OFF,
    FusedCopy,
    Movable,
    computing_on,
    in_batches,
    inference_dtype,
    wants_channels_last,
)
from ultralytics.models.yolo import task_class
from ultralytics.nn.autobackend import FORMATS, ExportedNetwork, is_exported
from ultralytics.nn.tasks import find_task, model_from_checkpoint, yaml_model_load
from ultralytics.nn.weights import checkpoint_task
from ultralytics.utils import LOGGER, checks, refused
from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.files import check_chart_file, nearest
from ultralytics.utils.ops import make_divisible, normalized
from ultralytics.utils.torch_utils import select_device

if TYPE_CHECKING:  # the loops are imported when they are asked for: `from ultralytics import YOLO` stays quick
    from ultralytics.data.loaders import Frame
    from ultralytics.engine.predictor import BasePredictor
    from ultralytics.engine.setup import Scores
    from ultralytics.engine.trainer import BaseTrainer
    from ultralytics.engine.validator import BaseValidator
    from ultralytics.models.yolo.task import Metrics, Task
    from ultralytics.nn.heatmaps import Heatmap, Layers
    from ultralytics.nn.receptive_field import ReceptiveField
    from ultralytics.nn.routing import Routing

Predicted = list[Results] | Iterator[Results] | list[Tensor] | Iterator[Tensor]  # the latter with `embed`
KEPT_OPTIONS = ("data", "imgsz", "single_cls")  # what a checkpoint tells later calls about its training
NOT_IMPLEMENTED = {"benchmark": "a comparison of formats", "track": "tracking", "tune": "tuning"}


class YOLO(Movable):
    """A network that trains, validates, predicts and is exported; as a module of torch it holds `model`.

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
        checks.require_torch()
        super().__init__()
        self.callbacks = Callbacks()
        self.overrides: dict[str, object] = {}  # options of later calls
        self.ckpt: Checkpoint | None = None
        self.ckpt_path: Path | None = None
        self.cfg = str(model) if Path(model).suffix in (".yaml", ".yml") else None
        self.predictor: BasePredictor | None = None
        self.trainer: BaseTrainer | None = None
        self.metrics: Metrics | Scores | None = None
        self._fused = FusedCopy()
        self.has_weights = False
        self.loaded: Checkpoint | dict | nn.Module | None = None  # what load() was given last
        self._initial: int | None = None  # writes() of the network when it was built: the same now means untrained
        self._warned: set[str] = set()  # what is said once, not at every image
        if self.cfg is not None:
            architecture = yaml_model_load(self.cfg)
            self._task: type[Task] = task_class(find_task(architecture))
            self.model: nn.Module = self._task.model_class(architecture, nc=nc, verbose=verbose)
            self.overrides = {"model": self.cfg}
            self._initial = writes(self.model)
        else:
            self._open(Path(model))
            if nc not in (None, len(self.names)):
                raise ConfigError(f"nc={nc}: {model} has {len(self.names)} classes; nc goes with a model YAML")
        if task and task != self.task:
            raise ConfigError(f"task={task} was asked for, but {model} has a head for {self.task}")

    def _open(self, path: Path) -> None:
        moved = {k: v for k, v in self.overrides.items() if k == "device"}  # that of to() outlives what is opened
        if is_exported(path):
            self.model = FORMATS[path.suffix[1:]](path)
            self._task = task_class(self.model.task)
            self.overrides = self.model.saved_options | moved | {"model": str(path)}
            return
        self.ckpt, self.ckpt_path, self.loaded = load_checkpoint(path), path, None
        self._task = task_class(checkpoint_task(self.ckpt, path))
        self.model = model_from_checkpoint(self.ckpt, path, self._task.model_class)
        self.overrides = {k: v for k, v in self.ckpt.args.items() if k in KEPT_OPTIONS} | moved
        self.overrides |= {"model": str(path)}
        self.has_weights = True

    def __call__(self, source: object = None, stream: bool = False, **options: object) -> Predicted:
        """Do what `predict` does."""
        return self.predict(source, stream, **options)

    def predict(
        self,
        source: object = None,
        stream: bool = False,
        predictor: "type[BasePredictor] | None" = None,
        **options: object,
    ) -> Predicted:
        """Results on images or videos: a list, or with `stream` an iterator that keeps none of them.

        `source` is a path, folder, glob, .txt list, video, BGR array, PIL image, RGB tensor 0..1, or a list of these;
        without one, the images of utils.ASSETS. With `embed`, a list of layers, vectors instead of results.
        `predictor` is a class of your own, such as a subclass of DetectionPredictor.
        """
        from ultralytics.engine.predictor import BasePredictor

        checked = self.resolve("predict", options if source is None else options | {"source": source})
        self._warn_untrained()
        self.predictor = (predictor or BasePredictor)(overrides=checked, _callbacks=self.callbacks)
        return self.predictor(checked.source, self.network(checked), stream)

    def embed(self, source: object = None, stream: bool = False, **options: object) -> Predicted:
        """Vectors (C,) of images: means of the feature maps of the layers `embed`, by default the last before the head.

        A list, or with `stream` an iterator. `source` and `options` as for `predict`.
        """
        last = len(self._layers("embed").model) - 2
        return self.predict(source, stream, **{"embed": [last]} | options)

    def routing(self, source: object, file: str | Path | None = "routing.png", **options: object) -> "Routing":
        """Routing weights that dynamic convolutions give their experts on images (nn/routing.py).

        `source` and `options` as for `predict`. Draws `file`, layers x experts, unless it is None; logs which experts
        are dead or identical. ModelError for a network without routers.
        """
        from ultralytics.nn import routing

        self._layers("routing")
        check_chart_file(file)
        checked = self.resolve("predict", options | {"source": source})
        return routing.report(routing.collect(self.network(checked), (x for _, x in self._inputs(checked))), file)

    def heatmap(
        self, source: object, layer: "Layers" = None, method: str = "layercam", **options: object
    ) -> "list[Heatmap]":
        """Heat maps of where the predictions on images come from (nn/heatmaps.py), which `plot()` or `save("a.jpg")`.

        `source` and `options`, such as classes=[0], as for `predict`; `layer`: numbers or names of rows or parts, by
        default the head's inputs; `method`: layercam, which keeps objects apart, gradcam, gradcam++ or eigencam.
        """
        from ultralytics.nn import heatmaps

        self._layers("heatmap")
        checked = self.resolve("predict", options | {"source": source})
        self._warn_untrained()
        task, network, found = self._task(checked), self.network(checked), []
        for frames, images in self._inputs(checked):
            heat = heatmaps.explain(network, images, task.logits, layer, method, checked.classes, checked.conf)
            found += heatmaps.draw(images, heat, [frame.path for frame in frames])
        return found

    def receptive_field(
        self, source: object, layer: "Layers" = None, file: str | Path | None = "receptive_field.png", **options: object
    ) -> "list[ReceptiveField]":
        """Effective receptive fields of layers on images (nn/receptive_field.py), drawn into `file` unless it is None.

        `source` and `options` as for `predict`, `layer` as for `heatmap`; `side(0.95)` of a field has 95 % of it.
        """
        from ultralytics.nn.receptive_field import receptive_fields

        self._layers("receptive_field")
        check_chart_file(file)
        checked = self.resolve("predict", options | {"source": source})
        images = (x for _, x in self._inputs(checked))
        return receptive_fields(self.network(checked), images, layer, checked.imgsz, file)

    def _inputs(self, checked: Options) -> "Iterator[tuple[Sequence[Frame], Tensor]]":
        """Batches of the source of checked options: its frames, and the network's input (B, C, H, W) of them."""
        from ultralytics.data.loaders import load_source

        task, net = self._task(checked), self.network(checked)
        for frames in in_batches(load_source(checked.source, vid_stride=checked.vid_stride), checked.batch):
            images = task.preprocess(frames, net.max_stride, net.channels)
            yield frames, normalized(images, net.device, net.dtype)

    def val(self, validator: "type[BaseValidator] | None" = None, **options: object) -> "Metrics":
        """Metrics on a split of `data`, by default that of the data the weights were trained on.

        `validator` is a class of your own, such as a subclass of DetectionValidator.
        """
        from ultralytics.engine.validator import BaseValidator

        if batch := self._val_batch():  # the metrics depend a little on the shapes of rectangular batches
            options = {"batch": batch} | options
        checked = self.resolve("val", options)
        self._warn_untrained()
        loop = (validator or BaseValidator)(args=checked, _callbacks=self.callbacks)
        loop.subject = self.model, self.model.path if isinstance(self.model, ExportedNetwork) else self.ckpt_path
        loop(model=self.network(checked))
        self.metrics = loop.metrics
        return self.metrics

    def export(self, **options: object) -> str:
        """Write the network as it is now to a file of `format`, beside its weights, and return the path.

        Takes format (onnx, torchscript), imgsz, batch, dynamic, half, opset, simplify, device. YOLO() opens the file.
        """
        from ultralytics.engine import exporter

        self._layers("export")
        checked = self.resolve("export", options)
        exporter.check_given(options, checked)
        stem = self.ckpt_path.with_suffix("") if self.ckpt_path else Path(Path(self.cfg).stem)
        known = {name: self.overrides[name] for name in ("data", "single_cls") if name in self.overrides}
        run = exporter.Exporter(_callbacks=self.callbacks)
        run.args = checked
        return run.write(self.model, stem, known | {"val_batch": self._val_batch()})

    def train(
        self,
        trainer: "type[BaseTrainer] | bool | None" = None,
        augmentations: Sequence[Callable] = (),
        **options: object,
    ) -> "Metrics | Scores | YOLO":
        """Train on `data`, leave weights and plots in a run folder, and return the metrics of the best weights.

        The network is then the best one; with save=False, which keeps no weights, the averaged one of the last epoch.
        `trainer` is a class of your own, such as a subclass of DetectionTrainer (engine/hooks.py).
        `augmentations` are the user's own steps for training images (`Transform` in data/augment.py). `resume=True`
        continues the run of the last.pt this was made of, `resume="path/last.pt"` that of another one. For a list of
        datasets see `train_each` in engine/setup.py: the network stays as it is. With several devices, such as
        device="0,1", this script runs once in a process for each, as far as this call, and goes on here when they are
        done.

        `train(True)` and `train(False)` are those of an nn.Module: they set the network's mode, and give this back.
        """
        if isinstance(trainer, bool):  # nn.Module.train(mode), which torch calls on every module
            self._layers("train").train(trainer)
            self.training = trainer
            return self
        from ultralytics.engine.distributed import in_processes
        from ultralytics.engine.setup import train_each
        from ultralytics.engine.trainer import BaseTrainer

        self._layers("train")
        checked = self.resolve("train", options)

        def make_trainer(own: Options) -> BaseTrainer:
            # `own.given` has older names translated, but leaves out options that are None: these were chosen as well.
            chosen = {name: None for name, value in options.items() if value is None}
            whole = self.overrides | chosen | {name: getattr(own, name) for name in own.given}
            # A resumed run brings its own options: only those of this call, and the device of to(), may change them.
            given = {k: v for k, v in self.overrides.items() if k == "device"} | options if own.resume else whole
            overrides = given | {"task": self.task, "model": str(self.ckpt_path or own.model)}
            self.trainer = (trainer or BaseTrainer)(overrides=overrides, _callbacks=self.callbacks)
            self.trainer.source, self.trainer.transforms = self, augmentations
            return self.trainer

        def run() -> "tuple[Path | None, Metrics | Scores]":
            if isinstance(checked.data, list):
                return None, train_each(checked, make_trainer)
            metrics = make_trainer(checked).train()
            return self.trainer.best if checked.save else None, metrics

        device = checked.device
        if checked.resume and device is None:  # the run has its own
            saved = self.ckpt if checked.resume is True else load_checkpoint(Path(checked.resume))
            device = saved.args.get("device") if saved is not None else None
        best, self.metrics = in_processes(device, checked.save, run)
        if best is not None:
            self._open(best)
        elif not isinstance(checked.data, list):
            self.model, self.has_weights, self.loaded = self.trainer.ema.ema, True, None
        return self.metrics

    def info(
        self, detailed: bool = False, verbose: bool = True, imgsz: int | None = None
    ) -> tuple[int, int, int, float]:
        """(layers, parameters, gradients, GFLOPs at `imgsz`), logged with `verbose`, row by row with `detailed`."""
        return self._layers("info").info(detailed=detailed, verbose=verbose, imgsz=imgsz)

    def fuse(self, verbose: bool = True) -> "YOLO":
        """Fold the norms into the convolutions, for good: such a network is faster and cannot be trained on."""
        self._layers("fuse").fuse(verbose)
        return self

    def load(self, weights: str | Path | dict | nn.Module, verbose: bool = False) -> "YOLO":
        """Take over every weight that has a place in this network, and the names of as many classes.

        `weights` is a file, a state dict, another YOLO or its `model`. Rows of the two networks find each other by
        structure, and a static convolution becomes a dynamic one where this network has that (nn/transfer/). `verbose`
        logs row by row what was copied, expanded, and left as it was.
        """
        self._layers("load")
        weights = weights.model if isinstance(weights, YOLO) else weights
        source = load_checkpoint(Path(weights)) if isinstance(weights, str | Path) else weights
        if isinstance(source, Mapping) and source and all(str(key).startswith("model.model.") for key in source):
            source = {key.removeprefix("model."): value for key, value in source.items()}  # of YOLO.state_dict()
        self.model.load(source, verbose=verbose)
        names = getattr(source, "names", None)
        if names and len(names) == len(self.names):
            self.model.names = names
        self.loaded = source if isinstance(source, Checkpoint) else deepcopy(source)  # the user may train on in it
        self.has_weights = True
        return self

    def reset_weights(self) -> "YOLO":
        """Start again: the random weights of a new network, all of which learn."""
        fresh = type(self._layers("reset_weights"))(deepcopy(self.model.yaml), verbose=False).state_dict()
        if {k: v.shape for k, v in fresh.items()} != {k: v.shape for k, v in self.model.state_dict().items()}:
            raise ModelError("the network was changed after it was built, such as by fuse(): open it afresh")
        self.model.load_state_dict(fresh)
        self.model.requires_grad_(True)
        self.has_weights, self.loaded, self._initial = False, None, writes(self.model)
        return self

    def save(self, filename: str | Path = "saved_model.pt") -> None:
        """Write network and weights as they are now, in half precision, to a file that `YOLO(filename)` opens."""
        self._layers("save")
        kept = {"args": self.ckpt.args, "epoch": self.ckpt.epoch, "metrics": self.ckpt.metrics} if self.ckpt else {}
        save_checkpoint(
            Path(filename), Checkpoint(self.model.state_dict(), self.model.yaml, self.task, self.names, **kept)
        )

    def add_callback(self, event: str, func: Callable) -> None:
        """Call `func` with the trainer, validator, predictor or exporter at every `event` (engine/callbacks.py)."""
        self.callbacks.add(event, func)

    def clear_callback(self, event: str) -> None:
        """Call nothing at an event any more."""
        self.callbacks.clear(event)

    def reset_callbacks(self) -> None:
        """Call nothing at any event any more."""
        self.callbacks.clear()

    def _apply(self, fn: Callable, recurse: bool = True) -> "YOLO":
        """Move or cast every tensor, as torch's to(), half(), float(), cpu() and cuda() ask."""
        self._layers("to")
        return super()._apply(fn, recurse)

    def eval(self) -> "YOLO":
        """Put the network into eval mode; `train(True)` is the way back, as `train()` trains."""
        self.model.eval()
        self.training = False
        return self

    @property
    def names(self) -> dict[int, str]:
        """Class names by index."""
        return self.model.names

    @property
    def task(self) -> str:
        """Task of the network's head."""
        return self._task.name

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.model.device

    @property
    def transforms(self) -> None:
        """None: images are prepared by the task, whatever the network is."""

    @property
    def task_map(self) -> dict[str, dict[str, type]]:
        """Class of the network of each task, under the name `model`."""
        return {name: {"model": task_class(name).model_class} for name in TASKS}

    def __getattr__(self, name: str) -> Any:
        """Parameters and modules; for names that are not there, what they come with, or the nearest names."""
        with suppress(AttributeError):
            return super().__getattr__(name)
        if name in NOT_IMPLEMENTED:
            raise AttributeError(f"YOLO.{name} comes with {NOT_IMPLEMENTED[name]}, which is not supported yet")
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

    def _can_augment(self) -> bool:
        """Whether test-time augmentation can be had; where not, one line says so, as in the public package."""
        exported = isinstance(self.model, ExportedNetwork)
        if exported or not self._task.can_augment:
            reason = "an exported network takes one size" if exported else f"there is none for {self.task}"
            self._warn_once(f"augment=True, test-time augmentation, is off: {reason}")
            return False
        return True

    def network(self, options: Options) -> nn.Module:
        """Network that computes with these options: the exported one, or a fused copy of this one."""
        if isinstance(self.model, ExportedNetwork):
            if options.channels_last is not None:
                self._warn_once(
                    f"channels_last={options.channels_last} changes nothing: an exported network has its memory format"
                )
            return self.model.select_device(options.device)
        device = select_device(options.device)
        if options.half and device.type != "cuda":
            self._warn_once(HALF_IS_OFF.format(device.type))
        dtype, last = inference_dtype(options, device), wants_channels_last(options, device)
        with computing_on(device, f"the network at batch={options.batch}, imgsz={options.imgsz}"):
            return self._fused.get(self.model, device, dtype, last)

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            LOGGER.warning(message)

    def _warn_untrained(self) -> None:
        """Say that results mean nothing, where nobody has changed the weights the network was initialized with."""
        if not self.has_weights and self._initial is not None and writes(self.model) == self._initial:
            name = self.overrides["model"]
            self._warn_once(f"{name} has untrained weights, so its predictions mean nothing: load() some, or train")

    def _val_batch(self) -> int | None:
        """The batch that training validated with, for weights of this tree."""
        if isinstance(self.model, ExportedNetwork):
            return self.model.val_batch
        known = self.ckpt.args.get("batch") if self.ckpt is not None and self.ckpt.origin == "native" else None
        return known * self._task.val_batch_factor if isinstance(known, int) and known > 0 else None

    def resolve(self, method: str, given: dict[str, object]) -> Options:
        """Checked options of a call: the method's defaults, what the weights know, what the call says."""
        options = get_options(self.overrides, given)
        if options.task not in (None, self.task):
            where = "" if "task" in options.given else f" in {DEFAULT_YAML}"
            raise ConfigError(
                f"task={options.task}{where}, but {self.overrides['model']} has a head for {self.task}: leave task "
                f"out, or take a model for it, such as {task_class(options.task).default_settings['model']}"
            )
        options = options.resolve(method, {method: {"task": self.task} | self._task.method_defaults.get(method, {})})
        if options.model != self.overrides["model"] and not options.resume:
            raise ConfigError(f"model={options.model}: this network is {self.overrides['model']}; YOLO() opens another")
        if method != "train" and (options.batch == -1 or isinstance(options.batch, float)):
            part = "" if options.batch == -1 else " of the GPU's memory"
            raise ConfigError(f"batch={options.batch}{part} is for training: give model.{method}() a number")
        if method == "predict" and (unknown := [c for c in options.classes or () if c not in self.names]):
            self._warn_once(
                f"classes={unknown}: the network has the classes 0 to {len(self.names) - 1}, and finds no other"
            )
        self._task.check_options(options, method)
        if method == "predict" and options.embed is not None:
            self._layers("embed")
            if options.augment or options.visualize:
                raise ConfigError("embed gives no predictions for augment=True or visualize=True: leave these out")
        if method == "predict" and options.visualize:
            self._layers("visualize")
            if options.augment:
                raise ConfigError("visualize=True explains one pass, augment=True makes several: leave one out")
        if options.augment and method != "export":  # training validates
            options = options.replace(augment=self._can_augment())
        if isinstance(self.model, ExportedNetwork):
            options = self.model.constrain(options)

        # Images must have whole cells at every level of the head.
        stride, sides = self.model.max_stride, options.imgsz
        fit = partial(make_divisible, divisor=stride)
        fitting = list(map(fit, sides)) if isinstance(sides, list) else fit(sides)
        if fitting == sides:
            return options
        LOGGER.warning(f"imgsz={sides} is no multiple of the network's stride {stride}: using imgsz={fitting}")
        return options.replace(imgsz=fitting)


def writes(model: nn.Module) -> int:
    """Number that grows whenever somebody writes to a weight."""
    return sum(0 if p.is_inference() else p._version for p in model.parameters())


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
