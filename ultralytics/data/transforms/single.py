"""Transforms of one image: flips, colors, the random perspective, and the tensors that training gets."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from ultralytics.cfg import get_options
from ultralytics.data.augment import flip, hsv, random_perspective
from ultralytics.data.instances import NO_INSTANCES, Instances, Size, normalized_xywhr
from ultralytics.data.transforms.base import BaseTransform, Labels, Params, drawn_rng, to_sample, update
from ultralytics.data.utils import polygons2masks, polygons2masks_overlap
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.ops import xyxy2ltwh, xyxy2xywh


class RandomFlip(BaseTransform):
    """Mirrors image and instances with probability `p`, left to right or top to bottom.

    Instances with keypoints are mirrored only if it is known which points trade places: by the `flip_idx` given here or
    by their own.
    """

    def __init__(self, p: float = 0.5, direction: str = "horizontal", flip_idx: list[int] | None = None) -> None:
        if direction not in ("horizontal", "vertical"):
            raise ConfigError(f"direction={direction!r}: expected 'horizontal' or 'vertical'")
        if not 0 <= p <= 1:
            raise ConfigError(f"p={p}: a probability is a number from 0 to 1")
        self.p, self.direction, self.flip_idx = p, direction, flip_idx

    def get_params(self, labels: Labels) -> Params:
        """Draw whether to mirror."""
        return {"mirror": drawn_rng().random() < self.p}

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Mirror image and instances."""
        sample = to_sample(labels)
        if self.flip_idx is not None and hasattr(sample.instances, "flip_idx"):
            instances = replace(sample.instances, flip_idx=tuple(self.flip_idx))
            sample = replace(sample, instances=instances)
        mirror = params["mirror"] and sample.instances.can_be_mirrored
        return update(labels, flip(sample, self.direction == "horizontal")) if mirror else labels


class RandomHSV(BaseTransform):
    """Shifts hue by up to `hgain` of the circle, multiplies saturation and value by 1 - gain to 1 + gain."""

    def __init__(self, hgain: float = 0.5, sgain: float = 0.5, vgain: float = 0.5) -> None:
        self.options = get_options({"hsv_h": hgain, "hsv_s": sgain, "hsv_v": vgain})

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Change the colors of the image."""
        labels["img"] = hsv(to_sample(labels), self.options, drawn_rng()).img
        return labels


class RandomPerspective(BaseTransform):
    """Scales, rotates, shears, moves and tilts image and instances about the center, in an image of `size` (w, h).

    Without a size the image keeps its own. Instances of which too little stays in sight are dropped.
    """

    def __init__(
        self, degrees: float = 0.0, translate: float = 0.1, scale: float | tuple[float, float] = 0.5,
        shear: float = 0.0, perspective: float = 0.0, size: tuple[int, int] | None = None,
        preserve_obb: bool = False,
    ) -> None:  # fmt: skip
        if preserve_obb:
            raise ConfigError("preserve_obb=True: instances of obb stay rectangles by themselves, so leave it out")
        scale = list(scale) if isinstance(scale, tuple) else scale
        given = {"degrees": degrees, "translate": translate, "scale": scale, "shear": shear, "perspective": perspective}
        self.options, self.size = get_options(given), size

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Warp image and instances."""
        sample = to_sample(labels)
        size = sample.size if self.size is None else self.size[::-1]
        return update(labels, random_perspective(sample, size, self.options, drawn_rng()))


class Format(BaseTransform):
    """Makes tensors: `img` (C, H, W) RGB, `cls` (k, 1), `bboxes` (k, 4) and, as asked for, masks and keypoints.

    Boxes are of a format xywh (of the center), xyxy or ltwh, in fractions of width and height with `normalize`; with
    `return_obb` rotated ones (k, 5) xywhr. `masks` have H // `mask_ratio` rows: with `mask_overlap` one index map
    (1, h, w), instances sorted by their area in it, otherwise a mask each. With probability `bgr` the image stays BGR.
    """

    FORMATS: ClassVar = {"xywh": xyxy2xywh, "xyxy": np.copy, "ltwh": xyxy2ltwh}

    def __init__(
        self, bbox_format: str = "xywh", normalize: bool = True, return_mask: bool = False,
        return_keypoint: bool = False, return_obb: bool = False, mask_ratio: int = 4, mask_overlap: bool = True,
        batch_idx: bool = True, bgr: float = 0.0,
    ) -> None:  # fmt: skip
        if bbox_format not in self.FORMATS:
            raise ConfigError(f"bbox_format={bbox_format!r}: expected one of {', '.join(self.FORMATS)}")
        self.bbox_format, self.normalize, self.batch_idx, self.bgr = bbox_format, normalize, batch_idx, bgr
        self.return_mask, self.mask_ratio, self.mask_overlap = return_mask, mask_ratio, mask_overlap
        self.return_keypoint, self.return_obb = return_keypoint, return_obb

    def apply(self, labels: Labels, params: Params) -> Labels:
        """Replace image and instances by tensors."""
        img, instances = labels.pop("img"), labels.pop("instances", NO_INSTANCES)
        size = img.shape[:2]
        if img.shape[2] == 3 and drawn_rng().random() >= self.bgr:
            img = img[..., ::-1]
        labels["img"] = torch.from_numpy(np.ascontiguousarray(img.transpose(2, 0, 1)))
        if self.return_mask:
            masks, instances = self._masks(instances, size)
            labels["masks"] = torch.from_numpy(masks)
        labels["cls"] = torch.from_numpy(instances.cls)[:, None]
        unit = np.array((*size[::-1], 1) if self.normalize else (1, 1, 1), np.float32)  # of x, y, visibility
        if self.return_obb:
            boxes = normalized_xywhr(instances, size)
        else:
            boxes = self.FORMATS[self.bbox_format](instances.boxes) / np.tile(unit[:2], 2)
        labels["bboxes"] = torch.from_numpy(boxes)
        if self.return_keypoint:
            keypoints = getattr(instances, "keypoints", None)  # (k, K, 3)
            if keypoints is None:
                raise DatasetError("return_keypoint=True: these instances have no keypoints")
            labels["keypoints"] = torch.from_numpy(keypoints / unit)
        if self.batch_idx:
            labels["batch_idx"] = torch.zeros(len(instances))
        return labels

    def _masks(self, instances: Instances, size: Size) -> tuple[np.ndarray, Instances]:
        """Masks, and the instances in their order."""
        if not instances.has_polygon.all():
            raise DatasetError("return_mask=True: these instances have no polygons")
        polygons = instances.polygons.split() if instances.polygons is not None else []
        if not self.mask_overlap:
            return polygons2masks(size, polygons, downsample_ratio=self.mask_ratio), instances
        index_map, order = polygons2masks_overlap(size, polygons, self.mask_ratio)
        parts = [instances.select(np.arange(len(instances)) == i) for i in order]
        return index_map[None], type(instances).concat(parts) if parts else instances
