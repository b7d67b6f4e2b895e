"""Devices, counts, fusing, seeds and the moving average: tools for any network, under their published names."""

import copy
import math
import os
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from ultralytics.utils import LOGGER, refused
from ultralytics.utils.checkpoint import load_checkpoint, save_checkpoint
from ultralytics.utils.checks import check_gpu, warn_once
from ultralytics.utils.errors import CheckpointError, DeviceError, NoGPUError
from ultralytics.utils.ops import make_divisible  # noqa: F401 (published here as well)
from ultralytics.utils.processes import process_rank

if TYPE_CHECKING:
    from torch.utils.flop_counter import FlopCounterMode

Device = int | str | torch.device | list | tuple | None

# Older code asks for these; requirements.txt asks for a torch that is newer than all of them.
TORCH_1_9 = TORCH_1_10 = TORCH_1_11 = TORCH_1_13 = TORCH_2_0 = TORCH_2_1 = TORCH_2_4 = TORCH_2_8 = TORCH_2_9 = True

__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Context without autocast, for what half precision would round too much; devices that know none are left alone."""
    autocast = torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if autocast else nullcontext()


def device_names(device: Device = None) -> list[str]:
    """Names of the devices that an option lists: ["0", "1"] for "0,1", [0, 1] or "cuda:0,1"; [] for None or ""."""
    text = ",".join(map(str, device)) if isinstance(device, (list, tuple)) else str(device)
    parts = ["".join(c for c in part if c not in "[]() '\"") for part in text.lower().split(",")]
    return ["0" if part == "cuda" else part.removeprefix("cuda:") for part in parts if part not in ("", "none")]


def select_device(device: Device = None, batch: int = 0, newline: bool = False, verbose: bool = True) -> torch.device:
    """Device for 0, "0", [0], "cuda:0", "cpu", "mps"; None or "" takes the first CUDA device, else the CPU.

    In a process that torchrun has started it is that process's own: the one in its place where several are named, else
    as many GPUs further as it is the n-th process of its machine. `batch`, `newline` and `verbose` belong to the public
    signature and change nothing: nothing is logged. Raises DeviceError saying why a device is missing, or what can be
    written; NoGPUError if there is no GPU at all.
    """
    parts = device_names(device)
    name = ",".join(parts)
    local, processes = int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if len(parts) > 1 and len(parts) != processes:
        reason = "several devices are for training" if processes == 1 else f"torchrun has started {processes} processes"
        raise DeviceError(f"device={name}: {reason}; name one, for example device={parts[0]}")
    if len(parts) > 1:
        name = parts[local]
    elif processes > 1 and (not parts or name.isdecimal()):
        name = str(int(name or 0) + local) if parts or torch.cuda.is_available() else "cpu"
    if not name and torch.cuda.is_available():
        try:
            return check_gpu(0)
        except NoGPUError as exc:
            warn_once(f"{exc}. Continuing with device=cpu.")
    if name in ("", "cpu"):
        return torch.device("cpu")

    if name in ("mps", "mps:0"):
        if not torch.backends.mps.is_built():
            raise NoGPUError("device=mps: this torch is built without MPS, which is for macOS; use device=cpu")
        if not torch.backends.mps.is_available():
            raise NoGPUError("device=mps: this Mac offers no MPS device (macOS 12.3 or newer needed); use device=cpu")
        return torch.device("mps")

    if not name.isdecimal():
        raise DeviceError(f"device={device!r}: expected an index such as 0, 'cuda:0', 'cpu', 'mps' or None")
    if torch.version.cuda is None and torch.version.hip is None:  # hip: ROCm, whose devices are called cuda as well
        raise NoGPUError(
            f"device={name}: this torch ({torch.__version__}) is built without CUDA; "
            "install a CUDA build of torch (pytorch.org) or use device=cpu"
        )
    if not torch.cuda.is_available():
        raise NoGPUError(
            f"device={name}: torch {torch.__version__} finds no usable GPU; "
            "check the driver (nvidia-smi) and CUDA_VISIBLE_DEVICES, or use device=cpu"
        )
    return check_gpu(int(name))


def init_seeds(seed: int = 0, deterministic: bool = False) -> None:
    """Seed torch's, NumPy's and Python's generators; `deterministic` also asks for reproducible kernels."""
    torch.manual_seed(seed)  # every device's
    np.random.seed(seed % 2**32)
    random.seed(seed)
    if not deterministic:
        unset_deterministic()
        return
    torch.use_deterministic_algorithms(True, warn_only=True)  # some kernels have no deterministic twin
    torch.backends.cudnn.deterministic = True
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts; without it products cannot be repeated


def unset_deterministic() -> None:
    """Allow kernels that are not reproducible again; the seeds stay."""
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def time_sync(device: torch.device | None = None) -> float:
    """Seconds since the epoch, once a CUDA device has finished what it was given."""
    if torch.cuda.is_available() and (device is None or torch.device(device).type == "cuda"):
        torch.cuda.synchronize(device)
    return time.time()


def autocast(enabled: bool, device: str = "cuda") -> torch.amp.autocast:
    """Context in which forward passes run in mixed precision on a type of device."""
    return torch.amp.autocast(device, enabled=enabled)


smart_inference_mode = torch.inference_mode  # as a decorator, @smart_inference_mode(), it turns autograd off


@contextmanager
def torch_distributed_zero_first(local_rank: int) -> Iterator[None]:
    """Let the first process of each machine go through the block before all others; nothing to a single one."""
    several = process_rank()[1] > 1
    if several and local_rank not in (-1, 0):
        distributed.barrier()
    try:
        yield
    finally:  # an error, too, must not keep the others waiting
        if several and local_rank == 0:
            distributed.barrier()


def is_parallel(model: nn.Module) -> bool:
    """Whether a network is wrapped for several devices."""
    return isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel))


def unwrap_model(m: nn.Module) -> nn.Module:
    """The network inside the wrappers of torch.compile, DataParallel and DistributedDataParallel."""
    while hasattr(m, "_orig_mod") or is_parallel(m):
        m = m._orig_mod if hasattr(m, "_orig_mod") else m.module
    return m


de_parallel = unwrap_model


def get_num_params(model: nn.Module) -> int:
    """Number of parameters."""
    return sum(p.numel() for p in model.parameters())


def get_num_gradients(model: nn.Module) -> int:
    """Number of parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def get_flops(model: nn.Module, imgsz: int | Sequence[int] = 640, ch: int | None = None) -> float:
    """GFLOPs of one image of `ch` channels and size `imgsz` or (height, width): 2 for each multiply-add.

    Matrix products and convolutions count, dynamic and deformable ones included; norms, activations and pooling do
    not. Runs on the meta device, where nothing is computed, unless a block needs real values. Without `ch` the channels
    are those of the network's YAML, or of its first convolution.
    """
    model = unwrap_model(model)
    if ch is None:
        yaml = getattr(model, "yaml", None)
        first = next((m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)), 3)
        ch = yaml.get("channels", first) if isinstance(yaml, dict) else first
    height, width = (imgsz, imgsz) if isinstance(imgsz, int) else imgsz

    def count(network: nn.Module, image: Tensor) -> float:
        network.eval()
        with torch.no_grad(), flop_counter() as counter:
            network(image)
        return counter.get_total_flops() / 1e9

    try:
        return count(_on_meta(model), torch.empty(1, ch, height, width, device="meta"))
    except Exception:  # whatever is wrong with the network itself comes up again here
        like = next(model.parameters())
        return count(copy.deepcopy(model), torch.zeros(1, ch, height, width, device=like.device, dtype=like.dtype))


def flop_counter() -> "FlopCounterMode":
    """Context that counts floating point operations, those of torchvision's deformable convolution too."""
    from torch.utils.flop_counter import FlopCounterMode  # brings triton along where that is installed

    known = {}
    if "torchvision" in sys.modules:  # without it the operator cannot be called
        known[torch.ops.torchvision.deform_conv2d] = (
            # As of a plain convolution; sampling counts as nothing.
            lambda x, weight, *_, out_shape, **__: 2 * out_shape.numel() * weight[1:].numel()
        )
    return FlopCounterMode(display=False, custom_mapping=known)


def _on_meta(model: nn.Module) -> nn.Module:
    """Copy of the modules whose tensors have shapes but no memory; the weights are never duplicated."""
    memo = {}  # of deepcopy, which takes these tensors as already copied
    for t in chain(model.parameters(), model.buffers()):
        shape = torch.empty_like(t, device="meta")
        memo[id(t)] = nn.Parameter(shape, t.requires_grad) if isinstance(t, nn.Parameter) else shape
    twin = copy.deepcopy(model, memo)
    for module in twin.modules():
        if isinstance(module, nn.BatchNorm2d):  # counts as nothing, but on meta would take most of the time
            module.forward = lambda x: x
    return twin


def model_info(
    model: nn.Module, detailed: bool = False, verbose: bool = True, imgsz: int | Sequence[int] = 640
) -> tuple[int, int, int, float]:
    """(layers, parameters, gradients, GFLOPs at `imgsz`); logged with `verbose`, with a row a tensor if `detailed`.

    Layers are all modules, containers and the model itself included, a shared one counted once; parameters that are
    trained count as gradients; GFLOPs are those of `get_flops`.
    """
    model = unwrap_model(model)
    layers = len(list(model.modules()))
    parameters, gradients, gflops = get_num_params(model), get_num_gradients(model), get_flops(model, imgsz)
    if verbose and detailed:
        LOGGER.info(f"{'name':<48} {'trained':>7} {'params':>10} {'shape':>20} {'mean':>10} {'std':>10}")
        for tensor, p in model.named_parameters():
            mean, std = p.detach().float().mean(), p.detach().float().std(correction=0)
            shape = "x".join(map(str, p.shape))
            LOGGER.info(f"{tensor:<48} {p.requires_grad!s:>7} {p.numel():>10,} {shape:>20} {mean:>10.3g} {std:>10.3g}")
    if verbose:
        yaml = getattr(model, "yaml", None)
        file = yaml.get("yaml_file") if isinstance(yaml, dict) else None
        name = Path(file).stem if file else type(model).__name__
        LOGGER.info(f"{name}: {layers} layers, {parameters:,} parameters, {gradients:,} gradients, {gflops:.2f} GFLOPs")
    return layers, parameters, gradients, gflops


get_flops_with_torch_profiler = get_flops  # both count; nothing has to be measured for it


def model_info_for_loggers(trainer: Any) -> dict[str, float]:
    """Costs of a trained network for a logger: parameters, GFLOPs, ms an image in the trainer's last validation."""
    speed = trainer.validator.metrics.speed["inference"] if trainer.validator else math.nan
    counts = {"model/parameters": get_num_params(trainer.model), "model/GFLOPs": round(get_flops(trainer.model), 3)}
    return counts | {"model/speed_PyTorch(ms)": round(speed, 3)}


def profile_ops(
    input: Tensor | Sequence[Tensor], ops: nn.Module | Sequence[nn.Module], n: int = 10, device: Device = None
) -> list[tuple | None]:
    """Cost of modules on inputs, of all with all, logged: (parameters, GFLOPs, GB, ms forward, ms backward, in, out).

    Times are means of `n` passes. A module that cannot take an input gives None, and a warning that says why.
    """
    LOGGER.info(f"{'params':>12}{'GFLOPs':>10}{'GB':>8}{'forward ms':>12}{'backward ms':>12}  input -> output")
    inputs, modules = (v if isinstance(v, (list, tuple)) else [v] for v in (input, ops))
    return [_profile(op, x, n, select_device(device)) for x in inputs for op in modules]


profile = profile_ops  # its older name


def _profile(op: nn.Module, x: Tensor, n: int, device: torch.device) -> tuple | None:
    """Row of `profile_ops` of one module on one input."""
    op, x = op.to(device), x.to(device).detach().requires_grad_()
    try:
        with flop_counter() as counter, torch.no_grad():
            out = op(x)
        forward = backward = 0.0
        for _ in range(n):
            start = time_sync(device)
            y = op(x)
            middle = time_sync(device)
            sum(part.sum() for part in (y if isinstance(y, (list, tuple)) else [y])).backward()
            forward, backward = forward + middle - start, backward + time_sync(device) - middle
    except Exception as exc:  # whatever the module itself raises
        LOGGER.warning(f"{type(op).__name__} on {list(x.shape)}: {exc}")
        return None
    shape = tuple((out[0] if isinstance(out, (list, tuple)) else out).shape)
    gigabytes = torch.cuda.memory_reserved(device) / 1e9 if device.type == "cuda" else 0.0
    row = get_num_params(op), counter.get_total_flops() / 1e9, gigabytes, forward * 1e3 / n, backward * 1e3 / n
    LOGGER.info("%12d%10.4g%8.3f%12.4g%12.4g  %s -> %s", *row, list(x.shape), list(shape))
    return *row, tuple(x.shape), shape


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """(scale, shift), both (C,) float64 on the CPU, as MPS has none, with norm(x) = x * scale + shift in eval mode."""
    scale = torch.rsqrt(norm.running_var.cpu().double() + norm.eps)
    scale = scale if norm.weight is None else scale * norm.weight.to(scale)
    shift = -norm.running_mean.to(scale) * scale
    return scale, shift if norm.bias is None else shift + norm.bias.to(scale)


def fuse_conv_and_bn(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> nn.Conv2d:
    """New convolution that computes bn(conv(x)) as in eval mode; its parameters are not trained."""
    scale, shift = affine(bn)
    return _rescaled(conv, scale.view(-1, 1, 1, 1), scale, shift)


def fuse_deconv_and_bn(deconv: nn.ConvTranspose2d, bn: nn.BatchNorm2d) -> nn.ConvTranspose2d:
    """New transposed convolution that computes bn(deconv(x)) as in eval mode; its parameters are not trained."""
    scale, shift = affine(bn)
    # weight (c1, c2 / g, k, k): the rows of a group of inputs hold the outputs of that group
    rows = scale.view(deconv.groups, 1, -1).expand(-1, deconv.in_channels // deconv.groups, -1)
    return _rescaled(deconv, rows.flatten(0, 1)[..., None, None], scale, shift)


@torch.no_grad()
def _rescaled(conv: nn.Module, weight_scale: Tensor, scale: Tensor, shift: Tensor) -> nn.Module:
    """Frozen copy of a convolution whose output is multiplied by `scale` and moved by `shift`, (c2,) each."""
    fused, like = copy.deepcopy(conv), conv.weight
    bias = shift if conv.bias is None else conv.bias.to(scale) * scale + shift
    # Computed in float64, so that weights and bias are rounded once.
    fused.weight = nn.Parameter((like.to(scale) * weight_scale).to(like))
    fused.bias = nn.Parameter(bias.to(like))
    return fused.requires_grad_(False)


def initialize_weights(model: nn.Module) -> None:
    """Give every BatchNorm2d the eps and momentum of the YOLO family, and let activations work in place."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # PyTorch's own are 1e-5 and 0.1.
            module.eps, module.momentum = 1e-3, 0.03
        elif isinstance(module, (nn.Hardswish, nn.LeakyReLU, nn.ReLU, nn.ReLU6, nn.SiLU)):
            module.inplace = True


def scale_img(img: Tensor, ratio: float = 1.0, same_shape: bool = False, gs: int = 32) -> Tensor:
    """Images (B, C, H, W) resized by `ratio`, padded below and to the right to multiples of `gs`.

    With `same_shape` they are padded to (or, enlarged, cut to) the height and width they had.
    """
    if ratio == 1.0:
        return img
    height, width = img.shape[2:]
    size = int(height * ratio), int(width * ratio)
    resized = F.interpolate(img, size=size, mode="bilinear", align_corners=False)
    if not same_shape:
        height, width = (math.ceil(side * ratio / gs) * gs for side in (height, width))
    return F.pad(resized, (0, width - size[1], 0, height - size[0]), value=0.447)  # 114 / 255: a letterbox's gray


def copy_attr(a: Any, b: Any, include: Collection[str] = (), exclude: Collection[str] = ()) -> None:
    """Give `a` the public attributes of `b`: those in `include` if it names any, without those in `exclude`."""
    for name, value in vars(b).items():
        if (include and name not in include) or name.startswith("_") or name in exclude:
            continue
        setattr(a, name, value)


def intersect_dicts(
    da: Mapping[str, Tensor], db: Mapping[str, Tensor], exclude: Collection[str] = ()
) -> dict[str, Tensor]:
    """Tensors of `da` whose name and shape `db` has too, without names that contain one of `exclude`."""
    return {k: v for k, v in da.items() if k in db and not any(x in k for x in exclude) and v.shape == db[k].shape}


def one_cycle(y1: float = 0.0, y2: float = 1.0, steps: int = 100) -> Callable[[float], float]:
    """Half a cosine wave from `y1` at step 0 to `y2` at `steps` (arXiv 1812.01187)."""
    return lambda x: max((1 - math.cos(x * math.pi / steps)) / 2, 0) * (y2 - y1) + y1


def is_finite(model: nn.Module) -> bool:
    """Whether no parameter or running statistic is NaN or infinite; other buffers, such as masks, may be infinite."""
    statistics = (buffer for name, buffer in model.named_buffers() if "running_" in name)
    found = [tensor.isfinite().all() for tensor in chain(model.parameters(), statistics)]
    return not found or bool(torch.stack(found).all())  # read once, as a GPU is waited for


class ModelEMA:
    """Exponential moving average of a model's weights and statistics; the average is what is validated and saved.

    Its decay grows with the updates, so that early weights, hardly trained, are soon forgotten. `ema` is the averaged
    model in eval mode; from its state dict and `updates` an average can be resumed.
    """

    def __init__(self, model: nn.Module, decay: float = 0.9999, tau: float = 2000, updates: int = 0) -> None:
        """Start from a copy of the model; after `tau` updates the decay has reached 63 % of its final value."""
        model = unwrap_model(model)
        # A tensor that a module keeps from a forward pass cannot be copied with its graph, so it is copied without.
        kept = [v for module in model.modules() for v in vars(module).values() if isinstance(v, Tensor)]
        memo = {id(v): v.detach().clone() for v in kept if not v.is_leaf}
        self.ema = copy.deepcopy(model, memo).eval().requires_grad_(False)
        self.updates = updates
        self.enabled = True
        self.final_decay, self.tau = decay, tau

    def decay(self, updates: int) -> float:
        """Fraction of the average that is kept by the update with this number, counted from 1."""
        return self.final_decay * (1 - math.exp(-updates / self.tau))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move the average towards the model; integer state, such as counters, is copied."""
        if not self.enabled:
            return
        self.updates += 1
        moved, copied = {}, {}  # by address: a tensor that two modules share moves once
        for own, other in zip(self.ema.modules(), unwrap_model(model).modules(), strict=True):  # as state_dict() does
            current = other._parameters | other._buffers
            for name, average in (own._parameters | own._buffers).items():
                if average is not None and name not in own._non_persistent_buffers_set:
                    part = moved if average.is_floating_point() else copied
                    part[average.data_ptr()] = average, current[name]
        averages, values = zip(*moved.values(), strict=True)
        torch._foreach_lerp_(averages, values, 1 - self.decay(self.updates))
        if copied:
            torch._foreach_copy_(*zip(*copied.values(), strict=True))

    def update_attr(
        self, model: nn.Module, include: Collection[str] = (), exclude: Collection[str] = ("process_group", "reducer")
    ) -> None:
        """Give the average the model's attributes, such as `names` and `args`."""
        copy_attr(self.ema, model, include, exclude)


class EarlyStopping:
    """Tells when a training run has gone `patience` epochs without a better fitness; 0 never stops one."""

    def __init__(self, patience: float = 50) -> None:
        self.patience = patience or math.inf
        self.best_fitness, self.best_epoch = 0.0, 0
        self.possible_stop = False  # whether the next epoch may be the last

    def __call__(self, epoch: int, fitness: float | None) -> bool:
        """Whether to stop after `epoch`; a `fitness` of None, without a validation, counts as no epoch at all."""
        if fitness is None:
            return False
        if fitness > self.best_fitness or self.best_fitness == 0:  # 0: early epochs that find nothing cost no patience
            self.best_fitness, self.best_epoch = fitness, epoch
        waited = epoch - self.best_epoch
        self.possible_stop = waited >= self.patience - 1
        if waited >= self.patience:
            LOGGER.info(
                f"early stopping: no improvement since epoch {self.best_epoch + 1} (patience={self.patience:g})"
            )
        return waited >= self.patience


def strip_optimizer(f: str | Path = "best.pt", s: str | Path = "", updates: Mapping[str, Any] | None = None) -> None:
    """Reduce a checkpoint of ours to what predicts, the EMA weights in half precision; `s`: as another file.

    A finished run has done so with its own. `updates` replace fields of the Checkpoint, such as `names`. A file of the
    public package is only ever rewritten as another one, in this tree's format.
    """
    checkpoint = load_checkpoint(f)
    if not s and checkpoint.origin != "native":
        raise CheckpointError(f"{f} was not written by this tree, whose format would replace it: give s='another.pt'")
    save_checkpoint(s or f, replace(checkpoint, training=None, **(updates or {})))


def convert_optimizer_state_dict_to_fp16(state_dict: dict[str, Any]) -> dict[str, Any]:
    """An optimizer's state dict, changed in place: float32 tensors in half precision, where that loses nothing else."""
    # A half counts exactly up to 2048 only, and squares of small gradients are 0 in it.
    exact = {"step", "exp_avg", "exp_avg_sq", "square_avg"}
    for state in state_dict["state"].values():
        for name, value in state.items():
            if name not in exact and isinstance(value, Tensor) and value.dtype is torch.float32:
                state[name] = value.half()
    return state_dict
