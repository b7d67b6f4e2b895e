"""Norms folded into convolutions, activations done along with them: what changes no output in eval mode."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

from ultralytics.nn.modules.conv import Conv
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import affine

IN_PLACE_SILU = nn.SiLU(inplace=True)  # one instance for all, as Conv.default_act is
ONEDNN_ACTIVATIONS = {nn.SiLU: "swish", nn.ReLU: "relu", nn.Identity: "none"}  # that it does along with a convolution
FORWARD_FUSE = Conv.forward_fuse  # as this tree has it: somebody may replace it


def foldable(model: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(parent, name of the convolution, name of the norm after it) wherever nothing stands between the two.

    That is known of a module that has `forward_fuse`, and of neighbors in a Sequential.
    """
    for parent in model.modules():
        if type(parent) is nn.Sequential:  # a subclass may have a forward of its own
            pairs = pairwise(list(parent._modules))
            if froms := getattr(parent, "froms", None):  # rows of a YAML: the norm takes it, and no other row does
                takes = [(j, one) for j, f in enumerate(froms) for one in (f if isinstance(f, list) else [f])]
                taken = [(j + one if one < 0 else one, j) for j, one in takes]  # (row, a row that takes its output)
                pairs = [(a, b) for a, b in pairs if [j for i, j in taken if i == int(a)] == [int(b)]]
        elif hasattr(parent, "forward_fuse"):
            pairs = [("conv", "bn"), ("conv", "bn1")]
        else:
            continue
        for conv_name, norm_name in pairs:
            conv, norm = parent._modules.get(conv_name), parent._modules.get(norm_name)
            takes_affine = isinstance(conv, nn.Conv2d) or hasattr(conv, "fold_affine")
            # A subclass may do more, as timm's, which has an activation in it; a norm without running statistics
            # computes them from each batch.
            is_plain = isinstance(norm, nn.BatchNorm2d) and type(norm).forward is nn.BatchNorm2d.forward
            if takes_affine and is_plain and norm.running_var is not None:
                yield parent, conv_name, norm_name


def fold_all(model: nn.Module) -> None:
    """Fold every norm that can be, in place; the norms disappear, and of parallel branches one convolution remains.

    That is done on the CPU, as blocks need float64 for it, which MPS does not have.
    """
    device = next(model.parameters(), torch.empty(0)).device
    model.cpu()
    merge_branches(model)  # first: they need their norms for it
    for parent, conv_name, norm_name in list(foldable(model)):
        fold(getattr(parent, conv_name), getattr(parent, norm_name))
        if hasattr(parent, "forward_fuse"):
            delattr(parent, norm_name)
            parent.forward = parent.forward_fuse
            if type(parent).forward_fuse is Conv.forward_fuse and type(parent.act) is nn.SiLU:
                parent.act = IN_PLACE_SILU  # on the output of its convolution, which nobody else has
        else:
            setattr(parent, norm_name, nn.Identity())  # the places of the others in the Sequential stay
    model.to(device)


def merge_branches(module: nn.Module) -> None:
    """Let every block that offers `reparameterize()`, as timm's do, or what others call it, become what it can."""
    if hasattr(module, "reparameterize"):
        module.reparameterize()
    elif hasattr(module, "switch_to_deploy"):  # RepVGG and its like
        module.switch_to_deploy()
    elif hasattr(module, "fuse_convs"):  # RepConv and its like, as pasted files have them
        module.fuse_convs()
        module.forward = module.forward_fuse
    for child in list(module.children()):  # those that are still there
        merge_branches(child)


@torch.no_grad()
def fold(conv: nn.Module, norm: nn.BatchNorm2d) -> None:
    """Make `conv` compute what `norm` after it does, too: a Conv2d, or whatever offers `fold_affine(scale, shift)`."""
    scale, shift = affine(norm)  # (C_out,) float64
    if hasattr(conv, "fold_affine"):
        conv.fold_affine(scale, shift)
        return
    trains, weight = conv.weight.requires_grad, conv.weight
    bias = shift if conv.bias is None else conv.bias.to(scale) * scale + shift
    conv.weight = nn.Parameter((weight.to(scale) * scale.view(-1, 1, 1, 1)).to(weight), trains)
    conv.bias = nn.Parameter(bias.to(weight), trains)


class PackedConv:
    """Convolution and activation of a fused `Conv` as one kernel of oneDNN, float32, on a CPU, without gradients.

    It saves a pass over the map, and reordering the weights for every image: they lie here, a second time, in the order
    of the kernel. torch.compile uses the same operator. Where the kernel cannot do what is asked, and in copies of the
    module, wherever they go, its own `forward_fuse` computes.
    """

    def __init__(self, module: Conv) -> None:
        self.module = module
        self.conv, self.act = module.conv, module.act
        fused_act = ONEDNN_ACTIVATIONS.get(type(module.act))
        self.geometry = self.conv.padding, self.conv.stride, self.conv.dilation, self.conv.groups
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(self.conv.weight.detach().to_mkldnn(), *self.geometry)
        self.bias = self.conv.bias.detach()
        self.fused_act, self.separate_act = fused_act or "none", None if fused_act else self.act

    def __call__(self, x: Tensor) -> Tensor:
        """(B, c1, H, W) to (B, c2, H', W') with channels last."""
        if torch.is_grad_enabled() or x.dim() != 4 or x.dtype != torch.float32 or self._is_watched():
            return self.module.forward_fuse(x)
        y = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *self.geometry, self.fused_act, [], "")
        return y if self.separate_act is None else self.separate_act(y)

    def __reduce__(self) -> tuple:
        return getattr, (self.module, "forward_fuse")

    def _is_watched(self) -> bool:
        """Whether a hook, autocast or a tracer waits for the single steps."""
        hooks = (part._forward_hooks or part._forward_pre_hooks for part in (self.conv, self.act))
        return any(hooks) or torch.is_autocast_enabled("cpu") or torch.jit.is_tracing()


def pack_convolutions(model: nn.Module) -> None:
    """Run each `Conv` of a fused network, in float32 on a CPU, as `PackedConv` does, if torch has the operator."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return
    packed = [module for module in model.modules() if isinstance(module, Conv) and is_packable(module)]
    try:
        kernels = [PackedConv(module) for module in packed]
        with torch.no_grad():
            for kernel in kernels[:1]:
                kernel(torch.zeros(1, kernel.conv.in_channels, 16, 16))
    except (AttributeError, RuntimeError) as exc:  # another processor, or another torch
        LOGGER.debug(f"convolutions are not packed: {exc}")
        return
    for module, kernel in zip(packed, kernels, strict=True):
        module.forward = kernel


def is_packable(module: Conv) -> bool:
    """Whether a module is fused, and computes nothing but its activation of a convolution that oneDNN has."""
    conv, own = module.conv, vars(module)
    if "bn" in own["_modules"] or own.get("forward") != module.forward_fuse:
        return False
    # Neither a subclass with a forward of its own, nor a module or a part of it that somebody has given one.
    replaced = getattr(module.forward_fuse, "__func__", None) is not FORWARD_FUSE or type(conv) is not nn.Conv2d
    if replaced or "forward" in vars(conv) or "forward" in vars(module.act):
        return False
    # Of a single channel, the output would lie in memory otherwise than that of the convolution.
    return conv.in_channels > 1 and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
