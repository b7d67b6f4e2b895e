"""Devices, parameter counts, FLOPs, fusing and the moving average: what the public package publishes here."""

import copy
import math
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DeviceError, NoGPUError

Device = int | str | torch.device | list | tuple | None


def select_device(device: Device = None) -> torch.device:
    """Device for 0, "0", [0], "cuda:0", "cpu", "mps"; None takes the first CUDA device, else the CPU.

    Raises DeviceError saying why a device is not there, or what could have been written; NoGPUError if there is no GPU.
    """
    name = _normalize(device)
    if name == "":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if "," in name:
        raise DeviceError(
            f"device={name}: several devices come later; name one, for example device={name.split(',')[0]}"
        )
    if name == "cpu":
        return torch.device("cpu")
    if name == "mps":
        return _mps()
    if name.isdecimal():
        return _cuda(int(name))
    raise DeviceError(f"device={device!r}: expected an index such as 0, 'cuda:0', 'cpu', 'mps' or None")


def _normalize(device: Device) -> str:
    """Lower-case text without brackets, blanks and the `cuda:` in front of indices."""
    if device is None:
        return ""
    if isinstance(device, (list, tuple)):
        return ",".join(_normalize(d) for d in device)
    text = "".join(c for c in str(device).lower() if c not in "[]() '\"")
    parts = ("0" if part == "cuda" else part.removeprefix("cuda:") for part in text.split(","))
    return ",".join("mps" if part == "mps:0" else part for part in parts if part not in ("", "none"))


def _cuda(index: int) -> torch.device:
    """CUDA (or ROCm) device of an index, if there is one."""
    if torch.version.cuda is None and torch.version.hip is None:
        raise NoGPUError(
            f"device={index}: this torch ({torch.__version__}) is built without CUDA; "
            "install a CUDA build of torch (pytorch.org) or use device=cpu"
        )
    if not torch.cuda.is_available():
        raise NoGPUError(
            f"device={index}: torch {torch.__version__} finds no usable GPU; "
            "check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES, or use device=cpu"
        )
    count = torch.cuda.device_count()
    if index >= count:
        there = "only device 0 is" if count == 1 else f"devices 0 to {count - 1} are"
        raise DeviceError(f"device={index}: there is no such GPU; {there} there")
    return torch.device("cuda", index)


def _mps() -> torch.device:
    """Apple's GPU, if this torch was built for it and the system offers it."""
    if not torch.backends.mps.is_built():
        raise NoGPUError("device=mps: this torch is built without MPS, which is for macOS; use device=cpu")
    if not torch.backends.mps.is_available():
        raise NoGPUError("device=mps: this Mac offers no MPS device (macOS 12.3 or newer needed); use device=cpu")
    return torch.device("mps")


def model_flops(model: nn.Module, imgsz: int | Sequence[int] = 640, ch: int = 3) -> float:
    """GFLOPs of one image of `ch` channels and size `imgsz` or (height, width): 2 for each multiply-add.

    Matrix products and convolutions count, dynamic ones included; norms, activations and pooling do not. Runs on the
    meta device, where nothing is computed, unless a block needs real values.
    """
    height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz
    try:
        return _count(_on_meta(model), torch.empty(1, ch, height, width, device="meta"))
    except Exception:  # whatever is wrong with the network itself comes up again here
        like = next(model.parameters())
        return _count(copy.deepcopy(model), torch.zeros(1, ch, height, width, device=like.device, dtype=like.dtype))


def _on_meta(model: nn.Module) -> nn.Module:
    """A copy of the modules whose tensors have shapes but no memory; the weights are never duplicated."""

    def shape_of(t: Tensor) -> Tensor:
        empty = torch.empty_like(t, device="meta")
        return nn.Parameter(empty, t.requires_grad) if isinstance(t, nn.Parameter) else empty

    tensors = chain(model.parameters(), model.buffers())
    twin = copy.deepcopy(model, {id(t): shape_of(t) for t in tensors})  # deepcopy takes these as already copied
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):  # counts as nothing, but on meta would take most of the time
            module.forward = lambda x: x
    return twin


@torch.no_grad()
def _count(model: nn.Module, image: Tensor) -> float:
    from torch.utils.flop_counter import FlopCounterMode  # brings triton along where that is installed

    model.eval()
    with FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() / 1e9


def model_info(
    model: nn.Module, name: str, ch: int, imgsz: int | list[int] = 640, detailed: bool = False, verbose: bool = True
) -> tuple[int, int, int, float]:
    """(layers, parameters, gradients, GFLOPs at `imgsz`); logged with `verbose`, with a row a tensor if `detailed`.

    Layers are all modules, containers and the model itself included, a shared one counted once. Parameters that are
    trained count as gradients. GFLOPs: utils/flops.py.
    """
    layers = len(list(model.modules()))
    parameters = sum(p.numel() for p in model.parameters())
    gradients = sum(p.numel() for p in model.parameters() if p.requires_grad)
    gflops = model_flops(model, imgsz, ch)
    if verbose and detailed:
        LOGGER.info(f"{'name':<48} {'trained':>7} {'params':>10} {'shape':>20} {'mean':>10} {'std':>10}")
        for tensor, p in model.named_parameters():
            mean, std = p.detach().float().mean(), p.detach().float().std(correction=0)
            shape = "x".join(map(str, p.shape))
            LOGGER.info(f"{tensor:<48} {p.requires_grad!s:>7} {p.numel():>10,} {shape:>20} {mean:>10.3g} {std:>10.3g}")
    if verbose:
        LOGGER.info(f"{name}: {layers} layers, {parameters:,} parameters, {gradients:,} gradients, {gflops:.2f} GFLOPs")
    return layers, parameters, gradients, gflops


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(scale, shift), both (C,) float64, with norm(x) = x * scale + shift in eval mode."""
    scale = torch.rsqrt(norm.running_var.double() + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight.double()
    shift = -norm.running_mean.double() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.double()


class ModelEMA:
    """Exponential moving average of a model's weights and statistics; the average is what is validated and saved.

    Its decay grows with the updates, so that early weights, hardly trained, are soon forgotten. `ema` is the averaged
    model in eval mode; with its state dict and `updates` an average goes on where it was.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000) -> None:
        """Start from a copy of the model; after `tau` updates 63 % of the final decay are reached."""
        self.ema = copy.deepcopy(model, _detached(model)).eval().requires_grad_(False)
        self.updates = 0
        self.final_decay, self.tau = decay, tau

    def decay(self, updates: int) -> float:
        """Share of the average that the update with this number keeps, counted from 1."""
        return self.final_decay * (1 - math.exp(-updates / self.tau))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model; whole-number state, such as counters, is taken over."""
        self.updates += 1
        current = model.state_dict()
        floating = {}  # by address: a tensor that two modules share moves once
        for name, average in self.ema.state_dict().items():
            if average.is_floating_point():
                floating[average.data_ptr()] = average, current[name]
            else:
                average.copy_(current[name])
        averages, values = zip(*floating.values(), strict=True)
        torch._foreach_lerp_(averages, values, 1 - self.decay(self.updates))


def _detached(model: nn.Module) -> dict[int, Tensor]:
    """Memo for `deepcopy`: tensors that a module keeps from a forward pass, which cannot be copied with their graph."""
    kept = (value for module in model.modules() for value in vars(module).values())
    return {id(value): value.detach().clone() for value in kept if isinstance(value, Tensor) and not value.is_leaf}
