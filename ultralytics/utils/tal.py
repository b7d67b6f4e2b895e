"""Anchor points, boxes as distances from them, and the task-aligned assignment of objects to them.

Legend: B images, M objects of an image (padded), N objects of the batch (not padded), A anchor points of all levels,
P pairs of an object and an anchor point inside it.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ultralytics.utils import refused
from ultralytics.utils.metrics import bbox_iou, probiou
from ultralytics.utils.ops import to_box_frame, true_places
from ultralytics.utils.torch_utils import TORCH_1_10  # noqa: F401 (heads import it from here)


def make_anchors(
    feats: Sequence[Tensor], strides: Tensor | Sequence[float], grid_cell_offset: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Cell centers of every level, (A, 2) xy in units of the level's stride, and the strides themselves, (A, 1) pixels.

    `feats` are the levels' maps (..., H, W), of which only shape, device and dtype are read. Never below float32: a
    bfloat16 has no 128.5, so anchor points would slip by half a cell.
    """
    like = {"device": feats[0].device, "dtype": torch.promote_types(feats[0].dtype, torch.float32)}
    points, sizes = [], []
    for feat, stride in zip(feats, strides, strict=True):
        h, w = feat.shape[-2:]
        rows, columns = (torch.arange(side, **like) + grid_cell_offset for side in (h, w))
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack((x, y), -1).view(-1, 2))
        sizes.append(torch.ones((h * w, 1), **like) * stride)
    return torch.cat(points), torch.cat(sizes)


def dist2bbox(distance: Tensor, anchor_points: Tensor, xywh: bool = True, dim: int = -1) -> Tensor:
    """Boxes, xywh or xyxy along `dim`, from the distances left, top, right, bottom of their anchor points.

    `distance` (..., 4) and `anchor_points` (..., 2) broadcast, or have 4 and 2 at `dim`; all in the same unit.
    """
    left_top, right_bottom = distance.chunk(2, dim)
    top_left, bottom_right = anchor_points - left_top, anchor_points + right_bottom
    if xywh:
        return torch.cat(((top_left + bottom_right) / 2, bottom_right - top_left), dim)
    return torch.cat((top_left, bottom_right), dim)


def bbox2dist(anchor_points: Tensor, bbox: Tensor, reg_max: float | None = None) -> Tensor:
    """Distances left, top, right, bottom (..., 4) from anchor points (..., 2) to the sides of xyxy boxes.

    With `reg_max`, the last bin, clamped to [0, reg_max - 0.01], so that a bin above always exists.
    """
    top_left, bottom_right = bbox.chunk(2, -1)
    distance = torch.cat((anchor_points - top_left, bottom_right - anchor_points), -1)
    return distance if reg_max is None else distance.clamp(0, reg_max - 0.01)


def dist2rbox(pred_dist: Tensor, pred_angle: Tensor, anchor_points: Tensor, dim: int = -1) -> Tensor:
    """Center, width and height along `dim` from the distances left, top, right, bottom of their anchor points.

    The distances are measured along the axes of the box, which `pred_angle` (size 1 along `dim`, radians) rotates.
    """
    dim %= pred_dist.ndim
    left_top, right_bottom = pred_dist.chunk(2, dim)
    offset = (right_bottom - left_top) / 2  # of the center, along the box's axes
    cos, sin = pred_angle.cos(), pred_angle.sin()
    rotation = torch.stack((torch.cat((cos, -sin), dim), torch.cat((sin, cos), dim)), dim)
    # By a matrix: from x and y that are cut out of a part of a part torch-pruning does not find the way back.
    by_x, by_y = (rotation * offset.unsqueeze(dim)).unbind(dim + 1)
    return torch.cat((anchor_points + (by_x + by_y), left_top + right_bottom), dim)


def scale_sides(boxes: Tensor, factor: Tensor) -> Tensor:
    """Boxes (B, A, 4) or, but for theta, (B, A, 5) times a `factor` (A, 1)."""
    sides = boxes[..., :4] * factor
    return sides if boxes.shape[-1] == 4 else torch.cat((sides, boxes[..., 4:]), -1)


def pad_objects(image: Tensor, images: int, labels: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Objects of the batch, in any order, by image: labels (B, M, 1), values (B, M, C), mask (B, M, 1) of real ones.

    `image` (N,) says whose object it is, `labels` is (N, 1), `values` (N, C): boxes (C is 4), rotated ones (5) or
    keypoints (K * D). Objects of an image keep their order.
    """
    counts = image.bincount(minlength=images)
    maximum = int(counts.max())
    order = image.argsort(stable=True)
    first = counts.cumsum(0) - counts
    place = torch.empty_like(image)
    place[order] = torch.arange(len(image), device=image.device) - first[image[order]]  # 0, 1, … in each image

    padded = values.new_zeros((images, maximum, 1 + values.shape[-1]))
    padded[image, place] = torch.cat((labels, values), 1)
    mask = torch.arange(maximum, device=image.device) < counts[:, None]
    return padded[..., :1], padded[..., 1:], mask[..., None]


def positives(
    places: tuple[Tensor, Tensor], pred: Tensor, target: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted and target boxes (P, C) of maps (B, A, C) and their weights (P, 1), target scores (B, A, nc) summed.

    Where `true_places` had more room than positives, -1, predictions meet themselves and weigh nothing.
    """
    real = (places[0] >= 0)[:, None]
    chosen = pred[places]
    return chosen, torch.where(real, target[places], chosen.detach()), scores[places].sum(-1, keepdim=True) * real


class Assignment(NamedTuple):
    """Targets of every anchor point; all zero where `fg_mask` is False."""

    target_labels: Tensor  # (B, A) int64
    target_bboxes: Tensor  # (B, A, 4) in the objects' own notation and units
    target_scores: Tensor  # (B, A, nc), at most one class above 0
    fg_mask: Tensor  # (B, A) bool
    target_gt_idx: Tensor  # (B, A) int64, the object's place 0..M-1 in its image


class TaskAlignedAssigner(nn.Module):
    """Assigns to every object the anchor points whose class and box both come out best (TOOD, arXiv 2108.07755).

    The alignment of an anchor point with an object it lies in is t = score^alpha * IoU^beta, IoU being the CIoU without
    its negative values. The `topk` points of largest t are the object's positives. A point that several objects claim
    goes to the one it overlaps most, claimant or not. Points with t = 0 are never positive. Equal t: the point that
    comes first; equal IoU: the object that comes first.

    Memory is one (N, A) mask and a few vectors of length P: padding and classes cost nothing. YOLOv8 uses topk 10,
    alpha 0.5, beta 6; the defaults are the paper's.
    """

    def __init__(
        self, topk: int = 13, num_classes: int = 80, alpha: float = 1.0, beta: float = 6.0,
        stride: Sequence[float] = (8, 16, 32), eps: float = 1e-9,
    ) -> None:  # fmt: skip
        """The second of the levels' `stride` (pixels) is the side to which `inside` enlarges smaller objects."""
        super().__init__()
        self.topk, self.num_classes, self.alpha, self.beta, self.eps = topk, num_classes, alpha, beta, eps
        self.min_side = float(stride[min(1, len(stride) - 1)])
        self.similarity: Callable[[Tensor, Tensor], Tensor] = partial(bbox_iou, xywh=False, CIoU=True)  # -> (P, 1)

    @torch.no_grad()
    def forward(
        self,
        pd_scores: Tensor,
        pd_bboxes: Tensor,
        anc_points: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        mask_gt: Tensor,
        objects: int | None = None,
        pairs: int | None = None,
    ) -> Assignment:
        """Assign objects to anchor points.

        `pd_scores` (B, A, nc) probabilities, `pd_bboxes` (B, A, 4) xyxy, `anc_points` (A, 2), `gt_labels` (B, M, 1),
        `gt_bboxes` (B, M, 4) xyxy, `mask_gt` (B, M, 1) true for real objects; all coordinates in pixels. M may be 0.
        A GPU is not waited for if the caller knows the number of `objects` N and a bound on that of the `pairs`.
        """
        dtype = torch.promote_types(pd_bboxes.dtype, torch.float32)  # t spans more than half precision holds
        image, place = true_places(mask_gt[..., 0].bool(), objects)  # (N,)
        boxes, labels = gt_bboxes[image, place].to(dtype), gt_labels[image, place, 0].long()

        # Every pair, and how well it is aligned; those with t = 0 are never claimed.
        row, anchor = true_places(self.inside(anc_points.to(dtype), boxes), pairs)  # (P,)
        real = row >= 0  # what a bound has more than there are pairs becomes pairs that do not overlap
        row, anchor = torch.where(real, row, len(boxes) - 1), anchor.clamp(min=0)
        owner = image[row]
        iou = self.overlap(boxes[row], pd_bboxes[owner, anchor].to(dtype))
        iou = torch.where(real & (iou > 0), iou, 0.0)
        alignment = pd_scores[owner, anchor, labels[row]].to(dtype).pow(self.alpha) * iou.pow(self.beta)

        # The topk of each object, each point for one object only.
        claimed = (_rank_in_row(row, alignment) < self.topk) & (alignment > 0)
        (images, anchors), cell = pd_scores.shape[:2], owner * len(anc_points) + anchor
        kept = _one_owner(row, cell, iou, claimed, cells=images * anchors) & real

        # The best point of an object is to score its best IoU, the others in proportion to their alignment.
        alignment, iou = (torch.where(kept, values, 0.0) for values in (alignment, iou))
        nothing = iou.new_zeros(len(image))  # none is negative
        best_alignment, best_iou = (nothing.scatter_reduce(0, row, values, "amax") for values in (alignment, iou))
        quality = alignment * best_iou[row] / (best_alignment[row] + self.eps)

        # Pairs that are not kept are written to one cell more, which is cut off: a GPU would have to be waited for, to
        # know how many the others are.
        at = torch.where(kept, cell, images * anchors)

        def per_anchor(values: Tensor) -> Tensor:
            """Values of pairs (P, ...) as (B, A, ...)."""
            cells = values.new_zeros((images * anchors + 1, *values.shape[1:]))
            cells[at] = values
            return cells[:-1].unflatten(0, (images, anchors))

        scores = quality.new_zeros((images * anchors + 1, self.num_classes))
        scores[at, labels[row]] = quality
        return Assignment(
            target_labels=per_anchor(labels[row]),
            target_bboxes=per_anchor(gt_bboxes[owner, place[row]]),
            target_scores=scores[:-1].unflatten(0, (images, anchors)),
            fg_mask=per_anchor(kept),
            target_gt_idx=per_anchor(place[row]),
        )

    def bounds(self, boxes: Tensor, feats: Sequence[Tensor], strides: Sequence[float]) -> dict[str, int]:
        """Arguments `objects` and `pairs` of `forward`, by objects (N, 4 or 5) that the host has, and maps (..., H, W).

        A side that is k strides long, and more, crosses k + 1 anchor points at most. Nothing is known of a subclass
        that assigns, or says what is inside, in its own way: {}.
        """
        for name in ("forward", "inside"):
            ours = (vars(cls).get(name) for cls in (TaskAlignedAssigner, RotatedTaskAlignedAssigner))
            if getattr(type(self), name) not in ours:
                return {}
        sides = self.extents(boxes).clamp(min=self.min_side)[..., None]  # (N, 2, 1) width, height
        most = boxes.new_tensor([feat.shape[:-3:-1] for feat in feats]).T  # (2, levels) columns, rows
        crossed = (sides / boxes.new_tensor(strides) + 1e-3).floor() + 1  # a thousandth for what is rounded
        return {"objects": len(boxes), "pairs": int(crossed.minimum(most).prod(1).sum(dtype=torch.float64))}

    def extents(self, boxes: Tensor) -> Tensor:
        """Width and height (N, 2) of the upright boxes around objects."""
        return boxes[:, 2:] - boxes[:, :2]

    def inside(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Whether points (A, 2) lie strictly inside boxes (N, 4) xyxy, as (N, A).

        A side below `min_side` counts as that long, about its center: smaller objects may hold no point at all.
        """
        center = (boxes[:, :2] + boxes[:, 2:]) / 2
        small = boxes[:, 2:] - boxes[:, :2] < self.min_side
        left, top = torch.where(small, center - self.min_side / 2, boxes[:, :2])[..., None].unbind(1)  # (N, 1) each
        right, bottom = torch.where(small, center + self.min_side / 2, boxes[:, 2:])[..., None].unbind(1)
        x, y = points.unbind(1)
        return (x > left).logical_and_(x < right).logical_and_(y > top).logical_and_(y < bottom)

    def overlap(self, boxes: Tensor, predictions: Tensor) -> Tensor:
        """CIoU, or what `similarity` is set to, (P,) of objects and predictions, pair by pair, both (P, 4) xyxy."""
        return self.similarity(boxes, predictions).squeeze(-1)


class RotatedTaskAlignedAssigner(TaskAlignedAssigner):
    """The task-aligned assignment for rotated boxes (..., 5): overlap is probiou."""

    def extents(self, boxes: Tensor) -> Tensor:
        """Width and height (N, 2) of the upright boxes around objects (N, 5)."""
        sides, cos, sin = boxes[:, 2:4].clamp(min=self.min_side), boxes[:, 4:].cos().abs(), boxes[:, 4:].sin().abs()
        return sides * cos + sides.flip(1) * sin

    def inside(self, points: Tensor, boxes: Tensor) -> Tensor:
        """Whether points (A, 2) lie in boxes (N, 5), the edge included, as (N, A); small sides as for upright boxes."""
        sides = boxes[:, 2:4]
        half = torch.where(sides < self.min_side, self.min_side, sides) / 2
        return (to_box_frame(points, boxes[:, None]).abs() <= half[:, None]).all(-1)

    def overlap(self, boxes: Tensor, predictions: Tensor) -> Tensor:
        """Probiou (P,) of objects and predictions, pair by pair, both (P, 5)."""
        return probiou(boxes, predictions).squeeze(-1)


def _rank_in_row(row: Tensor, values: Tensor) -> Tensor:
    """Rank 0, 1, … of every value among those of its row, largest first; `row` ascends. A stable sort breaks ties."""
    # Two stable sorts: the second one keeps, in each row, the order of the first.
    order = values.argsort(descending=True, stable=True)
    order = order[row[order].argsort(stable=True)]  # by row, in each by value
    # As rows ascend, each occupies the same places before and after sorting, from `first` on.
    first = torch.searchsorted(row, row)
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(row), device=row.device) - first)


def _one_owner(row: Tensor, cell: Tensor, iou: Tensor, claimed: Tensor, cells: int) -> Tensor:
    """Pairs that stay positive when every one of the `cells`, an anchor point of an image, has one owner, as (P,)."""
    contested = cell.new_zeros(cells).scatter_add_(0, cell, claimed.long()) > 1
    best = iou.new_zeros(cells).scatter_reduce_(0, cell, iou, "amax")
    fits = iou == best[cell]  # the best of all that contain the point, claimants or not
    # Of equal IoU, the object that comes first; cells without any pair keep a number that is no row's.
    nobody = torch.iinfo(row.dtype).max
    owner = row.new_full((cells,), nobody).scatter_reduce_(0, cell, torch.where(fits, row, nobody), "amin")
    return torch.where(contested[cell], row == owner[cell], claimed)


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
