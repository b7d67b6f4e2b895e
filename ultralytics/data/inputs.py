"""From frames of a source to what a network looks at."""

import numpy as np
import torch
from torch import Tensor

from ultralytics.data.sources import Frame
from ultralytics.utils.letterbox import letterbox_batch


def letterboxed(frames: list[Frame], imgsz: int | list[int], stride: int, rect: bool) -> Tensor:
    """Images (B, 3, H, W) RGB 0..1 float: tensors of one shape that fits the stride as they are, else letterboxed."""
    if (given := given_tensors(frames, stride)) is not None:
        return given
    stacked = letterbox_batch([frame.image for frame in frames], imgsz, stride, rect)
    return torch.from_numpy(np.ascontiguousarray(stacked[..., ::-1].transpose(0, 3, 1, 2))).float() / 255


def given_tensors(frames: list[Frame], stride: int) -> Tensor | None:
    """Frames that came as tensors of one shape that fits the stride, as one (B, 3, H, W); None of any others."""
    shapes = {frame.tensor.shape if frame.tensor is not None else () for frame in frames}
    fit = len(shapes) == 1 and all(shape and not any(side % stride for side in shape[1:]) for shape in shapes)
    return torch.stack([frame.tensor for frame in frames]) if fit else None
