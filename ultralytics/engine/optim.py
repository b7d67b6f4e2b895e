"""Optimizers and the schedule of their settings."""

import math
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ultralytics.cfg import Options
from ultralytics.utils.errors import TrainingError

FUSED = ("SGD", "Adam", "AdamW")  # those that torch has in one kernel
AUTO_LONG_RUN = 10_000  # optimizer steps above which SGD is chosen


def param_groups(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """Parameters by name, in the order of the model, in three groups.

    `bias` holds every parameter with "bias" in its name, `bn` the others of normalization layers, `weight` the rest:
    only the rest decays. Frozen parameters are among them, so that they can be unfrozen during a run; an optimizer
    passes over what has no gradient.
    """
    groups: dict[str, dict[str, nn.Parameter]] = {"weight": {}, "bn": {}, "bias": {}}
    for name, parameter in model.named_parameters():
        owner = model.get_submodule(name.rpartition(".")[0])
        normalizes = any("Norm" in base.__name__ for base in type(owner).__mro__)
        groups["bias" if "bias" in name else "bn" if normalizes else "weight"][name] = parameter
    return groups


def resolve_optimizer(options: Options, nc: int, images: int, batch: int) -> Options:
    """Options with `optimizer=auto` replaced by a choice: SGD for long runs, AdamW for short ones.

    Values that the user gave are kept.
    """
    if options.optimizer != "auto":
        return options
    steps = math.ceil(images / max(batch, options.nbs)) * options.epochs
    if steps > AUTO_LONG_RUN:
        choice = {"optimizer": "SGD", "lr0": 0.01}
    else:
        choice = {"optimizer": "AdamW", "lr0": round(0.002 * 5 / (4 + nc), 6)}
    choice |= {"momentum": 0.9, "warmup_bias_lr": 0.0}
    return options.replace(**{k: v for k, v in choice.items() if k == "optimizer" or k not in options.given})


def scaled_decay(options: Options, batch: int) -> float:
    """Weight decay of a step: `weight_decay` is meant for `nbs` images, and scaled to those that it really has."""
    accumulate = max(round(options.nbs / batch), 1)
    return options.weight_decay * batch * accumulate / options.nbs


def build_optimizer(model: nn.Module, options: Options, decay: float) -> Optimizer:
    """Optimizer over the three groups of `param_groups`; every group has its `name`."""
    groups = [
        {"name": name, "params": list(parameters.values()), "weight_decay": decay if name == "weight" else 0.0}
        for name, parameters in param_groups(model).items()
    ]
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TrainingError(f"freeze={options.freeze!r} leaves no parameter to train: freeze fewer layers")

    lr, momentum = options.lr0, options.momentum
    # One kernel for all tensors, which also leaves out a step itself whose gradient is not finite. Not on a CPU: there
    # torch 2.14 computes nonsense where a gradient lies in memory otherwise than its parameter.
    fused = options.optimizer in FUSED and all(p.device.type == "cuda" for p in model.parameters())
    kind = {"fused": True} if fused else {}
    if options.optimizer == "SGD":
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0, **kind)
        if fused:  # else a first step that is left out would leave them as the memory was
            for parameter in model.parameters():
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)
        return optimizer
    if options.optimizer == "RMSProp":
        return torch.optim.RMSprop(groups, lr=lr, momentum=momentum)
    return getattr(torch.optim, options.optimizer)(groups, lr=lr, betas=(momentum, 0.999), **kind)  # Adam and the like


def load_optimizer(optimizer: Optimizer, saved: dict) -> None:
    """Continue from the state of an optimizer of the same parameters, which may have had another kind of kernel."""
    if "fused" in optimizer.param_groups[0] and len(saved.get("param_groups", ())) == len(optimizer.param_groups):
        groups = zip(saved["param_groups"], optimizer.param_groups, strict=True)
        saved = saved | {"param_groups": [group | {"fused": own["fused"]} for group, own in groups]}
    optimizer.load_state_dict(saved)
    if optimizer.param_groups[0].get("fused"):  # one kernel takes only what is laid out as its parameter
        for parameter in chain.from_iterable(group["params"] for group in optimizer.param_groups):
            state = optimizer.state.get(parameter, {})
            for name in ("momentum_buffer", "exp_avg", "exp_avg_sq"):
                if state.get(name) is not None:
                    state[name] = like(parameter, state[name])


def like(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy of a value of a parameter's shape that is on its device and lies in memory as it does."""
    return torch.empty_like(parameter, requires_grad=False).copy_(value)


def describe_optimizer(optimizer: Optimizer) -> str:
    """Line for the log: optimizer, its settings, and the number of tensors it trains."""
    first = optimizer.param_groups[0]
    momentum = first["momentum"] if "momentum" in first else first.get("betas", (0,))[0]
    counts = [sum(p.requires_grad for p in group["params"]) for group in optimizer.param_groups]
    names = [group.get("name", "other") for group in optimizer.param_groups]
    tensors = ", ".join(f"{count} {name}" for count, name in zip(counts, names, strict=True))
    decay = f"weight decay {first['weight_decay']:g}"
    return f"{type(optimizer).__name__}(lr={first['lr']:g}, momentum={momentum:g}), {decay}, on {tensors} tensors"


@dataclass(frozen=True)
class Settings:
    """Settings of one iteration."""

    lr: float
    bias_lr: float  # that of the biases, which differs in warm-up
    momentum: float
    accumulate: int  # batches from one optimizer step to the next, counted across epochs


@dataclass(frozen=True)
class Schedule:
    """Settings of every iteration as a function of its number alone, so that a run can be resumed from anywhere."""

    options: Options
    batches: int  # in an epoch
    batch: int

    @property
    def warmup(self) -> int:
        """Iterations of the warm-up, never all of the run."""
        return round(min(self.options.warmup_epochs, self.options.epochs - 1) * self.batches)

    def lr(self, epoch: int) -> float:
        """Learning rate of an epoch once warm: from lr0 to lr0 * lrf, on a line or on half a cosine.

        It changes between epochs alone; during the warm-up `at` climbs to it iteration by iteration.
        """
        o = self.options
        if o.cos_lr:
            return o.lr0 * ((1 - math.cos(math.pi * min(epoch / o.epochs, 1))) / 2 * (o.lrf - 1) + 1)
        return o.lr0 * (max(1 - epoch / o.epochs, 0) * (1 - o.lrf) + o.lrf)

    def at(self, iteration: int) -> Settings:
        """Settings of an iteration, counted from the start of the run."""
        o = self.options
        lr = self.lr(iteration // self.batches)
        warmth = min(iteration / self.warmup, 1.0) if self.warmup > 0 else 1.0
        # A batch smaller than `nbs` is made up for by accumulation, which grows during warm-up.
        accumulate = max(round(interpolate(1, max(round(o.nbs / self.batch), 1), warmth)), 1)
        return Settings(
            lr=interpolate(0.0, lr, warmth),
            bias_lr=interpolate(o.warmup_bias_lr, lr, warmth),
            momentum=interpolate(o.warmup_momentum, o.momentum, warmth),
            accumulate=min(accumulate, self.batches * o.epochs),
        )

    def apply(self, optimizer: Optimizer, iteration: int) -> None:
        """Set learning rates and momentum of the optimizer's groups for an iteration."""
        settings = self.at(iteration)
        for group in optimizer.param_groups:
            group["lr"] = settings.bias_lr if group.get("name") == "bias" else settings.lr
            group["lr"] *= group.get("lr_factor", 1.0)
            if "momentum" in group:
                group["momentum"] = settings.momentum


def keep_proportions(optimizer: Optimizer, lr: float) -> None:
    """Note how the rates of an optimizer, one of a trainer's own, compare with `lr`: the schedule keeps to that."""
    for group in optimizer.param_groups:
        if group["lr"] != lr > 0:
            group["lr_factor"] = group["lr"] / lr


def interpolate(start: float, end: float, fraction: float) -> float:
    """Point at a fraction of the way from start to end; at 1 `end` itself, not almost."""
    return end if fraction == 1 else start + (end - start) * fraction
