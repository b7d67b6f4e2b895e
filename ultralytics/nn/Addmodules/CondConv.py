"""Parts of dynamic convolutions: a router that weights experts, a convolution with a kernel for every image.

CondConv (arXiv 1904.04971), Dynamic Convolution (arXiv 1912.03458), ParameterNet (arXiv 2306.14525). Maps are
(B, C, H, W), E is the number of experts.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.utils.processes import batch_statistics
from ultralytics.utils.torch_utils import without_autocast

__all__ = ["CondConv2d", "Router"]

ROUTERS = ("sigmoid", "softmax")
MOMENTUM, EPS = 0.1, 1e-5  # of a router's running statistics
Padding = str | int | tuple[int, int] | None


def at_least_float32(x: Tensor) -> Tensor:
    """`x` itself, or float32 where it is half or bfloat16."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def project(linear: nn.Linear, x: Tensor) -> Tensor:
    """Output of a linear layer for (B, in_features), at least in float32."""
    return F.linear(x, at_least_float32(linear.weight), at_least_float32(linear.bias))


class Router(nn.Linear):
    """Routing weights of each image, one an expert, from the means of its channels: (B, C, H, W) to (B, E).

    `router`: 'sigmoid', experts are weighted one by one (ParameterNet), or 'softmax', they compete (Dynamic
    Convolution, arXiv 1912.03458). The logits of a softmax are divided by `temperature`: high, it lets all experts
    learn before some are chosen. With `anneal_epochs` a training run lowers it in even steps to 1, reached that many
    epochs after the first, at the latest in the last. The bias is in the optimizer's group of biases, as every
    parameter of that name: its warm-up starts at warmup_bias_lr, which moves the weights of all images alike.

    The means of channels after an activation differ far more from each other than from image to image, and the weights
    that a router makes of them hardly differ at all. With `standardize` it sees instead how each mean deviates from
    what it is over the images of training, in running statistics, so that batches of one image can be trained on.

    A subclass may put a layer between the means of `channels` and the `in_features` that logits are made of.
    """

    def __init__(
        self,
        in_features: int,
        num_experts: int,
        router: str = "sigmoid",
        temperature: float = 1.0,
        anneal_epochs: int = 0,
        standardize: bool = False,
        channels: int | None = None,
    ) -> None:
        if router not in ROUTERS:
            raise ValueError(f"router must be one of {', '.join(ROUTERS)}, not {router!r}")
        if type(num_experts) is not int or num_experts < 1:
            raise ValueError(f"num_experts must be a whole number from 1, not {num_experts!r}")
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
            raise ValueError(f"temperature must be a number above 0, such as 30, not {temperature!r}")
        if type(anneal_epochs) is not int or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be a whole number of epochs, not {anneal_epochs!r}")
        if router == "sigmoid" and (temperature != 1 or anneal_epochs):
            raise ValueError("temperature and anneal_epochs are a softmax's: add router: softmax")
        if anneal_epochs and temperature <= 1:
            raise ValueError(f"anneal_epochs lowers the temperature to 1, so that must be above 1, not {temperature!r}")
        if type(standardize) is not bool:
            raise ValueError(f"standardize must be True or False, not {standardize!r}")
        super().__init__(in_features, num_experts)
        self.first_temperature, self.anneal_epochs = float(temperature), anneal_epochs
        # Weight of every expert while weight and bias are 0, about so at initialization.
        self.even_weight = 0.5 if router == "sigmoid" else 1 / num_experts
        self.gain = 1.0  # what a kernel is scaled by besides, while all is 0: a subclass may weight more than experts
        # A buffer, so that the average of a training run, its checkpoints and a resumed run have it too.
        self.register_buffer("temperature", torch.tensor(float(temperature)) if router == "softmax" else None)
        channels = channels or in_features
        self.register_buffer("running_mean", torch.zeros(channels) if standardize else None)
        self.register_buffer("running_var", torch.ones(channels) if standardize else None)

    def set_epoch(self, epoch: int, epochs: int) -> None:
        """Set the temperature of an epoch, counted from 0; the trainer calls this before each of `epochs`."""
        if self.anneal_epochs:
            steps = max(min(self.anneal_epochs, epochs - 1), 1)  # 1 is reached in the last epoch at the latest
            left = max(1 - epoch / steps, 0)
            self.temperature.fill_(1 + left * (self.first_temperature - 1))

    def zero(self) -> None:
        """Give every image the same weights."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, E) in 0..1, float32 whatever the rest is in."""
        with without_autocast(x.device):
            return self.weights(self.pool(x))

    def pool(self, x: Tensor) -> Tensor:
        """Means (B, C) over the places of a map, float32; standardized where that is asked for."""
        pooled = x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))
        if self.running_mean is None:
            return pooled
        # Means as deviations from their running mean, in standard deviations.
        mean, var = at_least_float32(self.running_mean), at_least_float32(self.running_var)
        if self.training and self.weight.requires_grad:  # in a frozen row they are as fixed as its weights
            with torch.no_grad():  # of a mixture, MOMENTUM of it this batch and the rest all before
                batch_mean, batch_var = batch_statistics(pooled)
                step = batch_mean - mean
                spread = MOMENTUM * (1 - MOMENTUM) * step**2  # of the two means of the mixture
                var = torch.lerp(var, batch_var, MOMENTUM) + spread
                mean = mean + MOMENTUM * step
                self.running_mean.copy_(mean)
                self.running_var.copy_(var)
        return (pooled - mean) * (var + EPS).rsqrt()

    def weights(self, features: Tensor) -> Tensor:
        """Weights (B, E) of the experts in 0..1 for features (B, in_features)."""
        logits = project(self, features)
        return logits.sigmoid() if self.temperature is None else (logits / self.temperature).softmax(1)


class CondConv2d(nn.Module):
    """Convolution by a mixture of E kernels, whose weights for each image come in beside the map.

    Names, shapes and initialization are those of timm's layer of the same name: `weight` (E, C_out * C_in/g * kh * kw),
    `bias` (E, C_out). `padding`: a number, a pair, `''` for symmetric, `'valid'` for none, `'same'` for TensorFlow's.
    With `portable` the kernels it convolves with are constants, for E times the cost: exported graphs need that where
    their batch is dynamic, or where their reader takes no computed kernels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "",
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = False,
        num_experts: int = 4,
    ) -> None:
        super().__init__()
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{in_channels} to {out_channels} channels cannot be split into {groups} groups")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride, self.dilation = (  # (rows, columns) each
            (value, value) if isinstance(value, int) else tuple(value) for value in (kernel_size, stride, dilation)
        )
        self.padding, self.pad_same = self._resolve_padding(padding)
        self.num_experts, self.portable = num_experts, False
        self.weight_shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(num_experts, math.prod(self.weight_shape)))
        self.bias = nn.Parameter(torch.empty(num_experts, out_channels)) if bias else None
        self.register_parameter("shift", None)  # (C_out,) the same for every image; there once a norm is folded in
        self.reset_parameters()

    def _resolve_padding(self, padding: Padding) -> tuple[tuple[int, int], bool]:
        """Fixed padding (rows, columns), and whether more is needed that depends on the size of the input."""
        if padding is not None and not isinstance(padding, str):
            return ((padding, padding) if isinstance(padding, int) else tuple(padding)), False
        kind = (padding or "").lower()
        if kind not in ("", "same", "valid"):
            raise ValueError(f"padding must be a number, '', 'same' or 'valid', not {padding!r}")
        sides = list(zip(self.kernel_size, self.stride, self.dilation, strict=True))
        symmetric_is_same = all(s == 1 and d * (k - 1) % 2 == 0 for k, s, d in sides)
        if kind == "valid" or (kind == "same" and not symmetric_is_same):
            return (0, 0), kind == "same"
        return tuple((s - 1 + d * (k - 1)) // 2 for k, s, d in sides), False

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw each expert like a convolution of its own: on the whole bank, weights come out sqrt(C_out) too small."""
        # As nn.Conv2d does: a = sqrt(5) gives the weights the same bound as the bias, 1 / sqrt(fan_in).
        bound = 1 / math.sqrt(math.prod(self.weight_shape[1:]))
        for expert in self.weight:
            nn.init.kaiming_uniform_(expert.view(self.weight_shape), a=math.sqrt(5))
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    @torch.no_grad()
    def fill_experts(
        self, weight: Tensor, bias: Tensor | None, noise: float, generator: torch.Generator | None = None
    ) -> None:
        """Give every expert this kernel (C_out, C_in/g, kh, kw) and bias (C_out,), zero for None.

        Kernels differ by noise that sums to zero over the experts; `noise` is its standard deviation, relative to that
        of the kernel.
        Raises ValueError where the shapes do not fit, or a bias has no place.
        """
        if weight.shape != self.weight_shape:
            raise ValueError(f"the experts are {self.weight_shape}, the kernel is {tuple(weight.shape)}")
        if bias is not None and self.bias is None:
            raise ValueError("these experts have no bias to take one over: build the layer with bias: True")
        # Drawn on the CPU, where a seed gives the same noise on every device.
        difference = torch.randn(self.weight.shape, generator=generator, dtype=torch.float64)
        difference -= difference.mean(0)
        difference *= noise * weight.double().std(correction=0).cpu()
        self.weight.copy_(weight.double().flatten() + difference.to(weight.device))
        if self.bias is not None:
            self.bias.copy_(torch.zeros(()) if bias is None else bias)
        self.shift = None

    def mix(self, routing_weights: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """One kernel (B, C_out * C_in/g * kh * kw) and one bias (B, C_out) for each image, mixed in float32."""
        alpha = at_least_float32(routing_weights)
        weight = alpha @ at_least_float32(self.weight)
        bias = None if self.bias is None else alpha @ at_least_float32(self.bias)
        if self.shift is not None:
            shift = at_least_float32(self.shift).expand(len(alpha), -1)
            bias = shift if bias is None else bias + shift
        return weight.to(dtype), None if bias is None else bias.to(dtype)

    def forward(self, x: Tensor, routing_weights: Tensor) -> Tensor:
        """(B, C_in, H, W) and (B, E) to (B, C_out, H', W')."""
        if self.pad_same:
            x = self._pad_same(x)
        if self.portable:
            return self._by_constant_kernels(x, routing_weights)
        with without_autocast(x.device):
            weight, bias = self.mix(routing_weights, x.dtype)
        # Whether the channels of a pixel lie side by side in memory, and not the pixels of a channel.
        channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        # The fastest for each case on a CPU, by benchmarks/dynamic_conv.py. On a GPU a loop would launch small kernels.
        if self.kernel_size == self.stride == (1, 1) and self.padding == (0, 0) and self.groups == 1:
            return self._pointwise(x, weight, bias, channels_last)
        geometry = self.stride, self.padding, self.dilation
        kernels = weight.view(-1, *self.weight_shape[1:])  # (B * C_out, C_in / g, kh, kw)
        biases = None if bias is None else bias.flatten()
        if len(x) == 1:
            return F.conv2d(x, kernels, biases, *geometry, self.groups)
        if x.device.type == "cpu" and self.groups == 1 and channels_last:
            # A convolution for each image keeps channels last; for a grouped one they would be copied to come first.
            own = [None] * len(x) if biases is None else biases.split(self.out_channels)
            images = zip(x.split(1), kernels.split(self.out_channels), own, strict=True)
            return torch.cat([F.conv2d(*image, *geometry) for image in images])
        # One convolution for all images: each is a group of channels, so that it meets its own kernel.
        y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels, biases, *geometry, len(x) * self.groups)
        y = y.view(len(x), self.out_channels, *y.shape[2:])
        return y.contiguous(memory_format=torch.channels_last) if channels_last else y

    def _pointwise(self, x: Tensor, weight: Tensor, bias: Tensor | None, channels_last: bool) -> Tensor:
        """A matrix product for each image, over the pixels in the order they lie in memory."""
        weight = weight.view(-1, self.out_channels, self.in_channels)
        if channels_last:
            weight, pixels = weight.transpose(1, 2), x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H * W, C_in)
            y = pixels @ weight if bias is None else torch.baddbmm(bias.unsqueeze(1), pixels, weight)
            return y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        pixels = x.flatten(2)  # (B, C_in, H * W)
        y = weight @ pixels if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, pixels)
        return y.unflatten(2, x.shape[2:])

    def _by_constant_kernels(self, x: Tensor, routing_weights: Tensor) -> Tensor:
        """Convolution by the experts as they are, which works on any batch without knowing its size."""
        geometry = self.stride, self.padding, self.dilation
        y = self._sum_experts(x, routing_weights, self.weight_shape[1:], *geometry)
        return self._add_biases(y, routing_weights)

    def _sum_experts(
        self, x: Tensor, routing_weights: Tensor, kernel: tuple[int, int, int], *geometry: int | tuple[int, int]
    ) -> Tensor:
        """Sum of the convolutions by all experts, weighted for each image; `kernel` is (C/g, kh, kw) of x (B, C, H, W).

        `geometry` is stride, padding, dilation.
        """
        alpha, experts = routing_weights.to(x.dtype), self.weight.view(-1, self.out_channels, *kernel)
        if kernel[0] == 1:
            # Depthwise, which is fast: one convolution for each expert is several times cheaper than stacking.
            maps = [F.conv2d(x, experts[e], None, *geometry, self.groups) for e in range(self.num_experts)]
            return sum(alpha[:, e, None, None, None] * expert_map for e, expert_map in enumerate(maps))
        # Every input channel E times, weighted for each expert, and the experts' kernels side by side on them.
        weighted = x.unsqueeze(2) * alpha[:, None, :, None, None]  # (B, C, E, H, W)
        weighted = weighted.reshape(-1, x.shape[1] * self.num_experts, *x.shape[2:])
        stacked = experts.permute(1, 2, 0, 3, 4).reshape(self.out_channels, -1, *kernel[1:])
        return F.conv2d(weighted, stacked, None, *geometry, self.groups)

    def _add_biases(self, y: Tensor, routing_weights: Tensor) -> Tensor:
        """The map with the experts' biases, weighted for each image, and the shift of a folded norm."""
        if self.bias is not None:
            y = y + (routing_weights.to(y.dtype) @ self.bias)[:, :, None, None]
        return y if self.shift is None else y + self.shift[:, None, None]

    def _pad_same(self, x: Tensor) -> Tensor:
        """Padding as TensorFlow's SAME: output ceil(H / stride), the odd pixel below and to the right."""
        missing = [
            max((math.ceil(size / s) - 1) * s + d * (k - 1) + 1 - size, 0)
            for size, k, s, d in zip(x.shape[2:], self.kernel_size, self.stride, self.dilation, strict=True)
        ]
        top, left = missing[0] // 2, missing[1] // 2
        return F.pad(x, (left, missing[1] - left, top, missing[0] - top))

    @torch.no_grad()
    def fold_affine(self, scale: Tensor, shift: Tensor) -> None:
        """Compute y * scale + shift, both (C_out,), exactly: the experts are scaled, the shift is not routed."""
        before = 0 if self.shift is None else self.shift * scale
        # A row of the bank, an expert, holds the kernels of its output channels one after the other.
        self.weight.copy_((self.weight.unflatten(1, (self.out_channels, -1)) * scale.view(-1, 1)).flatten(1))
        if self.bias is not None:
            self.bias.mul_(scale)
        self.shift = nn.Parameter((before + shift).to(self.weight.dtype), requires_grad=self.weight.requires_grad)
