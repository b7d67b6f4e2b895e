"""The loss of instance segmentation: that of detection, and binary cross entropy on the pixels of each mask."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ultralytics.utils.loss import Matched, v8DetectionLoss
from ultralytics.utils.masks import within

# Masks of an image that are compared at a time. Where there are more, they are computed once more for the gradients
# instead of being kept: of a crowd of 300 objects they take several hundred megabytes an image.
TOGETHER = 256


class v8SegmentationLoss(v8DetectionLoss):
    """Loss of a Segment head on a batch with `masks`, as data/masks.py makes them.

    `sem_loss` is 0: newer networks learn a map of classes, and tables of results have a column for it.
    """

    names = ("box_loss", "seg_loss", "cls_loss", "dfl_loss", "sem_loss")

    def components(self, raw: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        """The losses times their gains, (5,); that of the masks has the gain of the boxes."""
        matched = self.match(raw, batch)
        box, cls, dfl = self.detection_losses(matched)
        seg = self.mask_loss(raw, matched, batch) * self.args.box
        return torch.stack((box, seg, cls, dfl, torch.zeros_like(box)))

    def mask_loss(self, raw: dict[str, Any], matched: Matched, batch: dict[str, Any]) -> Tensor:
        """Mean over the positives: each is to show its object's mask inside its object's box."""
        masks, proto = batch["masks"].to(raw["proto"].device), raw["proto"].float()
        height, width = masks.shape[-2:]
        if proto.shape[-2:] != masks.shape[-2:]:
            proto = F.interpolate(proto, (height, width), mode="bilinear", align_corners=False)
        coefficients = raw["mask_coefficient"].float().transpose(1, 2)  # (B, A, K)
        sides = [side * self.stride[0] for side in raw["feats"][0].shape[-2:]]
        boxes = matched.target.target_bboxes / proto.new_tensor([*sides[::-1], *sides[::-1]])  # (B, A, 4) in 0..1

        total = proto.sum() * 0 + coefficients.sum() * 0  # so that both have gradients where nothing is positive
        for i, positive in enumerate(matched.target.fg_mask):
            mine = masks[i] if self.args.overlap_mask else masks[(batch["batch_idx"] == i).to(masks.device)]
            parts = positive.nonzero().flatten().split(TOGETHER)
            loss = partial(checkpoint, pixel_loss, use_reentrant=False) if len(parts) > 1 else pixel_loss
            for part in parts:
                objects = matched.target.target_gt_idx[i, part]
                total = total + loss(coefficients[i, part], proto[i], mine, objects, boxes[i, part])
        return total / matched.target.fg_mask.sum().clamp(min=1)


def pixel_loss(coefficients: Tensor, proto: Tensor, masks: Tensor, objects: Tensor, boxes: Tensor) -> Tensor:
    """Sum over P predictions of the mean cross entropy of a mask in its box, over the area of that.

    `coefficients` (P, K), `proto` (K, h, w), `boxes` (P, 4) xyxy in 0..1, `objects` (P,) that they are to show, of
    which `masks` has one each (k, h, w), or is a map of their numbers from 1 (h, w). The mean is over the whole image,
    whose pixels outside the box count as 0, so that with the division each object weighs the same.
    """
    height, width = proto.shape[1:]
    own = (masks == objects[:, None, None] + 1 if masks.ndim == 2 else masks[objects]).float()
    logits = (coefficients @ proto.flatten(1)).view_as(own)
    loss = F.binary_cross_entropy_with_logits(logits, own, reduction="none")
    inside = within(boxes * boxes.new_tensor([width, height, width, height]), (height, width))
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return ((loss * inside).mean((1, 2)) / area).sum()
