"""Writes networks as ONNX or TorchScript files, compares these with PyTorch and logs what they cost."""

import io
import json
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

import ultralytics
from ultralytics.cfg import Options, get_options
from ultralytics.cfg.options import OPTIONS
from ultralytics.engine.callbacks import Callbacks, HasCallbacks
from ultralytics.engine.runtime import computing_on
from ultralytics.engine.setup import Given, explicit_options, resolve_options
from ultralytics.models.yolo import task_class
from ultralytics.nn.autobackend import FORMATS, as_list
from ultralytics.nn.tasks import BaseModel
from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import ConfigError, DependencyError, DeviceError, ModelError
from ultralytics.utils.files import atomic_write, import_extra
from ultralytics.utils.letterbox import as_shape
from ultralytics.utils.torch_utils import get_flops, select_device

OPSET = 18  # of ONNX 1.13 (2022): read by every runtime in use
AUTHOR = "yolo-addmodules"
TAKEN = {"format", "imgsz", "batch", "device", "dynamic", "half", "opset", "simplify", "verbose"}
ONNX_ONLY = ("opset", "simplify")
TRACING = threading.RLock()
T = TypeVar("T")
Metadata = dict[str, Any]  # plain values, under the keys that readers of YOLO files know
CUT = 1e-5  # above the lowest score that a head with `end2end` has chosen: by rounding another box may be there
TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2}  # fraction of an output's largest value that is rounding


def check_given(given: Metadata, options: Options) -> None:
    """Refuse, by a ConfigError, what was given to export() and would change nothing."""
    defaults = get_options().as_dict()
    for name in given:
        if name not in OPTIONS or given[name] == defaults[name]:
            continue
        if name not in TAKEN and name not in ("cfg", "task", "model"):
            raise ConfigError(f"{name} changes nothing in an exported file: export() takes {', '.join(sorted(TAKEN))}")
        if name in ONNX_ONLY and options.format != "onnx":
            raise ConfigError(f"{name} belongs to format=onnx, not to {options.format}: leave it out")


def export(model: BaseModel, options: Options, stem: Path, known: Metadata) -> Path:
    """Write `model` to a file named like `stem`, with names, stride, task, image size and, as `args`, what is `known`.

    The file takes batches of `options.batch` images of `options.imgsz`, with `dynamic` any batch and size. Nothing is
    written if it cannot be made, or does not compute what the network does (ModelError).
    """
    height, width = as_shape(options.imgsz)
    channels = model.yaml["channels"]
    network = prepare_network(model, options.dynamic)
    gflops, exported_gflops = (get_flops(one, (height, width), channels) for one in (model, network))
    device = select_device("cpu" if options.device in (None, "") else options.device)  # 0 is a GPU
    shapes = [(options.batch, channels, height, width)]
    if options.dynamic:  # a second shape, and no batch of 1: tracing would take it for a constant
        stride = model.max_stride
        shapes = [(max(options.batch, 2), *shapes[0][1:]), (options.batch + 2, channels, height + stride, width)]

    path = stem.with_name(f"{stem.name}.{options.format}")
    metadata = describe(model, options, stem.name, known)
    place = f"export at batch={options.batch}, imgsz={options.imgsz}"
    with torch.no_grad(), computing_on(device, place):
        network.to(device, torch.float16 if options.half else torch.float32)
        samples = [sample_images(shape, network) for shape in shapes]
        outputs = [as_list(network(sample)) for sample in samples]
        content = trace(path, lambda: WRITERS[options.format](network, samples[0], outputs, options, metadata))
        difference = verify(path, content, options, samples, outputs)
    atomic_write(path, lambda file: file.write(content))

    opset = f" opset {metadata['args']['opset']}" if options.format == "onnx" else ""
    sizes = "any batch and size, such as " if options.dynamic else ""
    results = ", ".join(f"output{i} {tuple(output.shape)}" for i, output in enumerate(outputs[0]))
    precision = str(samples[0].dtype).removeprefix("torch.")
    LOGGER.info(
        f"{path}: {FORMATS[options.format].title}{opset}, {len(content) / 1e6:.1f} MB, {sizes}images "
        f"{tuple(samples[0].shape)} {precision} -> {results}"
    )
    if exported_gflops <= 1.01 * gflops:
        LOGGER.info(f"{exported_gflops:.2f} GFLOPs an image, as in PyTorch")
    else:
        LOGGER.info(
            f"{exported_gflops:.2f} GFLOPs an image, in PyTorch {gflops:.2f}: for batches of any size every expert is "
            "computed on every image; dynamic=False does not need that"
        )
    LOGGER.info(difference)
    return path


def prepare_network(model: BaseModel, dynamic: bool) -> BaseModel:
    """Fused copy in eval mode whose head returns decoded predictions alone.

    With `dynamic` layers that know how (`portable`) compute the same for any batch with constant kernels.
    """
    network = deepcopy(model).eval().requires_grad_(False).fuse(verbose=False)
    for module in network.modules():
        if hasattr(module, "export"):
            module.export = True
        if dynamic and hasattr(module, "portable"):
            module.portable = True
    return network


def sample_images(shape: tuple[int, ...], network: BaseModel) -> Tensor:
    """Images (B, C, H, W) of colored blocks, each of its own brightness, for a network; always the same.

    Noise would not do: what it makes of a deep layer is the same for all images.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(*shape[:2], 8, 8, generator=generator) * torch.rand(shape[0], 1, 1, 1, generator=generator)
    return nn.functional.interpolate(coarse, tuple(shape[2:])).to(network.device, network.dtype)


def describe(model: BaseModel, options: Options, name: str, known: Metadata) -> Metadata:
    """Metadata of a file, under the keys that readers of YOLO files know."""
    made_with = {name: getattr(options, name) for name in ("format", "batch", "dynamic", "half")}
    if options.format == "onnx":
        made_with |= {"opset": options.opset or OPSET, "simplify": options.simplify}
    extra = {"kpt_shape": model.yaml["kpt_shape"]} if "kpt_shape" in model.yaml else {}
    return {
        "description": f"{name}, exported by {AUTHOR}",
        "author": AUTHOR,
        "date": datetime.now(timezone.utc).isoformat(),
        "version": ultralytics.__version__,
        "stride": model.max_stride,
        "task": model.task,
        "head": type(model.model[-1]).__name__,
        "batch": options.batch,
        "imgsz": list(as_shape(options.imgsz)),
        "names": dict(getattr(model, "names", None) or {i: f"class{i}" for i in range(model.nc)}),
        "channels": model.yaml["channels"],
        **({"end2end": True} if getattr(model.model[-1], "end2end", False) else {}),
        **extra,
        "args": made_with | known,
    }


def trace(path: Path, write: Callable[[], T]) -> T:
    """Result of `write`, without torch's warnings; whatever a layer cannot do is a ModelError of one line.

    One after the other where several threads export: torch's tracers keep their state in one place for all.
    """
    try:
        with TRACING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return write()
    except (DependencyError, torch.cuda.OutOfMemoryError):
        raise
    except Exception as exc:  # anything may go wrong in a user's block
        reason = str(exc).strip().partition("\n")[0] or type(exc).__name__
        raise ModelError(f"{path.name} cannot be made of this network: {reason}") from exc


def to_onnx(
    network: BaseModel, sample: Tensor, outputs: list[list[Tensor]], options: Options, metadata: Metadata
) -> bytes:
    """ONNX file with the input `images` and the outputs `output0`, `output1`, …

    By torch's exporter that traces: the one on torch.export needs another package, takes ten times as long and refuses
    more of what people write into blocks. What tracing can get wrong, sizes kept as constants, `verify` finds.
    """
    onnx = import_extra("onnx", "export")
    slim = import_extra("onnxslim", "export").slim if options.simplify else None
    names = [f"output{i}" for i in range(len(outputs[0]))]
    axes = None
    if options.dynamic:  # axes of an output that differ between the two samples are the dynamic ones
        axes = {"images": {0: "batch", 2: "height", 3: "width"}}
        for name, a, b in zip(names, *outputs, strict=True):
            axes[name] = {i: f"{name}_{i}" if i else "batch" for i in range(a.ndim) if a.shape[i] != b.shape[i]}
    buffer = io.BytesIO()
    torch.onnx.export(
        network,
        (sample,),
        buffer,
        dynamo=False,
        opset_version=metadata["args"]["opset"],
        input_names=["images"],
        output_names=names,
        dynamic_axes=axes,
    )
    file = onnx.load_from_string(buffer.getvalue())
    if slim:
        try:
            file = slim(file)
        except Exception as exc:  # a graph it does not know; the file is as good without
            LOGGER.warning(f"{options.format}: not simplified, onnxslim says: {exc}")
    onnx.helper.set_model_props(file, {key: str(value) for key, value in metadata.items()})
    return file.SerializeToString()


def to_torchscript(
    network: BaseModel, sample: Tensor, outputs: list[list[Tensor]], options: Options, metadata: Metadata
) -> bytes:
    """TorchScript file with the metadata as JSON in `config.txt`; it runs on the kind of device it is made on."""
    script = torch.jit.trace(network, sample, check_trace=False)
    forget_indices(script)
    buffer = io.BytesIO()
    # Not a key of its own: the public package would take it for the device to compute on.
    config = json.dumps(metadata | {"args": metadata["args"] | {"device": sample.device.type}})
    torch.jit.save(script, buffer, _extra_files={"config.txt": config})
    return buffer.getvalue()


def forget_indices(script: torch.jit.ScriptModule) -> None:
    """Let traced names of devices, such as cuda:0 where a block makes a tensor, mean the current one of their kind."""
    for module in script.modules():
        with suppress(RuntimeError):  # a module that the network never calls has no graph
            for node in module.graph.findAllNodes("prim::Constant", recurse=True):
                if str(node.output().type()) == "Device":
                    node.s_("value", torch.device(node.s("value")).type)


def verify(path: Path, content: bytes, options: Options, samples: list[Tensor], expected: list[list[Tensor]]) -> str:
    """Compare the file with PyTorch: the largest difference in words, ModelError where rounding cannot explain it."""
    backend = FORMATS[options.format]
    try:
        network = backend(path, content).on(samples[0].device)
    except (DependencyError, DeviceError) as exc:
        return f"not compared with PyTorch: {exc}"
    worst = 0.0
    for sample, outputs in zip(samples, expected, strict=True):
        computed = trace(path, lambda sample=sample: as_list(network(sample)))
        chosen = bool(network.metadata.get("end2end"))
        for output, wanted in zip(computed, [aligned(computed[0], outputs[0])] if chosen else outputs, strict=True):
            rounding = TOLERANCE[sample.dtype] * max(1.0, wanted.abs().max().item())
            fits = output.shape == wanted.shape
            if not fits or not torch.allclose(output, wanted, rtol=0, atol=rounding, equal_nan=True):
                raise ModelError(
                    f"{path.name} would not compute what the network does for images {tuple(sample.shape)}: a block "
                    "makes constants of sizes, as len(x) and int(x.shape[2]) do; mend the block"
                    + (" or export with dynamic=False" if options.dynamic else "")
                )
            worst = max(worst, (output - wanted).abs().max().item())
    return f"largest difference from PyTorch: {worst:.2g}, measured with {backend.runtime}"


def aligned(output: Tensor, expected: Tensor) -> Tensor:
    """Expected boxes (B, n, 6) that a head has chosen, in the order of `output`, with their own scores.

    By rounding, boxes of nearly equal scores may change places, and those at the cut may be others.
    """
    if output.shape != expected.shape:
        return expected
    nearest = torch.cdist(output.double(), expected.double()).argmin(2)  # (B, n)
    rows = expected.gather(1, nearest[..., None].expand(-1, -1, 6))
    at_cut = output[..., 4:5] <= expected[:, -1:, 4:5] + CUT
    rows = torch.where(at_cut, output, rows)
    return torch.cat((rows[..., :4], expected[..., 4:5], rows[..., 5:]), 2)


WRITERS: dict[str, Callable[..., bytes]] = {"onnx": to_onnx, "torchscript": to_torchscript}


# Published names -------------------------------------------------------------------------------------------------


class Exporter(HasCallbacks):
    """Export of a network by options as scripts hold them: `Exporter(overrides={"format": "onnx"})(model=network)`."""

    def __init__(
        self,
        cfg: Given = None,
        overrides: Mapping[str, object] | None = None,
        _callbacks: Callbacks | Mapping[str, Sequence[Callable]] | None = None,
    ) -> None:
        """Options are those of `cfg`, a file or a namespace, and of `overrides`, which win."""
        self.given = explicit_options(cfg, overrides)
        self.args: Options | None = None  # the checked options, once it is called
        self.callbacks = Callbacks.of(_callbacks)

    def __call__(self, model: BaseModel) -> str:
        """Write the network to a file of the format, beside its weights if it has any, and return the path."""
        self.args = resolve_options(task_class(model.task), "export", self.given | {"task": model.task})
        yaml = model.yaml.get("yaml_file") or f"{type(model).__name__}.yaml"
        stem = Path(getattr(model, "pt_path", None) or Path(yaml).name).with_suffix("")
        return self.write(model, stem, {})

    def write(self, model: BaseModel, stem: Path, known: Metadata) -> str:
        """Write the network by `args` to a file named like `stem`, with the events of an export."""
        self.run_callbacks("on_export_start")
        path = export(model, self.args, stem, known)
        self.run_callbacks("on_export_end")
        return str(path)


def export_formats() -> dict[str, list]:
    """Table of the formats that are written, by column: Format, Argument, Suffix, CPU, GPU."""
    rows = [("PyTorch", "-", ".pt")] + [(cls.title, name, f".{name}") for name, cls in FORMATS.items()]
    columns = dict(zip(("Format", "Argument", "Suffix"), map(list, zip(*rows, strict=True)), strict=True))
    return columns | {"CPU": [True] * len(rows), "GPU": [True] * len(rows)}


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
