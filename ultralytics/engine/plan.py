"""What a run will really do on its device: options that depend on the hardware, resolved once and said aloud."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from ultralytics.utils.errors import ConfigError


@dataclass(frozen=True)
class TrainingPlan:
    """Device-dependent settings of a training run; `notes` says what was asked for and cannot be had."""

    device: torch.device
    amp: torch.dtype | None  # autocast type, None: float32 throughout
    scale_gradients: bool  # fp16 gradients underflow without it
    channels_last: bool
    compile: bool
    notes: tuple[str, ...] = ()

    def autocast(self) -> AbstractContextManager:
        """Context for forward passes."""
        if self.amp is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.amp)


def training_plan(options: Any, device: torch.device) -> TrainingPlan:
    """Resolve amp, channels_last and compile on `device`."""
    notes = []
    amp = {True: torch.float16, False: None, "bf16": torch.bfloat16}[options.amp]
    if amp is torch.float16 and device.type != "cuda":
        amp = None
        if "amp" in options.given:
            notes.append(f"amp=True needs CUDA and is off on {device.type}; amp=bf16 works there")
    inference_dtype(options, device)  # refused now, not when the run ends with its validation
    if device.type == "mps":
        notes.append("device=mps is untested")
    return TrainingPlan(device, amp, amp is torch.float16, options.channels_last, options.compile, tuple(notes))


def inference_dtype(options: Any, device: torch.device) -> torch.dtype:
    """float16 where `half` was asked for and can be had, else float32; half without CUDA is a ConfigError."""
    if options.half and device.type != "cuda":
        raise ConfigError(f"half=True needs CUDA, the device is {device.type}: leave half out")
    return torch.float16 if options.half else torch.float32


def largest_batch(device: torch.device, needed: Any, fraction: float = 0.6) -> int:
    """Largest batch whose training step fits into `fraction` of a CUDA device; 16 on any other.

    `needed(batch)` runs one training step and returns the bytes it took at its peak.
    """
    if device.type != "cuda":
        return 16
    small, large = needed(2), needed(8)
    per_image = max((large - small) / 6, 1.0)
    fixed = small - 2 * per_image
    room = torch.cuda.get_device_properties(device).total_memory * fraction - fixed
    return max(int(room / per_image), 1)


class Deterministic:
    """Asks torch for reproducible kernels while a run lasts, and gives back what was set before."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled

    def __enter__(self) -> None:
        self.mode = torch.get_deterministic_debug_mode()
        self.benchmark = torch.backends.cudnn.benchmark
        if self.enabled:
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.backends.cudnn.benchmark = False

    def __exit__(self, *exc: object) -> None:
        torch.set_deterministic_debug_mode(self.mode)
        torch.backends.cudnn.benchmark = self.benchmark
