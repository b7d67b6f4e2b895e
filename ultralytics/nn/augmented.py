"""Test-time augmentation: predictions on an image at three sizes, once mirrored, joined before NMS."""

import torch
from torch import Tensor, nn

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.torch_utils import scale_img

PASSES = ((1.0, False), (0.83, True), (0.67, False))  # (factor of the image's size, mirrored left to right)


def predict_augmented(model: nn.Module, images: Tensor) -> Tensor:
    """Decoded predictions (B, 4 + nc, A) of all passes of a detector in eval mode, in pixels of `images` (B, C, H, W).

    Objects look smaller from pass to pass: the first leaves out the coarsest level of the head, which the smaller ones
    cover, the last the finest.
    """
    if any(getattr(module, "end2end", False) for module in model.modules()):
        raise ConfigError("augment=True: passes are joined by NMS, which a head with `end2end: True` does without")
    parts = []
    for ratio, mirrored in PASSES:
        scaled = scale_img(images.flip(3) if mirrored else images, ratio, gs=model.max_stride)
        outputs = model(scaled)
        decoded = outputs[0] if isinstance(outputs, tuple) else outputs
        boxes = decoded[:, :4] / ratio
        if mirrored:
            boxes[:, 0] = images.shape[3] - boxes[:, 0]
        height, width = scaled.shape[2:]
        cells = [round(height / stride) * round(width / stride) for stride in model.stride.tolist()]
        whole = torch.cat((boxes, decoded[:, 4:]), 1)
        parts.append(whole.split(cells, 2) if sum(cells) == whole.shape[2] else (whole,))
    first, *middle, last = parts
    if len(first) > 1:
        first, last = first[:-1], last[1:]
    return torch.cat([*first, *(level for levels in middle for level in levels), *last], 2)
