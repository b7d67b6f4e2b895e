"""Precision and memory format resolved for a device, the fused copy that predicts, clocks: what all loops share."""

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import chain, islice
from operator import is_
from time import perf_counter
from typing import TypeVar

import torch
from torch import Tensor, nn

from ultralytics.cfg import Options
from ultralytics.nn.fuse import pack_convolutions
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DeviceError, TrainingError
from ultralytics.utils.memory import FREED
from ultralytics.utils.ops import upload
from ultralytics.utils.torch_utils import ModelEMA, select_device

T = TypeVar("T")
TRIED_BATCHES = (2, 4, 8)
HALF_IS_OFF = "half=True needs CUDA and is off on {}"


@dataclass(frozen=True)
class RuntimeSettings:
    """Settings of a training run that depend on its device; `notes` say what was asked for and cannot be had."""

    device: torch.device
    amp: torch.dtype | None  # autocast type, None: float32 throughout
    autocast: Callable[[], AbstractContextManager]  # context for forward passes
    scale_gradients: bool  # float16 gradients underflow without it
    channels_last: bool
    compile: bool
    notes: tuple[str, ...] = ()
    kernels: str = ""  # how a GPU computes, for the log


def resolve_runtime(options: Options, device: torch.device) -> RuntimeSettings:
    """Resolve amp, channels_last and compile on `device`."""
    notes = []
    amp = {True: torch.float16, False: None, "bf16": torch.bfloat16}[options.amp]
    if amp is torch.float16 and device.type != "cuda":
        amp = None
        if "amp" in options.given:
            notes.append(f"amp=True needs CUDA and is off on {device.type}; amp=bf16 works there")
    if amp is torch.bfloat16 and device.type == "cuda":
        with current_device(device):
            if not torch.cuda.is_bf16_supported(including_emulation=False):
                gpu = torch.cuda.get_device_name(device)
                notes.append(f"amp=bf16: {gpu} has no bfloat16 and emulates it, slowly; amp=True is faster there")
    if options.half and device.type != "cuda":
        notes.append(HALF_IS_OFF.format(device.type))
    if device.type == "mps":
        notes.append("device=mps is untested")
    return RuntimeSettings(
        device=device,
        amp=amp,
        autocast=nullcontext if amp is None else partial(torch.autocast, device.type, dtype=amp),
        scale_gradients=amp is torch.float16,
        channels_last=wants_channels_last(options, device),
        compile=options.compile,
        notes=tuple(notes),
        kernels=kernels_line(options) if device.type == "cuda" else "",
    )


def tries_kernels(options: Options) -> bool:
    """Whether cuDNN tries its kernels in a training and keeps the fastest: where they may differ, and sizes do not."""
    return not (options.deterministic or options.multi_scale or options.rect)


def kernels_line(options: Options) -> str:
    """Precision of float32 on a GPU, which is torch's default unless somebody has set it, and choice of kernels."""
    allowed = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    convolutions, products = ("TF32, where the GPU has it," if tf32 else "float32" for tf32 in allowed)
    search = "on" if tries_kernels(options) else "off"
    return f"float32: convolutions in {convolutions} and products in {products}; cudnn.benchmark {search} in training"


def inference_dtype(options: Options, device: torch.device) -> torch.dtype:
    """float16 where `half` was asked for and the device has it, else float32."""
    return torch.float16 if options.half and device.type == "cuda" else torch.float32


def wants_channels_last(options: Options, device: torch.device) -> bool:
    """Whether maps are to lie in memory with the channels of a pixel side by side (NHWC)."""
    return device.type == "cpu" if options.channels_last is None else options.channels_last


def use_channels_last(model: nn.Module, *, own: bool = False) -> bool:
    """Lay out the weights, and by them all maps, with channels last, unless a block cannot take such maps: False.

    Two small images find that out: a `view()` of one's own block fails on them. They pass through a copy, or, where the
    network is nobody else's (`own`), through the network itself: there is no second copy of the weights.
    """
    trial = (model if own else deepcopy(model)).to(memory_format=torch.channels_last).eval()
    for module in trial.modules():  # it is the user's business alone what these do
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    side = 2 * model.max_stride
    images = torch.zeros(2, model.yaml["channels"], side, side, device=model.device, dtype=model.dtype)
    layout = torch.channels_last
    try:
        with torch.random.fork_rng(devices=()), torch.no_grad():
            trial(images)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as exc:
        layout, reason = torch.contiguous_format, str(exc).partition("\n")[0]
        LOGGER.info(f"channels_last is off, as a block does not take maps in that memory format: {reason}")
    model.to(memory_format=layout)
    return layout == torch.channels_last


def lay_out(model: nn.Module, settings: RuntimeSettings) -> RuntimeSettings:
    """Lay out a network that is to train as the settings want it; returns them as they could be kept."""
    return replace(settings, channels_last=settings.channels_last and use_channels_last(model))


def largest_batch(device: torch.device, step_memory: Callable[[int], int], fraction: float = 0.6) -> int:
    """Largest batch whose training step fits into `fraction` of a CUDA device's free memory; 16 on any other device.

    `step_memory(batch)` runs one training step and returns the bytes it took at its peak. Steps of up to 8 images are
    tried; where one of them runs out of memory, the batch is none larger than the last that did not.
    """
    if device.type != "cuda":
        return 16
    peaks: dict[int, int] = {}
    for batch in TRIED_BATCHES:
        try:
            peaks[batch] = step_memory(batch)
        except torch.cuda.OutOfMemoryError:  # noqa: PERF203 (three steps)
            break
    if len(peaks) < 2:
        return max(peaks, default=1)
    small, large = min(peaks), max(peaks)
    per_image = max((peaks[large] - peaks[small]) / (large - small), 1.0)
    fixed = peaks[small] - small * per_image  # weights and what else does not grow with the batch
    free, _ = torch.cuda.mem_get_info(device)
    budget = (free + torch.cuda.memory_reserved(device)) * fraction  # torch's own is free for a step, too
    size = max(int((budget - fixed) / per_image), 1)
    return size if large == TRIED_BATCHES[-1] else min(size, large)


@contextmanager
def norm_advice(options: Options) -> Iterator[None]:
    """Say what to do where a BatchNorm in training gets a single value of each channel, which it cannot normalize."""
    try:
        yield
    except ValueError as exc:
        if "more than 1 value per channel" not in str(exc):
            raise
        raise TrainingError(
            f"a batch of one image has maps of 1 x 1 pixel at imgsz={options.imgsz}, from which no norm can learn: "
            f"raise imgsz, or choose a batch (now {options.batch}) that leaves no single image at the end of an epoch"
        ) from exc


@contextmanager
def training_on(device: torch.device, options: Options, made: dict[str, object]) -> Iterator[None]:
    """Make a device the current one and, if `deterministic`, ask for reproducible kernels; then restore what was set.

    At the end what was `made`, attributes of the trainer, goes to the CPU (`release`).
    """
    mode, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    fill = torch.utils.deterministic.fill_uninitialized_memory
    try:
        torch.backends.cudnn.benchmark = tries_kernels(options)
        if options.deterministic:
            torch.use_deterministic_algorithms(True, warn_only=True)
            # Else torch fills every new tensor, a thousand a step, in case somebody reads what nobody wrote.
            torch.utils.deterministic.fill_uninitialized_memory = False
        with FREED.all_kept(), current_device(device), norm_advice(options):  # on a GPU for the loading of batches
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = fill
        try:
            release(device, made)
        except Exception as exc:  # a GPU that failed, an optimizer of the user's own: no reason to lose the result
            LOGGER.warning(f"not all of the training could be moved off {device}: {exc}")


@contextmanager
def computing_on(device: torch.device, what: str) -> Iterator[None]:
    """Make a device the current one meanwhile; one sentence where its memory runs out.

    `what` is what computes, with the options that make it smaller, such as "validation at batch=32, imgsz=640".
    """
    if device.type == "cpu":
        FREED.keep()
    try:
        with current_device(device):
            yield
    except torch.cuda.OutOfMemoryError as exc:
        raise DeviceError(
            f"CUDA out of memory in {what}: reduce one of them, see by nvidia-smi what else holds it, or use device=cpu"
        ) from exc


def current_device(device: torch.device) -> AbstractContextManager:
    """Context in which a GPU is the current one, which blocks that say "cuda" mean."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def release(device: torch.device, made: dict[str, object]) -> None:
    """Move the networks, tensors and optimizers among attributes to the CPU: their GPU is free for what comes next."""
    if device.type == "cpu":
        return
    for name, value in made.items():
        if isinstance(value, nn.Module | ModelEMA) and not isinstance(value, Movable):  # the user's YOLO stays
            (value.ema if isinstance(value, ModelEMA) else value).cpu()
        elif isinstance(value, Tensor):  # the loss, without its graph
            made[name] = value.detach().cpu()
    for value in made.values():
        if isinstance(value, torch.optim.Optimizer):
            value.load_state_dict(value.state_dict())  # to where the parameters are
    if device.type == "cuda":
        gc.collect()  # hooks and the like refer to each other
        torch.cuda.empty_cache()


class Movable(nn.Module):
    """Module that keeps in `overrides`, options of later calls, which device it was moved to."""

    overrides: dict[str, object]

    def to(self, *args: object, **kwargs: object) -> "Movable":
        """Move the network to a device, such as "cpu" or 0, or to a float type, as `torch.nn.Module.to`.

        Later calls that name no device compute there.
        """
        if args and isinstance(args[0], str | int):
            args = (select_device(args[0]), *args[1:])
        super().to(*args, **kwargs)
        if (device := torch._C._nn._parse_to(*args, **kwargs)[0]) is not None:
            self.overrides["device"] = str(device)
        return self

    def cpu(self) -> "Movable":
        """Move the network to the CPU."""
        return self.to("cpu")

    def cuda(self, device: int | str | torch.device | None = None) -> "Movable":
        """Move the network to a GPU, the first one if none is named."""
        return self.to("cuda" if device is None else device)


class FusedCopy:
    """Fused copy of a network, remade whenever the network has changed.

    Fusing changes a network for good, and the user may want to train it on: so it is done to a copy.
    """

    def __init__(self) -> None:
        self._copy: nn.Module | None = None
        self._parts: list[object] = []
        self._state: tuple[object, ...] = ()

    def get(self, model: nn.Module, device: torch.device, dtype: torch.dtype, channels_last: bool) -> nn.Module:
        """`model` fused on `device` in eval mode; unfused where hooks wait for its layers to be called."""
        modules = [model]
        for module in modules:  # grows meanwhile
            modules.extend(part for part in module._modules.values() if part is not None)
        if any(module._forward_hooks or module._forward_pre_hooks for module in modules):
            return (model if dtype == torch.float32 else deepcopy(model)).to(device, dtype).eval()
        # All layers and their attributes, the same objects as long as none was exchanged.
        parts = list(chain.from_iterable(vars(module).values() for module in modules))
        state = (device, dtype, channels_last, *fingerprint(modules))
        if state != self._state or len(parts) != len(self._parts) or not all(map(is_, parts, self._parts)):
            self._copy = deepcopy(model).eval().cpu().fuse(verbose=False).to(device, dtype)
            self._parts, self._state = parts, state
            is_channels_last = channels_last and use_channels_last(self._copy, own=True)
            if is_channels_last and device.type == "cpu" and dtype == torch.float32:
                pack_convolutions(self._copy)
        self._copy.names = model.names
        return self._copy


def fingerprint(modules: Iterable[nn.Module]) -> tuple[object, ...]:
    """Value that is equal as long as no weight of these modules was written to.

    torch counts writes in `_version`, but not those through `.data`: the tensors' norms and sums tell of these.
    """
    tensors = [
        tensor
        for module in modules
        for tensor in chain(module._parameters.values(), module._buffers.values())
        if tensor is not None
    ]
    with torch.no_grad():
        measures = [t.sum(dtype=torch.float32) for t in tensors if not t.is_floating_point()]
        # One call for all of them, as this is done before every prediction.
        norms = torch._foreach_norm([t for t in tensors if t.is_floating_point()])
        measures += (norm if norm.dtype == torch.float32 else norm.float() for norm in norms)
        values = torch.stack(measures).cpu().numpy().tobytes()
    return (*((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors), values)


class OnItsWay:
    """Values of a GPU on their way to the host, which waits for them only when it reads, best a step later."""

    def __init__(self, values: Tensor) -> None:
        self._copy = values.detach().to("cpu", non_blocking=True)  # into pinned memory
        self._arrived = torch.cuda.Event() if has_streams(values.device) else None
        if self._arrived:
            self._arrived.record()

    def read(self) -> list:
        """The values, once they are there."""
        if self._arrived:
            self._arrived.synchronize()
        return self._copy.tolist()


def sent_ahead(batches: Iterable[T], device: torch.device) -> Iterator[T]:
    """Yield batches; the images of the next are sent to a GPU, on a stream of their own, while one is in use."""
    if not has_streams(device):
        yield from batches
        return
    waiting = deque()
    for batch in batches:
        if holds_images(batch):
            with torch.cuda.stream(copy_stream(device)):
                batch = batch | {"img": upload(batch["img"], device)}  # noqa: PLW2901
        waiting.append(batch)
        if len(waiting) > 1:
            yield _arrived(waiting.popleft(), device)
    if waiting:
        yield _arrived(waiting.popleft(), device)


def holds_images(batch: object) -> bool:
    """Whether a batch has a tensor `img`: one of a pasted dataset may be anything."""
    return isinstance(batch, dict) and isinstance(batch.get("img"), Tensor)


def _arrived(batch: T, device: torch.device) -> T:
    """A batch that the current stream may use from now on."""
    current = torch.cuda.current_stream(device)
    current.wait_stream(copy_stream(device))
    if holds_images(batch):
        batch["img"].record_stream(current)  # its memory is free again only when that is done with it
    return batch


@cache
def copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Stream of the copies to a GPU: one, as torch keeps memory for each."""
    return torch.cuda.Stream(device)


@cache
def has_streams(device: torch.device) -> bool:
    """Whether a device works on streams: a GPU; one that is pretended for a test, without a driver, may have none."""
    try:
        return device.type == "cuda" and torch.cuda.current_stream(device) is not None
    except RuntimeError:
        return False


def seconds(device: torch.device) -> float:
    """Seconds by a clock, once a GPU, whose kernels run behind Python's back, has finished what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


class Stopwatch:
    """Sums of the time spent in named stages."""

    def __init__(self, device: torch.device, stages: Sequence[str]) -> None:
        self.device = device
        self.seconds = dict.fromkeys(stages, 0.0)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = seconds(self.device)
        yield
        self.seconds[stage] += seconds(self.device) - start

    def per_image(self, images: int) -> dict[str, float]:
        """Milliseconds per image by stage."""
        return {stage: 1e3 * spent / max(images, 1) for stage, spent in self.seconds.items()}


def speed_line(speed: dict[str, float]) -> str:
    """Milliseconds by stage as a line for the log."""
    return f"Speed: {', '.join(f'{ms:.1f}ms {stage}' for stage, ms in speed.items())} per image"


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Groups of up to `size` items."""
    items = iter(items)
    while group := list(islice(items, size)):
        yield group
