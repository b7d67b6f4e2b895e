"""The loss of pose estimation: that of detection, and of each keypoint its place and whether it is visible."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ultralytics.utils.keypoints import distance_exponent, oks_sigmas
from ultralytics.utils.loss import Matched, pad_objects, v8DetectionLoss


class v8PoseLoss(v8DetectionLoss):
    """Loss of a Pose head on a batch with `keypoints` (N, K, 3): x and y in shares of W and H, visibility."""

    names = ("box_loss", "pose_loss", "kobj_loss", "cls_loss", "dfl_loss")

    def __init__(self, model: nn.Module, tal_topk: int = 10) -> None:
        """Beside what detection reads, the gains `pose` and `kobj`, and `kpt_oks_sigmas` of the model's YAML."""
        super().__init__(model, tal_topk)
        self.kpt_shape: tuple[int, int] = model.model[-1].kpt_shape
        self.sigmas = oks_sigmas(self.kpt_shape, model.yaml.get("kpt_oks_sigmas"))

    def components(self, raw: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        """The losses times their gains, (5,)."""
        matched = self.match(raw, batch)
        box, cls, dfl = self.detection_losses(matched)
        pose, kobj = self.keypoint_losses(raw, matched, batch)
        return torch.stack((box, pose * self.args.pose, kobj * self.args.kobj, cls, dfl))

    def keypoint_losses(self, raw: dict[str, Any], m: Matched, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """Means over the positives and their points: 1 - similarity of the places, and cross entropy of visibility."""
        kpts = raw["kpts"].float().unflatten(1, self.kpt_shape).permute(0, 3, 1, 2)  # (B, A, K, D)
        positive = m.target.fg_mask
        if not positive.any():
            return kpts.sum() * 0, kpts.sum() * 0
        image, anchor = positive.nonzero(as_tuple=True)  # (P,)
        found, strides = kpts[positive], m.strides[anchor]
        places = found[..., :2] * 2 + (m.anchor_points[anchor] - 0.5)[:, None]
        truth = self.true_keypoints(raw, batch)[image, m.target.target_gt_idx[positive]]  # (P, K, 3)
        seen = (truth[..., 2] != 0).float()
        low, high = (m.target.target_bboxes[positive] / strides).split(2, 1)
        area = (high - low).prod(1)

        squared = (places - truth[..., :2] / strides[:, None]).square().sum(-1)
        distance = distance_exponent(squared, squared.new_tensor(self.sigmas), area + 1e-9)
        share = self.kpt_shape[0] / (seen.sum(1, keepdim=True) + 1e-9)
        pose = (share * (1 - (-distance).exp()) * seen).mean()
        if self.kpt_shape[1] == 2:
            return pose, kpts.sum() * 0
        return pose, F.binary_cross_entropy_with_logits(found[..., 2], seen)

    def true_keypoints(self, raw: dict[str, Any], batch: dict[str, Any]) -> Tensor:
        """The objects' points in pixels, by image as `pad_objects` orders them: (B, M, K, 3)."""
        points = batch["keypoints"].to(raw["kpts"].device).float()
        height, width = (side * self.stride[0] for side in raw["feats"][0].shape[-2:])
        points = points * points.new_tensor((width, height, 1))
        image = batch["batch_idx"].to(points.device).long().view(-1)
        _, padded, _ = pad_objects(image, len(raw["kpts"]), points.new_zeros(len(points), 1), points.flatten(1))
        return padded.unflatten(-1, points.shape[1:])
