"""Heat maps of class activation: the places of an image from which the scores of a network come.

They read a network and leave it as it was: no parameter gets a gradient, no norm learns, no hook stays.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ultralytics.nn.features import watching
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.files import nearest

if TYPE_CHECKING:
    from ultralytics.nn.tasks import BaseModel

Layers = int | str | Sequence[int | str] | None


@dataclass(frozen=True)
class Heatmap:
    """Heat map of one image, both as the network saw it: letterboxed, or for classify cropped.

    `map` (H, W) in 0..1, `image` (H, W, 3) uint8 BGR, `path` of the file.
    """

    map: np.ndarray
    image: np.ndarray
    path: str = ""

    def plot(self, alpha: float = 0.5) -> np.ndarray:
        """The image (H, W, 3) BGR with the map in colors, blue to red, laid over it."""
        import cv2

        colors = cv2.applyColorMap((255 * self.map).astype(np.uint8), cv2.COLORMAP_JET)
        return cv2.addWeighted(self.image, 1 - alpha, colors, alpha, 0)

    def save(self, filename: str | Path) -> Path:
        """Write `plot()` to a file and return its path."""
        from ultralytics.utils.plotting import write_image

        return write_image(filename, self.plot())


def gradcam_plus_plus(maps: Tensor, grads: Tensor) -> Tensor:
    """Grad-CAM++ (arXiv 1710.11063): positive gradients of a channel weighted by how alone they are, equation 19."""
    below = 2 * grads**2 + maps.sum((2, 3), keepdim=True) * grads**3
    alpha = torch.where(below == 0, 0, grads**2 / below)
    return ((alpha * grads.relu()).sum((2, 3), keepdim=True) * maps).sum(1)


def eigencam(maps: Tensor, grads: Tensor) -> Tensor:
    """Eigen-CAM (arXiv 2008.00299): the first principal component of the channels, whatever the class.

    Its sign is free; it is that of the stronger activations.
    """
    rows = maps.flatten(2).transpose(1, 2)  # (B, H * W, C)
    centered = rows - rows.mean(1, keepdim=True)
    component = torch.linalg.svd(centered, full_matrices=False).Vh[:, :1].transpose(1, 2)  # (B, C, 1)
    projected, strength = (centered @ component).squeeze(2), centered.norm(dim=2)
    sign = ((projected * (strength - strength.mean(1, keepdim=True))).sum(1, keepdim=True)).sign()
    return (projected * torch.where(sign == 0, 1, sign)).view_as(maps[:, 0])


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # maps (B, C, h, w) and their gradients to (B, h, w)
    # LayerCAM (IEEE TIP 2021): every place of a channel weighted by its own positive gradient.
    "layercam": lambda maps, grads: (grads.relu() * maps).sum(1),
    # Grad-CAM (arXiv 1610.02391): every channel weighted by the mean of its gradient.
    "gradcam": lambda maps, grads: (grads.mean((2, 3), keepdim=True) * maps).sum(1),
    "gradcam++": gradcam_plus_plus,
    "eigencam": eigencam,
}


def explain(
    network: "BaseModel",
    images: Tensor,
    logits: Callable[[Any], Tensor],
    layer: Layers = None,
    method: str = "layercam",
    classes: Sequence[int] | None = None,
    conf: float = 0.25,
) -> Tensor:
    """Heat maps (B, H, W), each in 0..1, of images (B, 3, H, W) for a network in eval mode.

    What is explained is the sum of the logits of all predictions more confident than `conf` before NMS, or where there
    are none of the most confident, for the `classes` or for any. `logits` takes the network's outputs to (B, nc, A).
    Maps of several layers, by default those of `default_layers`, are averaged, each in 0..1.
    """
    if method not in METHODS:
        raise ConfigError(f"method={method!r}: expected one of {', '.join(METHODS)}")
    if method == "eigencam" and classes is not None:
        raise ConfigError("classes: eigencam explains no class, but what a layer holds at all; leave classes out")
    layers = default_layers(network, images) if layer is None else find_layers(network, layer)
    with torch.enable_grad(), captured(layers) as maps:
        scores = logits(network(images))
        known = [c for c in range(scores.shape[1]) if classes is None or c in classes]
        if not known:
            raise ConfigError(f"classes={list(classes)}: the network has the classes 0 to {scores.shape[1] - 1}")
        best = scores[:, known].float().amax(1)  # (B, A)
        explained = (best.sigmoid() > conf) | (best == best.amax(1, keepdim=True))
        grads = torch.autograd.grad(best[explained].sum(), list(maps.values()), allow_unused=True)
    total = images.new_zeros((len(images), *images.shape[2:]), dtype=torch.float32)
    for kept, grad in zip(maps.values(), grads, strict=True):
        if grad is not None:  # the scores do not depend on a layer that only feeds boxes
            heat = METHODS[method](kept.detach().float(), grad.float()).relu()
            total += scaled(F.interpolate(heat[:, None], images.shape[2:], mode="bilinear")[:, 0])
    return scaled(total)


def scaled(heat: Tensor) -> Tensor:
    """Maps (B, H, W) with the minimum of each at 0 and its maximum at 1; one that is the same everywhere is all 0."""
    above = heat - heat.amin((1, 2), keepdim=True)
    largest = above.amax((1, 2), keepdim=True)
    return above / torch.where(largest == 0, 1, largest)


def default_layers(network: "BaseModel", images: Tensor) -> list[nn.Module]:
    """The layers that feed the head; for a head of one input, the last ones of the three coarsest sizes of map.

    The input of a Classify head is 2 x 2 at 64 pixels and tells no places apart.
    """
    head, froms = len(network.model) - 1, network.froms[-1]
    if not isinstance(froms, int):
        return [network.model[f % head if f < 0 else f] for f in froms]
    last: dict[torch.Size, nn.Module] = {}  # by the size of its map

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            last[output.shape[2:]] = layer

    with torch.no_grad(), watching(network.model, note):
        network(images[:1])
    return list(last.values())[-3:]


def find_layers(network: "BaseModel", layer: int | str | Sequence[int | str]) -> list[nn.Module]:
    """Layers by number or name, such as 9, "model.9", "model.9.cv2" or "SPPF", the last one of a class."""
    head = len(network.model) - 1
    found, named = [], dict(network.named_modules())
    rows = {type(row).__name__: row for row in network.model[:head]}
    for wanted in [layer] if isinstance(layer, int | str) else layer:
        name = str(wanted)
        full = name if name.startswith("model.") else f"model.{name}"
        if name in rows or (full in named and full.split(".")[1] != str(head)):
            found.append(rows.get(name) or named[full])
            continue
        near = nearest(name, [*rows, *named])
        raise ModelError(
            f"layer={wanted!r}: the rows before the head are 0 to {head - 1}, parts of them have names such as "
            f"model.{head - 1}.cv2" + (f"; the nearest names are {', '.join(near)}" if near else "")
        )
    return found


@contextmanager
def captured(layers: Sequence[nn.Module]) -> Iterator[dict[nn.Module, Tensor]]:
    """Output maps (B, C, h, w) of layers, as they compute them meanwhile, from where a gradient can be taken."""
    maps: dict[nn.Module, Tensor] = {}

    def keep(layer: nn.Module, args: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            raise ModelError(f"layer {type(layer).__name__} gives no feature map (B, C, H, W), of which to make a map")
        # Nothing before the first of them matters, so the graph of the gradients begins there.
        maps[layer] = output if maps and output.requires_grad else output.detach().requires_grad_()
        return maps[layer].clone()  # an activation behind it may work in place

    hooks = [layer.register_forward_hook(keep) for layer in dict.fromkeys(layers)]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def draw(images: Tensor, heat: Tensor, paths: Sequence[str]) -> list[Heatmap]:
    """Heat maps (B, H, W) with their images (B, C, H, W) RGB or gray 0..1, as objects."""
    images = images.expand(-1, 3, -1, -1)  # also of a gray one
    arrays = (images.float() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).flip(3).cpu().numpy()
    maps = zip(heat.cpu().numpy(), np.ascontiguousarray(arrays), paths, strict=True)
    return [Heatmap(one, image, path) for one, image, path in maps]
