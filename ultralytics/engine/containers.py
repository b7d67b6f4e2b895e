"""Rows of predictions of one picture, on a device or as arrays."""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch

from ultralytics.utils.ops import xyxy2xywh

Array = torch.Tensor | np.ndarray
Rows = TypeVar("Rows", bound="Predictions")


class Predictions:
    """One row per object: `data` (n, …), a tensor or an array; `orig_shape` (height, width) of the picture."""

    def __init__(self, data: Array, orig_shape: tuple[int, int]) -> None:
        self.data = data
        self.orig_shape = orig_shape

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return self.data.shape

    def cpu(self: Rows) -> Rows:
        """The same on the CPU."""
        return self if isinstance(self.data, np.ndarray) else self._with(self.data.cpu())

    def numpy(self: Rows) -> Rows:
        """The same as an array."""
        return self if isinstance(self.data, np.ndarray) else self._with(self.data.detach().cpu().numpy())

    def cuda(self: Rows) -> Rows:
        """The same on the current CUDA device."""
        return self.to("cuda")

    def to(self: Rows, *args: Any, **kwargs: Any) -> Rows:
        """The same on another device or in another float type, as `torch.Tensor.to`."""
        return self._with(torch.as_tensor(self.data).to(*args, **kwargs))

    def _with(self: Rows, data: Array) -> Rows:
        return type(self)(data, self.orig_shape)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self: Rows, index: Any) -> Rows:
        return self._with(self.data[index])

    def __iter__(self: Rows) -> Iterator[Rows]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={tuple(self.shape)}, orig_shape={self.orig_shape}, data=\n{self.data})"


class Probs(Predictions):
    """How likely each class is for the whole picture: (nc,)."""

    @property
    def top1(self) -> int:
        """The likeliest class."""
        return int(self.data.argmax())

    @property
    def top5(self) -> list[int]:
        """The five likeliest classes, or all if there are fewer, best first."""
        values = torch.as_tensor(self.data)
        return values.argsort(dim=-1, descending=True, stable=True)[:5].tolist()

    @property
    def top1conf(self) -> Array:
        """Probability of the likeliest class."""
        return self.data[self.top1]

    @property
    def top5conf(self) -> Array:
        """Probabilities of `top5`."""
        return self.data[self.top5]


class Boxes(Predictions):
    """Boxes (n, 6): x1, y1, x2, y2 in pixels of the original picture, confidence, class.

    (n, 7) has the number of a track before the confidence. A single row (6,) or (7,) becomes (1, 6) or (1, 7).
    """

    def __init__(self, data: Array, orig_shape: tuple[int, int]) -> None:
        data = data[None] if data.ndim == 1 else data
        if data.ndim != 2 or data.shape[1] not in (6, 7):
            raise ValueError(f"boxes have shape {tuple(data.shape)}: expected (n, 6) or, with track numbers, (n, 7)")
        super().__init__(data, orig_shape)

    @property
    def xyxy(self) -> Array:
        """Corners (n, 4), pixels."""
        return self.data[:, :4]

    @property
    def conf(self) -> Array:
        """Confidence (n,)."""
        return self.data[:, -2]

    @property
    def cls(self) -> Array:
        """Class (n,), float."""
        return self.data[:, -1]

    @property
    def is_track(self) -> bool:
        """Whether objects have track numbers."""
        return self.data.shape[1] == 7

    @property
    def id(self) -> Array | None:
        """Track numbers (n,), float, or None."""
        return self.data[:, -3] if self.is_track else None

    @property
    def xywh(self) -> Array:
        """Centre, width and height (n, 4), pixels."""
        return xyxy2xywh(self.xyxy)

    @property
    def xyxyn(self) -> Array:
        """Corners (n, 4), 0..1."""
        return self._normalised(self.xyxy)

    @property
    def xywhn(self) -> Array:
        """Centre, width and height (n, 4), 0..1."""
        return self._normalised(self.xywh)

    def _normalised(self, boxes: Array) -> Array:
        height, width = self.orig_shape
        size = (width, height, width, height)
        return boxes / (boxes.new_tensor(size) if isinstance(boxes, torch.Tensor) else np.array(size, boxes.dtype))
