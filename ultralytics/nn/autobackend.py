"""Networks read from the files that export() writes, or from such files of the public package: ONNX, TorchScript."""

import ast
import copy
import io
import json
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from ultralytics.cfg import TASKS, Options
from ultralytics.cfg.types import FLAG, INVALID, PATH, TEXT, any_of, choice, integer, list_of, optional
from ultralytics.nn.tasks import load_checkpoint
from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import CheckpointError, ConfigError, DeviceError
from ultralytics.utils.files import import_extra
from ultralytics.utils.letterbox import as_shape
from ultralytics.utils.torch_utils import Device, select_device

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def as_list(outputs: Tensor | tuple[Tensor, ...] | list[Tensor]) -> list[Tensor]:
    """Outputs of a network as a list, also where there is only one."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


_COUNT, _SIDE = integer(1, 65_536), integer(32, 65_536)
_METADATA = {  # what is read of it, and its types
    "stride": _COUNT,
    "task": choice(*TASKS),
    "imgsz": optional(any_of(_SIDE, list_of(_SIDE, 2, "[height, width]"))),
    **dict.fromkeys(("batch", "channels"), optional(_COUNT)),
    "kpt_shape": optional(list_of(_COUNT, 2, "[K, D]")),
}
_ARGS = {
    "val_batch": optional(_COUNT),
    "data": optional(any_of(PATH, list_of(PATH))),
    "device": optional(TEXT),
    **dict.fromkeys(("single_cls", "dynamic"), optional(FLAG)),
}


def check_metadata(metadata: object, path: Path) -> dict[str, Any]:
    """Metadata of an exported file, `names` by number and `args` a dict; CheckpointError for what is not of its type.

    Nobody behind this door has to ask.
    """
    known = metadata if isinstance(metadata, dict) else {}
    if missing := [key for key in ("names", "stride", "task") if key not in known]:
        raise CheckpointError(
            f"{path} does not tell its {', '.join(missing)}: write it with model.export(), which stores them"
        )
    known, names, args = dict(known), known["names"], known.get("args") or {}
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, dict) or not names or list(map(str, names)) != list(map(str, range(len(names)))):
        raise CheckpointError(f"{path}: its names are not a text for each number from 0 on; export the network again")
    if not isinstance(args, dict):
        raise CheckpointError(f"{path}: its args are a {type(args).__name__}; export the network again")
    args = dict(args)
    for values, types in ((known, _METADATA), (args, _ARGS)):
        for name in types.keys() & values.keys():
            found, values[name] = values[name], types[name].read(values[name])
            if values[name] is INVALID:
                raise CheckpointError(
                    f"{path}: its metadata have {name}={found!r:.60}, expected {types[name].expected}; export the "
                    "network again"
                )
    if known["task"] == "pose" and not known.get("kpt_shape"):
        raise CheckpointError(f"{path} does not tell its kpt_shape, the number of keypoints: export the network again")
    return known | {"names": {int(i): str(name) for i, name in names.items()}, "args": args}


@contextmanager
def opening(path: Path, content: bytes | None) -> Iterator[None]:
    """Turn whatever a runtime says of a file it cannot read, or of its content, into a CheckpointError of one line."""
    try:
        yield
    except Exception as exc:  # every runtime has errors of its own
        if content is None and not path.exists():
            raise CheckpointError(f"there is no {path}") from exc
        reason = " ".join(str(exc).split())[:200]
        advice = "export the network again" if content is None else "export it with another opset or format"
        raise CheckpointError(f"{path} cannot be read: {reason}; {advice}") from exc


class ExportedNetwork(nn.Module):
    """Network without layers: it answers what the loops ask of every network, and computes.

    `batch` and `size` (height, width) are what the file is made for, None where it takes any. A subclass defines
    `on(device)`, which gets it ready to compute there or raises DeviceError, and `compute(images)`, which gives all
    outputs for images of a shape that the file takes.
    """

    title: str
    runtime: str

    def __init__(self, path: Path, metadata: object) -> None:
        super().__init__()
        self.path = path
        self.metadata = metadata = check_metadata(metadata, path)
        self._args = metadata["args"]  # those of export()
        self.val_batch: int | None = self._args.get("val_batch")  # the batch that training validated with
        self.names: dict[int, str] = metadata["names"]
        self.nc = len(self.names)
        self.kpt_shape = tuple(metadata.get("kpt_shape") or ())
        self.channels = int(metadata.get("channels") or 3)  # of an image
        self.task = str(metadata["task"])
        self.stride = torch.tensor([float(metadata["stride"])])
        self.max_stride = int(self.stride.max())  # pixels, of which image sides are multiples
        self.batch: int | None = None
        self.size: tuple[int, int] | None = None
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    @property
    def saved_options(self) -> dict[str, object]:
        """Options that later calls start from: the image size, and what the weights know of their training."""
        height, width = as_shape(self.size or self.metadata.get("imgsz") or 640)
        kept = {name: self._args[name] for name in ("data", "single_cls") if self._args.get(name)}
        return kept | {"imgsz": height if height == width else [height, width]}

    def constrain(self, options: Options) -> Options:
        """Options of a call with what the file decides, such as the image size, which is then said."""
        if options.half and self.dtype != torch.float16:
            raise ConfigError(f"half=True: {self.path} computes in float32; export it again with half=True")
        if self.size is None:
            return options
        height, width = self.size
        side = height if height == width else [height, width]
        if as_shape(options.imgsz) != self.size:
            LOGGER.warning(f"imgsz={options.imgsz}: {self.path} is made for imgsz={side}, which is used")
        if options.rect and "rect" in options.given:
            LOGGER.warning(f"rect=True: {self.path} takes one image size, which is used; dynamic=True exports any")
        return options.replace(rect=False, imgsz=side)

    def select_device(self, device: Device) -> "ExportedNetwork":
        """Get ready on the device asked for, or, with a warning, on the CPU if none was and the GPU cannot be used."""
        wanted = select_device(device)
        try:
            return self.on(wanted)
        except DeviceError as exc:
            if device is not None:
                raise
            LOGGER.warning(f"{exc}. Continuing with device=cpu.")
            return self.on(torch.device("cpu"))

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Images (B, C, H, W) of any B to the head's outputs."""
        if self.size is not None and tuple(images.shape[2:]) != self.size:
            raise ConfigError(
                f"{self.path} is made for images of {list(self.size)}, not of {list(images.shape[2:])}: resize them, "
                "or export it again with dynamic=True"
            )
        if self.batch is None:
            outputs = self._compute(images)
        else:  # batches of the file's size, the last one filled up with its first image
            parts = []
            for part in images.split(self.batch):
                missing = self.batch - len(part)
                full = torch.cat((part, part[:1].expand(missing, -1, -1, -1))) if missing else part
                parts.append(self._compute(full))
            outputs = [torch.cat(chunks)[: len(images)] for chunks in zip(*parts, strict=True)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _compute(self, images: Tensor) -> list[Tensor]:
        """All outputs, of as many channels as the metadata tell; CheckpointError where the file cannot compute them."""
        try:
            outputs = self.compute(images)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as exc:  # every runtime has errors of its own
            reason = " ".join(str(exc).split())[:200]
            raise CheckpointError(f"{self.path} cannot compute: {reason}; export the network again") from exc
        more = {"segment": [o.shape[1] for o in outputs[1:]], "pose": [math.prod(self.kpt_shape)], "obb": [1]}
        channels = self.nc + (self.task != "classify") * 4 + sum(more.get(self.task, []))
        shapes = [tuple(o.shape[:2]) for o in outputs[:1]]
        if self.metadata.get("end2end"):  # (B, n, 6): boxes that the head has chosen
            channels, shapes = 6, [(len(o), o.shape[-1]) for o in outputs[:1]]
        if shapes != [(len(images), channels)]:
            raise CheckpointError(
                f"{self.path} gives outputs of {[list(o.shape) for o in outputs]}, and its metadata tell of {channels} "
                f"channels, for {self.task} of {self.nc} classes; export the network again"
            )
        return outputs


class OnnxNetwork(ExportedNetwork):
    """An .onnx file in onnxruntime."""

    title, runtime = "ONNX", "onnxruntime"

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """`content` is that of the file, if it is not to be read."""
        self._ort = import_extra("onnxruntime", "export")
        source = str(path) if content is None else content
        with opening(path, content):
            session = self._start(source, "CPUExecutionProvider")
            texts = session.get_modelmeta().custom_metadata_map
            (images,) = session.get_inputs()
            batch, channels, *size = images.shape  # names where any length will do
        metadata: dict[str, object] = dict(texts)
        for key, text in texts.items():  # Python values as they are written down; what is none stays a text
            with suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # the last: brackets
                metadata[key] = ast.literal_eval(text)
        super().__init__(path, metadata)
        self._source, self._session, self._input = source, session, images.name
        self.dtype = torch.float16 if "float16" in images.type else torch.float32
        self.channels = channels if isinstance(channels, int) else self.channels
        self.batch = batch if isinstance(batch, int) else None
        self.size = tuple(size) if all(isinstance(side, int) for side in size) else None

    def _start(self, source: str | bytes, provider: str | tuple[str, dict[str, object]]) -> "InferenceSession":
        """Session on one provider, by name or with its settings, that keeps to torch's number of CPU threads."""
        settings = self._ort.SessionOptions()
        settings.intra_op_num_threads = torch.get_num_threads()
        settings.log_severity_level = 3  # errors
        return self._ort.InferenceSession(source, settings, providers=[provider])

    def on(self, device: torch.device) -> "OnnxNetwork":
        """Get ready on a device, for which onnxruntime must be built (DeviceError)."""
        if device == self.device:
            return self
        name = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device.type)
        if name not in self._ort.get_available_providers():
            raise DeviceError(
                f"device={device}: this onnxruntime computes on "
                f"{', '.join(self._ort.get_available_providers())} only; install onnxruntime-gpu in its place for "
                "CUDA, or use device=cpu"
            )
        settings = {"device_id": device.index or 0} if device.type == "cuda" else {}
        session = self._start(self._source, (name, settings))
        if name not in session.get_providers():  # onnxruntime falls back to the CPU and goes on
            raise DeviceError(
                f"device={device}: onnxruntime could not start {name}; check that its version goes with the "
                "installed CUDA and cuDNN, or use device=cpu"
            )
        self._session = session
        self.device = device
        return self

    def compute(self, images: Tensor) -> list[Tensor]:
        """All outputs; images and outputs pass through memory of the CPU."""
        outputs = self._session.run(None, {self._input: images.contiguous().numpy(force=True)})
        return [torch.from_numpy(output).to(self.device) for output in outputs]


class TorchScriptNetwork(ExportedNetwork):
    """A .torchscript file, which needs only torch."""

    title, runtime = "TorchScript", "torch"

    def __init__(self, path: Path, content: bytes | None = None) -> None:
        """`content` is that of the file, if it is not to be read."""
        extra = {"config.txt": ""}
        source = str(path) if content is None else io.BytesIO(content)
        with opening(path, content), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch recommends torch.export instead
            script = torch.jit.load(source, map_location="cpu", _extra_files=extra)
            metadata = json.loads(extra["config.txt"] or "{}")
        super().__init__(path, metadata)
        self._script = script.eval()
        self.made_on = self._args.get("device") or self.metadata.get("device", "cpu")  # where earlier files have it
        self.dtype = next((p.dtype for p in script.parameters()), torch.float32)
        if "imgsz" in self.metadata and not self._args.get("dynamic"):
            self.batch, self.size = self.metadata.get("batch"), as_shape(self.metadata["imgsz"])

    def on(self, device: torch.device) -> "TorchScriptNetwork":
        """Get ready on a device of the kind the file was made on (DeviceError), which is traced into it."""
        if device.type != self.made_on:
            raise DeviceError(
                f"device={device}: {self.path} is made for {self.made_on}; export it again with device={device}"
            )
        self._script.to(device)
        self.device = device
        return self

    def compute(self, images: Tensor) -> list[Tensor]:
        """All outputs."""
        return as_list(self._script(images))


FORMATS: dict[str, type[ExportedNetwork]] = {"onnx": OnnxNetwork, "torchscript": TorchScriptNetwork}
UNSUPPORTED = (".engine", ".mlpackage", ".tflite", ".pb", ".xml")  # suffixes of formats that are not read


def is_exported(path: Path) -> bool:
    """Whether a file is named like an exported network; a CheckpointError if it is one of a format that is not read."""
    if path.suffix in UNSUPPORTED:
        raise CheckpointError(f"{path}: such files are not read; export the .pt with format={' or '.join(FORMATS)}")
    return path.suffix[1:] in FORMATS


class AutoBackend(nn.Module):
    """A network of any kind of file, or one that is built already, which computes what `YOLO.predict` computes.

    `names`, `task`, `stride` (the largest), `device`, `fp16` and `metadata` are what is known of it, `pt`, `jit` and
    `onnx` tell of which kind it is.
    """

    def __init__(
        self,
        model: str | Path | nn.Module = "yolov8n.pt",
        device: Device = None,
        dnn: bool = False,
        data: str | Path | None = None,
        fp16: bool = False,
        fuse: bool = True,
        verbose: bool = True,
        *,
        weights: str | Path | nn.Module | None = None,
    ) -> None:
        """`weights` is the older name of `model`; `data` is not needed, as every file here names its classes.

        Without `fuse` the norms stay beside the convolutions; `verbose` logs what was opened.
        """
        super().__init__()
        if dnn:
            raise ConfigError("dnn=True: OpenCV's runtime is not used; an .onnx is opened by onnxruntime")
        model = model if weights is None else weights
        self.fp16 = fp16 and select_device(device).type == "cuda"  # elsewhere float32, as in the public package
        network = self._open(model, fuse, select_device(device))
        self.model = network
        self.pt = not isinstance(network, ExportedNetwork)
        self.onnx, self.jit = isinstance(network, OnnxNetwork), isinstance(network, TorchScriptNetwork)
        self.names, self.task, self.stride = network.names, network.task, network.max_stride
        self.metadata = {} if self.pt else dict(network.metadata)
        if verbose:
            LOGGER.info(f"{model if isinstance(model, str | Path) else type(model).__name__}: ready on {self.device}")

    def _open(self, model: str | Path | nn.Module, fuse: bool, device: torch.device) -> nn.Module:
        if not isinstance(model, nn.Module):
            if is_exported(Path(model)):
                return FORMATS[Path(model).suffix[1:]](Path(model)).on(device)
            model, _ = load_checkpoint(model)
        if fuse:
            model = copy.deepcopy(model).fuse(verbose=False)
        return model.to(device, torch.float16 if self.fp16 else torch.float32).eval().requires_grad_(False)

    @property
    def device(self) -> torch.device:
        """Device that it computes on."""
        return self.model.device

    def forward(self, im: Tensor) -> Any:
        """Images (B, C, H, W) in 0..1 to what the head makes of them, of a .pt (decoded, raw)."""
        return self.model(im.to(self.device, self.model.dtype))

    def warmup(self, imgsz: tuple[int, int, int, int] = (1, 3, 640, 640)) -> None:
        """Compute once on an empty image of the network's channels, so that the first real one takes no longer."""
        if self.device.type != "cpu" or self.jit:
            self(torch.zeros(imgsz[0], self.model.channels, *imgsz[2:], device=self.device))

    def from_numpy(self, x: np.ndarray | Tensor) -> Tensor:
        """An array as a tensor on the device."""
        return torch.as_tensor(x).to(self.device)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
