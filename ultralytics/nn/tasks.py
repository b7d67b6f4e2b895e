"""Networks from model YAMLs: the modules a YAML may name, parse_model, and the model classes.

A block in Addmodules is found by its name; a row that leaves `c1` out needs an edit here, step 4 of
Addmodules/__init__.py.
"""
# ruff: noqa: F401, F403, F405 (add-ons come in by `import *`, so that a new one needs no import here; YAMLs name heads)

# Before all other imports: a pasted file may carry its own Conv or C2f, and a name that this file imports or defines is
# never replaced. Names of OTHER_CHANNEL_MODULES, such as SPP, and those of earlier add-ons are.
from .Addmodules import *

# isort: split
import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics import utils
from ultralytics.nn import Addmodules, addons, diagnostics, features, modules
from ultralytics.nn.fuse import fold_all, foldable
from ultralytics.utils import LOGGER, IterableSimpleNamespace, refused
from ultralytics.utils.checkpoint import Checkpoint
from ultralytics.utils.errors import ModelError
from ultralytics.utils.ops import make_divisible
from ultralytics.utils.torch_utils import model_info

from .model_yaml import (
    TABLE_HEAD,
    guess_model_scale,
    rows,
    scaling,
    set_activation,
    source,
    table_row,
    yaml_model_load,
)
from .modules import (
    C2,
    C3,
    OBB,
    SPPF,
    Bottleneck,
    C2f,
    C3Ghost,
    Classify,
    Concat,
    Conv,
    Detect,
    DWConv,
    GhostBottleneck,
    GhostConv,
    Index,
    Pose,
    Segment,
    Timm,
    TorchVision,
    v10Detect,
)
from .probe import PROBE_SIZE, channels, shape_of, shape_text
from .rows import PREFIX, Channels, Output, Words, head_args, is_scaled, package_value, public_args, read_row, row_names
from .transfer import Transfer, transfer
from .weights import (
    attempt_load_one_weight,
    attempt_load_weights,
    find_task,
    guess_model_task,
    load_checkpoint,
    model_from_checkpoint,
    temporary_modules,
    torch_safe_load,
)

Cfg = str | Path | dict[str, Any]  # a model YAML: its path, its name, or the mapping it holds

try:
    # Called as Module(c1, c2, *args): the row gives c2, which is scaled by the width; c1 is what comes in.
    channel_modules = {
        Conv,
        DWConv,
        GhostConv,
        Bottleneck,
        GhostBottleneck,
        SPPF,
        C2,
        C2f,
        C3,
        C3Ghost,
        DynamicConv,
        DynamicConvBnAct,
        ConvBnAct,
        GhostModule,
        GhostBottleneck_DynamicConv,
        C2f_GhostModule_DynamicConv,
        C2f_DynamicConv,
        C2f_GhostResidual_DynamicConv,
        C2f_FasterBlock,
        DCNv2,
        GSConv,
        ODConv,
        ODConvBnAct,
        RFAConv,
        ScConv,
        SPDConv,
        VoVGSCSP,
    }
    # Those among them that take the repeat count of the row, scaled by the depth: Module(c1, c2, n, *args).
    repeat_modules = {
        C2,
        C2f,
        C3,
        C3Ghost,
        C2f_GhostModule_DynamicConv,
        C2f_DynamicConv,
        C2f_GhostResidual_DynamicConv,
        C2f_FasterBlock,
        VoVGSCSP,
    }
except NameError as exc:  # a class was put into a set and not imported: the error says which file has it
    raise addons.missing_names(exc.name, globals()) from exc
channel_modules.update(modules.OTHER_CHANNEL_MODULES)  # the public package's further blocks
repeat_modules.update(modules.OTHER_REPEAT_MODULES)


def parse_model(d: dict[str, Any], ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
    """Build the layers of a model YAML `d`, a row [from, repeats, module, args] each, for images of `ch` channels.

    Returns the layers and the sorted indices of those that rows name, not by -1; sets `d["scale"]`. Raises ModelError.
    """
    depth, width, max_channels = scaling(d)
    diagnostics.check_keys(d)

    def scaled(c: float) -> int:
        return make_divisible(min(c, max_channels) * width, 8)

    def repeated(n: int) -> int:
        return max(round(n * depth), 1) if n > 1 else n

    nc = d.get("nc")  # noqa: F841 (branches pasted below ask for it)
    x = torch.empty(1, ch, PROBE_SIZE, PROBE_SIZE, device="meta")  # every row is run once, on what its `from` names
    c2, ch, layers, save = ch, Channels([ch]), [], set()  # ch[i]: channels layer i gives; before the first, the image's
    names, froms, outputs = row_names(rows(d)), [], []
    if verbose:
        LOGGER.info(TABLE_HEAD)
    for i, row in enumerate(rows(d)):
        with diagnostics.row_context(d, i, row):
            f, n, name, args = read_row(row, i, names)
            m, n, has_rule = find_module(name), repeated(n), True  # how m takes its channels is known
            args, kwargs = Words(d, ch[f], scaled, repeated, find_module).resolve_args(args, m)

            # How a module takes its channels. One that takes them otherwise says so in the row, [-1, 1, EMA, [c1, 8]],
            # or gets a branch of its own, for rows such as [-1, 1, EMA, [8]]:
            #     elif m is EMA:
            #         c2 = ch[f]
            #         args = [c2, *args]
            if m in channel_modules or m in repeat_modules:
                diagnostics.check_channels(m, f, ch[f], args)
                c1, c2 = ch[f], (args[0] if is_scaled(row[3]) else scaled(args[0]))
                args = [c1, c2, *args[1:]]
                if m in repeat_modules:
                    args.insert(2, n)
                    n = 1
                diagnostics.check_set(m, args, repeats=m in repeat_modules)
            elif m is Concat:
                c2 = sum(diagnostics.require_several_inputs(m, f, ch[f]))
            elif issubclass(m, Detect) or (hasattr(m, "task") and isinstance(ch[f], list) and m is not Classify):
                levels = diagnostics.require_several_inputs(m, f, ch[f])
                args, kwargs = head_args(m, args, kwargs, levels, scaled)
            elif hasattr(m, "task"):  # a head of one map, as Classify is in any case
                diagnostics.check_channels(m, f, ch[f], args)
                args = [ch[f], *args]
            else:
                # As they are, but for a few classes that public YAMLs name in their own way.
                args, has_rule = public_args(m, args, ch[f], scaled, row), bool(PREFIX.match(name))

            m_ = diagnostics.build_layer(m, args, kwargs, n, has_rule)
            x = diagnostics.run_layer(m_, gather(f, x, outputs), m, has_rule, is_last=i == len(rows(d)) - 1)
            c2 = channels(x)  # measured: what a branch above set is only what the module was asked for
            layers.append(diagnostics.label_layer(m_, m, i, f))
            save.update(one % i for one in (f if isinstance(f, list) else [f]) if one != -1)
            froms.append(f)
            outputs.append(x)
            ch = Channels([c2] if i == 0 else [*ch, c2])
            if verbose:
                LOGGER.info(table_row(m_, i, f, n, name, args, kwargs, shape_text(shape_of(x))))
    model = nn.Sequential(*layers)
    model.froms, model.shapes = froms, [shape_of(x) for x in outputs]
    set_activation(model, d)
    return model, sorted(save)


def gather(f: int | list[int], x: Any, outputs: Sequence[Any]) -> Any:
    """The input of a layer: the output `x` of the one before it, or those of the layers that `from` names."""
    if isinstance(f, list):
        return [gather(one, x, outputs) for one in f]
    y = x if f == -1 else outputs[f]
    return y[f.k] if isinstance(f, Output) else y


def known_modules() -> dict[str, type[nn.Module]]:
    """Every module class that a YAML may call by a name of this file, the core's and the add-ons'."""
    # Collected at every call: register_module() adds names.
    return {
        name: found
        for name, found in globals().items()
        if isinstance(found, type) and issubclass(found, nn.Module) and not issubclass(found, BaseModel)
    }


def find_module(name: str) -> type[nn.Module]:
    """The class that a row names: one of this file, `nn.Upsample` of a package, or one of a file in Addmodules.

    Raises ModelError with the nearest known names.
    """
    if PREFIX.match(name):
        found = package_value(name)
    else:
        others = {cls.__name__: cls for cls in modules.OTHER_CHANNEL_MODULES}
        known = known_modules() | {"timm": Timm}
        found = known.get(name) or addons.addmodule_class(Addmodules, name, others.get(name))
    if not isinstance(found, type):
        raise addons.unknown_name(name, () if PREFIX.match(name) else {**known, **others})
    return found


def register_module(cls: type[nn.Module], repeats: bool = False) -> type[nn.Module]:
    """Make a class from outside the tree known under its name; also a decorator.

    It is called as Module(c1, c2, *args), with `repeats` as Module(c1, c2, n, *args). Raises ModelError where the name
    is not an add-on's to take.
    """
    name, before = cls.__name__, globals().get(cls.__name__)
    if before is not None and (name not in known_modules() or before.__module__.startswith(modules.__name__)):
        raise ModelError(f"{name} is a name of the core in nn/tasks.py, and those stay: give the class another name")
    if before is not None and (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__):
        LOGGER.warning(f"two add-ons export {name}: that of {cls.__module__} replaces that of {before.__module__}")
    globals()[name] = cls
    channel_modules.add(cls)
    (repeat_modules.add if repeats else repeat_modules.discard)(cls)
    return cls


# Once all names are imported: warn of add-ons that clash or that no row can name.
addons.check_addmodules(Addmodules, globals())


class BaseModel(nn.Module):
    """A network built from a model YAML, given as a path, a name or the mapping itself.

    `yaml` is that mapping with the `scale`, `nc` and `channels` it was built with, and suffices to build it again.
    """

    imgsz = 640  # pixels a side at which `info` counts GFLOPs, unless told otherwise
    loss_name = "v8DetectionLoss"  # class in utils/loss.py

    def __init__(self, cfg: Cfg, ch: int, nc: int | None, verbose: bool) -> None:
        super().__init__()
        self.yaml = copy.deepcopy(cfg) if isinstance(cfg, dict) else yaml_model_load(cfg)
        self.channels = self.yaml["channels"] = ch = self.yaml.get("channels", self.yaml.get("ch", ch))  # of an image
        if nc is not None and nc != self.yaml.get("nc"):
            if verbose:
                LOGGER.info(f"{source(self.yaml)}: nc={nc} in place of nc={self.yaml.get('nc')}")
            self.yaml["nc"] = nc
        self.nc = self.yaml.get("nc")
        if type(self.nc) is not int or self.nc < 1:
            raise ModelError(f"{source(self.yaml)}: `nc:` must be the number of classes, such as 80, found {self.nc!r}")
        self.model, self.save = parse_model(self.yaml, ch, verbose)
        self.froms = self.model.froms  # of every layer the number of the one whose output it takes, or a list of them
        self.names = {i: str(i) for i in range(self.nc)}
        self.args: Any = None  # options of a training run, which the loss reads
        self.criterion: Any = None  # made by the first call of `loss`

    @property
    def task(self) -> str:
        """Task of the head, such as detect."""
        return self.model[-1].task

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights, and of the images it takes."""
        return next(self.parameters()).dtype

    @property
    def stride(self) -> Tensor:
        """(levels,) pixels that a cell of each of the head's feature maps covers."""
        return self.model[-1].stride

    @property
    def max_stride(self) -> int:
        """Largest stride in pixels, of which the sides of images must be multiples."""
        return int(self.stride.max())

    def set_stride(self) -> None:
        """Give the head the strides of the maps it takes, as parse_model measured them. Raises ModelError."""
        head, f = self.model[-1], self.froms[-1]
        if getattr(head, "nc", self.nc) != self.nc:
            raise ModelError(
                f"{source(self.yaml)}: the head is built for {head.nc} classes, not {self.nc}: give it [nc]"
            )
        head.nc = self.nc
        image, *outputs = (1, self.yaml["channels"], PROBE_SIZE, PROBE_SIZE), *self.model.shapes
        before = outputs[:-1]  # the head's own is left out, as a negative `from` counts back from it
        maps = gather(f, before[-1] if before else image, before)
        maps = maps if isinstance(maps, list) else [maps]
        with diagnostics.row_context(self.yaml, len(self.froms) - 1, rows(self.yaml)[-1]):
            # On the CPU even where the network is built on meta, which has no values.
            head.stride = torch.tensor([diagnostics.stride_of(shape, head) for shape in maps], device="cpu")

    def forward(self, x: Tensor | dict[str, Any]) -> Any:
        """Output of the head for images (B, C, H, W) in 0..1; of a batch, which is a dict, the `loss`.

        In training mode the raw output, which the loss takes; in eval mode (decoded, raw). The head's docstring has the
        shapes.
        """
        if isinstance(x, dict):
            return self.loss(x)
        outputs: list[Any] = []
        for i, (layer, f) in enumerate(zip(self.model, self.froms, strict=False)):  # the model may be cut short
            x = layer(gather(f, x, outputs))
            outputs.append(x if i in self.save else None)  # None: the memory is free again
        return x

    def predict(self, x: Tensor, profile: bool = False, *, embed: Sequence[int] | None = None) -> Any:
        """Output for images; `profile` logs what every layer costs, `embed` gives vectors of these layers instead."""
        if embed is not None:
            return features.embed(self, x, embed)
        return features.profile(self, x) if profile else self(x)

    def loss(self, batch: dict[str, Any], preds: Any = None) -> tuple[Tensor, Tensor]:
        """Loss of a batch, a scalar, and its detached components; `preds`: outputs for `batch["img"]`, if known."""
        if self.criterion is None:
            self.criterion = self.init_criterion()
        return self.criterion(self(batch["img"]) if preds is None else preds, batch)

    def init_criterion(self) -> Any:
        """A new loss of the network's task, weighted as `args` say, and where they say nothing by the defaults."""
        if self.args is None or isinstance(self.args, dict):
            self.args = IterableSimpleNamespace(**(utils.DEFAULT_CFG_DICT | (self.args or {})))
        from ultralytics.utils import loss  # imported late: it brings OpenCV along
        from ultralytics.utils.losses.end_to_end import make_criterion

        return make_criterion(getattr(loss, self.loss_name), self)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "BaseModel":
        """Move or cast everything, and the strides of a head of one's own that keeps them as a plain attribute."""
        super()._apply(fn, recurse)
        head = self.model[-1]
        if isinstance(vars(head).get("stride"), Tensor):
            head.stride = fn(head.stride)
        return self

    def fuse(self, verbose: bool = True) -> "BaseModel":
        """Fold norms into the convolutions before them where that is possible; outputs in eval mode stay the same."""
        if not self.is_fused():
            fold_all(self)
            if verbose:
                self.info()
        return self

    def is_fused(self) -> bool:
        """Whether no norm is left that could be folded."""
        return next(foldable(self), None) is None

    def info(
        self, detailed: bool = False, verbose: bool = True, imgsz: int | list[int] | None = None
    ) -> tuple[int, int, int, float]:
        """(layers, parameters, gradients, GFLOPs at `imgsz`, by default that of the task), see model_info.

        Logged with `verbose`, and with `detailed` what every row costs and gives.
        """
        imgsz = imgsz or self.imgsz
        if detailed and verbose:
            from .info import table

            for line in table(self, imgsz):
                LOGGER.info(line)
        return model_info(self, False, verbose, imgsz)

    def load(
        self, weights: Checkpoint | Mapping[str, Any] | nn.Module, verbose: bool = False, seed: int = 0
    ) -> Transfer:
        """Take over what weights have for this network, see `transfer`; logs each row if `verbose`."""
        done = transfer(self, weights, seed)
        LOGGER.info(str(done))
        for line in done.details() if verbose else done.summary():
            LOGGER.info(f"  {line}")
        return done


class DetectionModel(BaseModel):
    """A network whose head takes feature maps of several strides, which parse_model has measured.

    Weights are PyTorch's initialization; every BatchNorm2d has the eps and momentum of the YOLO family. A subclass
    takes a head of its own task only.
    """

    head_task: str | None = None  # this class takes every head but one that classifies

    def __init__(self, cfg: Cfg = "yolov8n.yaml", ch: int = 3, nc: int | None = None, verbose: bool = True) -> None:
        super().__init__(cfg, ch, nc, verbose)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps, module.momentum = 1e-3, 0.03
        head = self.model[-1]
        if getattr(head, "task", "classify") == "classify":
            raise ModelError(f"{source(self.yaml)}: the last row must be a detection head, such as Detect")
        if self.head_task not in (None, head.task):
            raise ModelError(
                f"{source(self.yaml)}: {type(self).__name__} needs a head for {self.head_task}, and that of the last "
                f"row, {type(head).__name__}, is for {head.task}"
            )
        self.set_stride()
        if self.yaml.get("end2end"):
            head.end2end = True
        if hasattr(head, "bias_init"):
            head.bias_init()
        if verbose:
            self.info()


class SegmentationModel(DetectionModel):
    """A network that detects instances with their masks."""

    head_task = "segment"
    loss_name = "v8SegmentationLoss"

    def __init__(self, cfg: Cfg = "yolov8n-seg.yaml", ch: int = 3, nc: int | None = None, verbose: bool = True) -> None:
        super().__init__(cfg, ch, nc, verbose)


class OBBModel(DetectionModel):
    """A network that detects rotated boxes."""

    head_task = "obb"
    loss_name = "v8OBBLoss"

    def __init__(self, cfg: Cfg = "yolov8n-obb.yaml", ch: int = 3, nc: int | None = None, verbose: bool = True) -> None:
        super().__init__(cfg, ch, nc, verbose)


class PoseModel(DetectionModel):
    """A network that detects instances with their keypoints: as many as the YAML's `kpt_shape` or the data's says."""

    head_task = "pose"
    loss_name = "v8PoseLoss"

    def __init__(
        self,
        cfg: Cfg = "yolov8n-pose.yaml",
        ch: int = 3,
        nc: int | None = None,
        data_kpt_shape: Sequence[int | None] = (None, None),
        verbose: bool = True,
    ) -> None:
        given = any(data_kpt_shape)
        if given:
            cfg = (cfg if isinstance(cfg, dict) else yaml_model_load(cfg)) | {"kpt_shape": list(data_kpt_shape)}
        super().__init__(cfg, ch, nc, verbose)
        self.kpt_shape = self.model[-1].kpt_shape  # (K, D): keypoints of an instance, and numbers of each
        if given and self.kpt_shape != tuple(data_kpt_shape):
            raise ModelError(
                f"{source(self.yaml)}: the head is built for kpt_shape {list(self.kpt_shape)} and the data have "
                f"{list(data_kpt_shape)}: give it [nc, kpt_shape]"
            )


class ClassificationModel(BaseModel):
    """A network whose head gives the whole image one class. Weights and norms are as PyTorch initializes them."""

    imgsz = 224
    loss_name = "v8ClassificationLoss"

    def __init__(self, cfg: Cfg = "yolov8n-cls.yaml", ch: int = 3, nc: int | None = None, verbose: bool = True) -> None:
        super().__init__(cfg, ch, nc, verbose)
        if getattr(self.model[-1], "task", None) != "classify":
            raise ModelError(f"{source(self.yaml)}: the last row must be a head that classifies, such as Classify")
        self.set_stride()
        if verbose:
            self.info()


# For weights files that are opened without a Task, which has its own `model_class` (nn/weights.py): a task that is not
# here, such as one of your own, is opened as a DetectionModel.
MODEL_CLASSES: dict[str, type[BaseModel]] = {
    "detect": DetectionModel,
    "segment": SegmentationModel,
    "pose": PoseModel,
    "obb": OBBModel,
    "classify": ClassificationModel,
}


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
