"""Writes networks as ONNX or TorchScript files, measures these against PyTorch and says what they cost."""

import io
import json
import warnings
from collections.abc import Callable, Sequence
from copy import deepcopy
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import ultralytics
from ultralytics.engine.backends import FORMATS, as_list
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, DependencyError, DeviceError, ModelError
from ultralytics.utils.files import atomic_write, import_extra
from ultralytics.utils.letterbox import as_shape
from ultralytics.utils.torch_utils import model_flops, select_device

OPSET = 18  # of ONNX 1.13 (2022): read by every runtime in use
AUTHOR = "yolo-addmodules"
TAKEN = {"format", "imgsz", "batch", "device", "dynamic", "half", "opset", "simplify", "verbose"}
ONNX_ONLY = ("opset", "simplify")
TOLERANCE = {torch.float32: 1e-3, torch.float16: 5e-2}  # share of an output's largest value that is rounding


def check_given(given: dict[str, Any], options: Any) -> None:
    """ConfigError for what was given to export() and would change nothing."""
    for name in given:
        if name not in TAKEN:
            raise ConfigError(f"{name} changes nothing in an exported file: export() takes {', '.join(sorted(TAKEN))}")
        if name in ONNX_ONLY and options.format != "onnx":
            raise ConfigError(f"{name} belongs to format=onnx, not to {options.format}: leave it out")


def export(model: nn.Module, options: Any, stem: Path, known: dict[str, Any]) -> Path:
    """Write `model` to a file named like `stem`, with names, stride, task, image size and, as `args`, what is `known`.

    The file takes batches of `options.batch` images of `options.imgsz`, with `dynamic` any batch and size. Nothing is
    written if it cannot be made (ModelError) or does not compute what the network does.
    """
    height, width = as_shape(options.imgsz)
    channels = model.yaml["channels"]
    network = prepared(model, options.dynamic)
    gflops = [model_flops(one, (height, width), channels) for one in (model, network)]
    network.to(select_device(options.device or "cpu"), torch.float16 if options.half else torch.float32)
    shapes = [(options.batch, channels, height, width)]
    if options.dynamic:  # a second shape, and no batch of 1: tracing would take it for a constant
        stride = stride_of(model)
        shapes = [(max(options.batch, 2), *shapes[0][1:]), (options.batch + 2, channels, height + stride, width)]

    path = stem.with_name(f"{stem.name}.{options.format}")
    metadata = describe(model, options, stem.name, known)
    with torch.no_grad():
        samples = [blocks(shape, network) for shape in shapes]
        outputs = [as_list(network(sample)) for sample in samples]
        content = traced(path, lambda: WRITERS[options.format](network, samples[0], outputs, options, metadata))
        difference = deviation(path, content, options, samples, outputs)
    atomic_write(path, lambda file: file.write(content))
    LOGGER.info(summary(path, content, samples[0], outputs[0], metadata["args"]))
    LOGGER.info(cost(*gflops))
    LOGGER.info(difference)
    return path


def prepared(model: nn.Module, dynamic: bool) -> nn.Module:
    """A fused copy in eval mode whose head gives what it has decoded alone.

    With `dynamic` layers that know how (`portable`) compute the same for any batch with constant kernels.
    """
    network = deepcopy(model).eval().requires_grad_(False).fuse(verbose=False)
    for module in network.modules():
        if hasattr(module, "export"):
            module.export = True
        if dynamic and hasattr(module, "portable"):
            module.portable = True
    return network


def stride_of(model: nn.Module) -> int:
    """The largest stride; 1 for a network that takes any size."""
    stride = getattr(model, "stride", None)
    return 1 if stride is None else int(stride.max())


def blocks(shape: Sequence[int], network: nn.Module) -> Tensor:
    """Images of colored blocks, each of its own brightness, for a network; always the same.

    Noise would not do: what it makes of a deep layer is the same for all images.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(*shape[:2], 8, 8, generator=generator) * torch.rand(shape[0], 1, 1, 1, generator=generator)
    return nn.functional.interpolate(coarse, tuple(shape[2:])).to(network.device, network.dtype)


def describe(model: nn.Module, options: Any, name: str, known: dict[str, Any]) -> dict[str, Any]:
    """What a file tells of itself, under the keys that readers of YOLO files know."""
    made_with = {name: getattr(options, name) for name in ("format", "batch", "dynamic", "half")}
    if options.format == "onnx":
        made_with |= {"opset": options.opset or OPSET, "simplify": options.simplify}
    extra = {"kpt_shape": model.yaml["kpt_shape"]} if "kpt_shape" in model.yaml else {}
    return {
        "description": f"{name}, exported by {AUTHOR}",
        "author": AUTHOR,
        "date": datetime.now(timezone.utc).isoformat(),
        "version": ultralytics.__version__,
        "stride": stride_of(model),
        "task": model.task,
        "head": type(model.model[-1]).__name__,
        "batch": options.batch,
        "imgsz": list(as_shape(options.imgsz)),
        "names": dict(model.names),
        "channels": model.yaml["channels"],
        **extra,
        "args": made_with | known,
    }


def traced(path: Path, write: Callable[[], bytes]) -> bytes:
    """What `write` returns, without torch's warnings; whatever a layer cannot do is a ModelError of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return write()
    except DependencyError:
        raise
    except Exception as exc:  # anything may go wrong in a block of somebody's own
        reason = str(exc).strip().partition("\n")[0] or type(exc).__name__
        raise ModelError(f"{path.name} cannot be made of this network: {reason}") from exc


def to_onnx(
    network: nn.Module, sample: Tensor, outputs: list[list[Tensor]], options: Any, metadata: dict[str, Any]
) -> bytes:
    """An ONNX file with the input `images` and the outputs `output0`, `output1`, …

    By torch's exporter that traces: the one on torch.export needs another package, takes ten times as long and refuses
    more of what people write into blocks. What tracing can get wrong, sizes kept as constants, `deviation` finds.
    """
    onnx = import_extra("onnx", "export")
    slim = import_extra("onnxslim", "export").slim if options.simplify else None
    names = [f"output{i}" for i in range(len(outputs[0]))]
    axes = {"images": {0: "batch", 2: "height", 3: "width"}} | dict(zip(names, moving(*outputs), strict=True))
    buffer = io.BytesIO()
    torch.onnx.export(
        network,
        (sample,),
        buffer,
        dynamo=False,
        opset_version=metadata["args"]["opset"],
        input_names=["images"],
        output_names=names,
        dynamic_axes=axes if options.dynamic else None,
    )
    file = onnx.load_from_string(buffer.getvalue())
    if slim:
        try:
            file = slim(file)
        except Exception as exc:  # a graph it does not know; the file is as good without
            LOGGER.warning(f"{options.format}: not simplified, onnxslim says: {exc}")
    onnx.helper.set_model_props(file, {key: str(value) for key, value in metadata.items()})
    return file.SerializeToString()


def moving(outputs: list[Tensor], others: list[Tensor] | None = None) -> list[dict[int, str]]:
    """Names of the axes of every output that have another length for another input."""
    return [
        {i: f"output{n}_{i}" if i else "batch" for i in range(a.ndim) if a.shape[i] != b.shape[i]}
        for n, (a, b) in enumerate(zip(outputs, others or outputs, strict=True))
    ]


def to_torchscript(
    network: nn.Module, sample: Tensor, outputs: list[list[Tensor]], options: Any, metadata: dict[str, Any]
) -> bytes:
    """A TorchScript file with the metadata as JSON in `config.txt`; it runs on the kind of device it is made on."""
    script = torch.jit.trace(network, sample, check_trace=False)
    metadata = metadata | {"device": sample.device.type}
    buffer = io.BytesIO()
    torch.jit.save(script, buffer, _extra_files={"config.txt": json.dumps(metadata)})
    return buffer.getvalue()


def deviation(path: Path, content: bytes, options: Any, samples: list[Tensor], expected: list[list[Tensor]]) -> str:
    """How far the file is from PyTorch, in words; a ModelError where it is further than rounding explains."""
    kind = FORMATS[options.format]
    try:
        network = kind(path, content).on(samples[0].device)
    except (DependencyError, DeviceError) as exc:
        return f"not compared with PyTorch: {exc}"
    worst = 0.0
    for sample, outputs in zip(samples, expected, strict=True):
        found = traced(path, lambda sample=sample: as_list(network(sample)))
        if not all(same(a, b, sample.dtype) for a, b in zip(found, outputs, strict=True)):
            raise ModelError(
                f"{path.name} would not compute what the network does for images {tuple(sample.shape)}: a block makes "
                "constants of sizes, as len(x) and int(x.shape[2]) do; mend the block"
                + (" or export with dynamic=False" if options.dynamic else "")
            )
        worst = max(worst, *((a - b).abs().max().item() for a, b in zip(found, outputs, strict=True)))
    return f"largest difference from PyTorch: {worst:.2g}, measured with {kind.runtime}"


def same(found: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    """Whether nothing but the rounding of a network in `dtype` lies between two outputs."""
    rounding = TOLERANCE[dtype] * max(1.0, expected.abs().max().item())
    return found.shape == expected.shape and torch.allclose(found, expected, rtol=0, atol=rounding, equal_nan=True)


def summary(path: Path, content: bytes, images: Tensor, outputs: list[Tensor], args: dict[str, Any]) -> str:
    """What the file is, in words."""
    opset = f" opset {args['opset']}" if "opset" in args else ""
    sizes = "any batch and size, such as " if args["dynamic"] else ""
    found = ", ".join(f"output{i} {tuple(output.shape)}" for i, output in enumerate(outputs))
    precision = str(images.dtype).removeprefix("torch.")
    return (
        f"{path}: {FORMATS[args['format']].title}{opset}, {len(content) / 1e6:.1f} MB, {sizes}images "
        f"{tuple(images.shape)} {precision} -> {found}"
    )


def cost(network: float, exported: float) -> str:
    """GFLOPs of the file beside the network's, in words."""
    if exported <= 1.01 * network:
        return f"{exported:.2f} GFLOPs an image, as in PyTorch"
    return (
        f"{exported:.2f} GFLOPs an image, in PyTorch {network:.2f}: for batches of any size every expert is computed "
        "on every image; dynamic=False does not need that"
    )


WRITERS: dict[str, Callable] = {"onnx": to_onnx, "torchscript": to_torchscript}
