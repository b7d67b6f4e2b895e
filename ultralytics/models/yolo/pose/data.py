"""Keypoints of objects: from the rows of label files through all augmentation to the targets of training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch

from ultralytics.data.dataset import box_targets
from ultralytics.data.instances import Instances, Sample, Size
from ultralytics.data.labels.rows import TOLERANCE, ParsedRows, RowError, Rows, check_rows, distinct
from ultralytics.data.utils import DatasetInfo
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.ops import is_kpt_shape


def check_keypoints(data: DatasetInfo) -> None:
    """Refuse a dataset YAML whose kpt_shape, flip_idx, kpt_names or kpt_oks_sigmas cannot be used; DatasetError."""
    file, shape = data["yaml_file"], data.get("kpt_shape")
    if not is_kpt_shape(shape):
        expected = "pose needs `kpt_shape: [points, numbers of each]`, the latter 2 (x, y) or 3 (x, y, visibility)"
        raise DatasetError(f"{file}: {expected}, found {shape!r}")
    points, flip, sigmas = shape[0], data.get("flip_idx"), data.get("kpt_oks_sigmas")
    # By their repr: YAML may hold anything, and True is no point.
    if flip is not None and (not isinstance(flip, list) or sorted(map(repr, flip)) != sorted(map(repr, range(points)))):
        expected = f"each point from 0 to {points - 1} once: the number of the point that takes its place in a mirror"
        raise DatasetError(f"{file}: `flip_idx: {flip}` must name {expected}")
    for i, partner in enumerate(flip or ()):
        if flip[partner] != i:  # a cycle of three or more, which no mirror makes
            LOGGER.warning(
                f"{file}: by `flip_idx: {flip}` a mirror exchanges point {i} for {partner} and {partner} for "
                f"{flip[partner]}; pairs that it exchanges must name each other, so mend this"
            )
            break
    names = data.get("kpt_names")
    for one in names.values() if isinstance(names, dict) else () if names is None else (names,):
        if not isinstance(one, list) or len(one) != points:
            expected = f"{points} names, one a point, or such a list for every class"
            raise DatasetError(f"{file}: `kpt_names: {names}` must be {expected}")
    if sigmas is not None:
        fits = isinstance(sigmas, list) and len(sigmas) == points
        numbers = fits and all(isinstance(v, int | float) and not isinstance(v, bool) for v in sigmas)
        if not numbers or not all(0 < v < np.inf for v in sigmas):
            raise DatasetError(f"{file}: `kpt_oks_sigmas: {sigmas}` must be {points} numbers above 0, one a point")


def parse_keypoint_rows(rows: Rows, nc: int | None, kpt_shape: tuple[int, int] = (17, 3)) -> ParsedRows:
    """Rows `class x y w h` and D numbers of each of K points: x, y and, where D is 3, visibility, 0 for unknown.

    `extra` is (k, K * D). Raises RowError for a row of another length, for a point outside the image, and as
    `check_rows` does; coordinates of points, too, may pass 0 and 1 by 0.01.
    """
    numbers = prod(kpt_shape)
    for index, row in enumerate(rows):
        if len(row) != 5 + numbers:
            place = " ".join(("x", "y", "v")[: kpt_shape[1]])
            expected = f"a row is `class x y w h` and `{place}` of {kpt_shape[0]} points, {5 + numbers} numbers"
            raise RowError(index, f"{len(row)} numbers, but by kpt_shape {list(kpt_shape)} {expected}")
        points = np.array(row[5:]).reshape(kpt_shape)  # (K, D)
        with np.errstate(invalid="ignore"):  # comparisons with NaN, which are false
            good = (points >= -TOLERANCE).all(1) & (points[:, :2] <= 1 + TOLERANCE).all(1) & np.isfinite(points).all(1)
        if not good.all():
            first = int(np.flatnonzero(~good)[0])
            found = " ".join(f"{value:g}" for value in points[first])
            reason = "x and y must lie in 0..1, visibility must not be negative"
            raise RowError(index, f"point {first} is {found}: {reason}")
    values = np.array([row[:5] for row in rows]).reshape(-1, 5)
    check_rows(values[:, 0], values[:, 1:], nc)
    kept = distinct(rows)
    table = np.array([rows[i] for i in kept], np.float32).reshape(-1, 5 + numbers)
    return ParsedRows(table[:, 0], table[:, 1:5], extra=table[:, 5:], duplicates=len(rows) - len(kept))


@dataclass(frozen=True)
class KeypointInstances(Instances):
    """Instances with `keypoints` (k, K, 3): x and y in pixels and visibility, 0 for unlabeled points; float32.

    `flip_idx` (K,) names for each point the one that takes its place in a mirror image; without it images are not
    flipped. `keypoints` is None where a transform has lost them.
    """

    keypoints: np.ndarray | None = None
    flip_idx: tuple[int, ...] = ()

    @property
    def can_be_mirrored(self) -> bool:
        """Whether `flip_idx` is known: without it a flip would confuse left and right points."""
        return bool(self.flip_idx)

    @classmethod
    def concat(cls, parts: Sequence["KeypointInstances"]) -> "KeypointInstances":
        """Instances of several images as those of one."""
        known = [part.keypoints for part in parts if part.keypoints is not None]
        lost = sum(map(len, parts)) != sum(map(len, known))  # a part without objects may well have no keypoints
        points = None if lost or not known else np.concatenate(known)
        flip_idx = next((part.flip_idx for part in parts if part.flip_idx), ())
        return replace(super().concat(parts), keypoints=points, flip_idx=flip_idx)

    def select(self, mask: np.ndarray) -> "KeypointInstances":
        """The instances that `mask` (k,) bool keeps."""
        return replace(super().select(mask), keypoints=None if self.keypoints is None else self.keypoints[mask])

    def clip(self, size: Size) -> "KeypointInstances":
        """Move points outside an image of `size` to its border; keypoints are then no longer visible."""
        clipped = super().clip(size)
        if self.keypoints is None:
            return clipped
        outside = ((self.keypoints[..., :2] < 0) | (self.keypoints[..., :2] > (size[1], size[0]))).any(-1)
        clipped.keypoints[outside, 2] = 0  # a copy, made by `_map`
        return clipped

    def flip(self, size: Size, horizontal: bool) -> "KeypointInstances":
        """Mirror images, as `Instances.flip`; points that `flip_idx` pairs, such as both eyes, are exchanged."""
        flipped = super().flip(size, horizontal)
        if flipped.keypoints is None:
            return flipped
        return replace(flipped, keypoints=flipped.keypoints[:, list(self.flip_idx)])

    def _map(self, move: Callable[[np.ndarray], np.ndarray]) -> "KeypointInstances":
        moved = super()._map(move)
        if self.keypoints is None:
            return moved
        keypoints = self.keypoints.copy()  # (k, K, 3)
        keypoints[..., :2] = move(keypoints[..., :2].reshape(-1, 2)).reshape(*keypoints.shape[:2], 2)
        return replace(moved, keypoints=keypoints)


def attach_keypoints(
    instances: Instances, numbers: np.ndarray, size: Size, kpt_shape: tuple[int, int], flip_idx: tuple[int, ...]
) -> KeypointInstances:
    """Add the `numbers` (k, K * D) of label rows, as keypoints, to the instances of an image of `size`.

    Where D is 2, points with a coordinate below 0 are not visible.
    """
    points = numbers.reshape(len(instances), *kpt_shape)  # (k, K, D), normalized
    keypoints = np.ones((len(instances), kpt_shape[0], 3), np.float32)
    keypoints[..., :2] = points[..., :2] * np.array((size[1], size[0]), np.float32)
    keypoints[..., 2] = points[..., 2] if kpt_shape[1] == 3 else (points >= 0).all(-1)
    return KeypointInstances(instances.cls, instances.boxes, instances.polygons, keypoints, flip_idx)


def keypoint_targets(samples: Sequence[Sample], points: int) -> dict[str, torch.Tensor]:
    """Targets of `box_targets`, and `keypoints` (N, K, 3): x and y in fractions of W and H, and visibility."""
    parts = [np.empty((0, points, 3), np.float32)]  # so that a batch without objects has the shape, too
    for sample in samples:
        keypoints, (height, width) = sample.instances.keypoints, sample.size
        if keypoints is not None:
            parts.append(keypoints / np.array((width, height, 1), np.float32))
        elif len(sample.instances):
            raise DatasetError(
                f"{sample.im_file}: objects have lost their keypoints; augmentations= that move boxes lose them, so "
                "remove those transforms"
            )
    return box_targets(samples) | {"keypoints": torch.from_numpy(np.concatenate(parts))}
