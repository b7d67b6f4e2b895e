"""All labels of a dataset in a handful of arrays, which the workers of a loader share instead of copying."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch

from ultralytics.data.instances import box_corners
from ultralytics.data.labels.rows import TOLERANCE, ParsedRows
from ultralytics.utils.ops import xywh2xyxy

_NO_POINTS = np.empty((0, 2), np.float32)


class Labels(NamedTuple):
    """Instances of one image, float32, normalized: boxes (k, 4) are xywh, each polygon is (p, 2)."""

    cls: np.ndarray  # (k,)
    boxes: np.ndarray
    polygons: list[np.ndarray] | None
    extra: np.ndarray  # (k, m) further numbers of each instance, as the row parser gave them


class LabelStore:
    """Images and their labels, packed; nothing grows with their number but shared tensors.

    `arrays` are the packed arrays themselves, read-only, for saving; `LabelStore(arrays)` is this store again. Of these
    `shapes` (n, 2) int32 holds (height, width) of all n images as they are seen, `cls` (N,) and `boxes` (N, 4) xywh
    normalized, float32, the instances of all of them, image after image. `skipped` holds (file, reason) of the skipped
    images, `duplicates` counts the rows that were dropped.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], skipped: Sequence[tuple[str, str]] = (), duplicates: int = 0
    ) -> None:
        tensors: dict[str, torch.Tensor] = {}
        for name, array in arrays.items():
            tensors[name] = torch.from_numpy(array.copy())
            # Into memory that other processes map instead of copying, or ordinary memory if the system has none left.
            # Now and not when a worker starts: torch would then move it away under the numpy views in use.
            with contextlib.suppress(RuntimeError):
                tensors[name].share_memory_()
        self.__setstate__((tensors, list(skipped), duplicates))

    def __getstate__(self) -> tuple:
        return self._tensors, self.skipped, self.duplicates  # without the views, which would be sent as copies

    def __setstate__(self, state: tuple) -> None:
        self._tensors, self.skipped, self.duplicates = state
        self.arrays: dict[str, np.ndarray] = {name: tensor.numpy() for name, tensor in self._tensors.items()}
        for array in self.arrays.values():
            array.flags.writeable = False
        self.shapes, self.cls, self.boxes = (self.arrays[name] for name in ("shapes", "cls", "boxes"))

    @classmethod
    def pack(
        cls,
        files: Sequence[str],
        shapes: Sequence[tuple[int, int]],
        rows: Sequence[ParsedRows],
        skipped: Sequence[tuple[str, str]] = (),
    ) -> "LabelStore":
        """Store of `files` with their shapes (h, w) and parsed labels, all in one order."""
        names = [os.fsencode(file) for file in files]
        polygons = [p for row in rows for p in (row.polygons or [_NO_POINTS] * len(row.cls))]
        extra = [row.extra for row in rows if row.extra is not None and len(row.extra)]
        arrays = {  # n images, N instances, P points
            "names": np.frombuffer(b"".join(names), np.uint8),
            "name_offsets": _offsets(names),  # (n + 1,)
            "shapes": np.array(shapes, np.int32).reshape(-1, 2),
            "object_offsets": _offsets([row.cls for row in rows]),  # (n + 1,)
            "cls": np.concatenate([np.empty(0, np.float32), *(row.cls for row in rows)]),
            "boxes": np.concatenate([np.empty((0, 4), np.float32), *(row.boxes for row in rows)]),
            "point_offsets": _offsets(polygons),  # (N + 1,)
            "points": np.concatenate([_NO_POINTS, *(p for p in polygons if len(p))]),  # (P, 2)
            "extra": np.concatenate(extra) if extra else np.empty((0, 0), np.float32),  # (N, m)
        }
        return cls(arrays, skipped, sum(row.duplicates for row in rows))

    def __len__(self) -> int:
        return len(self.shapes)

    def file(self, i: int) -> str:
        """Path of image `i`."""
        return os.fsdecode(self.arrays["names"][self._span("name_offsets", i)].tobytes())

    def labels_of(self, i: int) -> Labels:
        """Copies of the labels of image `i`.

        Where some instances of an image have polygons, those of the others are the corners of their boxes.
        """
        span = self._span("object_offsets", i)
        cls, boxes, extra = (array[span].copy() for array in (self.cls, self.boxes, self.arrays["extra"]))
        offsets = self.arrays["point_offsets"][span.start : span.stop + 1]
        if offsets[0] == offsets[-1]:
            return Labels(cls, boxes, None, extra)
        points = np.split(self.arrays["points"][offsets[0] : offsets[-1]], offsets[1:-1] - offsets[0])
        corners = box_corners(xywh2xyxy(boxes))
        polygons = [p.copy() if len(p) else c for p, c in zip(points, corners, strict=True)]
        return Labels(cls, boxes, polygons, extra)

    @property
    def counts(self) -> np.ndarray:
        """Number of instances in each image, (n,)."""
        return np.diff(self.arrays["object_offsets"])

    @property
    def out_of_bounds(self) -> np.ndarray:
        """Indices of the images with a polygon that leaves the image by more than `TOLERANCE`."""
        points = self.arrays["points"]
        found = np.flatnonzero(((points < -TOLERANCE) | (points > 1 + TOLERANCE)).any(1))
        for offsets in ("point_offsets", "object_offsets"):  # points -> their instances -> the images of these
            # "right": of several equal offsets, as empty polygons have them, the last is the one with the point
            found = np.searchsorted(self.arrays[offsets], found, "right") - 1
        return np.unique(found)

    def select(self, indices: Sequence[int] | np.ndarray) -> "LabelStore":
        """Store of these images, in this order; what was skipped or dropped stays as it is."""
        source, indices = self.arrays, np.asarray(indices, np.int64)
        # Images -> their instances -> the points of these, each with the offsets they have among themselves.
        objects, object_offsets = _gather(source["object_offsets"], indices)
        names, name_offsets = _gather(source["name_offsets"], indices)
        points, point_offsets = _gather(source["point_offsets"], objects)
        arrays = {
            "names": source["names"][names],
            "name_offsets": name_offsets,
            "shapes": source["shapes"][indices],
            "object_offsets": object_offsets,
            "point_offsets": point_offsets,
            "points": source["points"][points],
            **{name: source[name][objects] for name in ("cls", "boxes")},
            "extra": source["extra"][objects] if source["extra"].size else source["extra"],
        }
        return LabelStore(arrays, self.skipped, self.duplicates)

    def _span(self, offsets: str, i: int) -> slice:
        """Entries of image `i` among those of all images."""
        found = self.arrays[offsets]
        if not 0 <= i < len(found) - 1:
            raise IndexError(f"{i} is not in 0..{len(found) - 2}")
        return slice(int(found[i]), int(found[i + 1]))


def _offsets(parts: Sequence[Sequence]) -> np.ndarray:
    """Start of each part when they are put together, and at last the end of all, (n + 1,)."""
    return np.cumsum([0, *(len(part) for part in parts)], dtype=np.int64)


def _gather(offsets: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the entries of `indices`, and the offsets of these put together."""
    spans = [range(a, b) for a, b in zip(offsets[indices].tolist(), offsets[indices + 1].tolist(), strict=True)]
    return np.fromiter(chain.from_iterable(spans), np.int64), _offsets(spans)
