"""Losses on a pretended GPU: those of the CPU, without a wait of the host, however many objects there are."""

from types import SimpleNamespace

import pytest
import torch

from ultralytics.cfg import get_options
from ultralytics.nn.tasks import BaseModel, DetectionModel, OBBModel, PoseModel, SegmentationModel
from ultralytics.utils.loss import (
    BboxLoss,
    KeypointLoss,
    v8DetectionLoss,
    v8OBBLoss,
    v8PoseLoss,
    v8SegmentationLoss,
)
from ultralytics.utils.tal import TaskAlignedAssigner, make_anchors

SIDE, CLASSES = 128, 3
HEADS = {
    "detect": (DetectionModel, "yolov8n.yaml", v8DetectionLoss),
    "segment": (SegmentationModel, "yolov8n-seg.yaml", v8SegmentationLoss),
    "pose": (PoseModel, "yolov8n-pose.yaml", v8PoseLoss),
    "obb": (OBBModel, "yolov8n-obb.yaml", v8OBBLoss),
}
IMAGES = [(), (1,), (0, 0, 2), tuple(range(3)) * 9]  # whose object each is; of 3 images, some without


def batch_of(images, task):
    """A batch of 3 images with an object of random size and place for each entry of `images`, on the CPU."""
    draw, n = torch.Generator().manual_seed(5), len(images)
    sides = torch.rand(n, 2, generator=draw) ** 3 * 0.9 + 0.02
    boxes = torch.cat((torch.rand(n, 2, generator=draw), sides), 1)
    if task == "obb":
        boxes = torch.cat((boxes, torch.rand(n, 1, generator=draw)), 1)
    batch = {
        "batch_idx": torch.tensor(sorted(images), dtype=torch.float32),
        "cls": torch.randint(0, CLASSES, (n, 1), generator=draw).float(),
        "bboxes": boxes,
    }
    if task == "segment":
        batch["masks"] = torch.randint(0, max(n, 1) + 1, (3, SIDE // 4, SIDE // 4), generator=draw)
    if task == "pose":
        batch["keypoints"] = torch.cat(
            (torch.rand(n, 17, 2, generator=draw), torch.randint(0, 3, (n, 17, 1), generator=draw).float()), 2
        )
    return batch


def outputs_of(task, image):
    """Raw outputs (a dict) of an untrained network whose predictions have been shaken, and its loss."""
    model_class, name, loss = HEADS[task]
    torch.manual_seed(0)
    model: BaseModel = model_class(name, nc=CLASSES, verbose=False).train()
    model.args = get_options({"task": task})
    raw = model(image)
    raw = raw[1] if isinstance(raw, tuple) else raw
    noise = torch.Generator().manual_seed(1)
    shaken = {
        key: (value + torch.randn(value.shape, generator=noise)).detach() if torch.is_tensor(value) else value
        for key, value in raw.items()
    }
    shaken["feats"] = [feat.detach() for feat in raw["feats"]]
    return shaken, loss(model)


def losses_and_slopes(loss, raw, batch, device):
    """Components of a loss and the gradients of all raw outputs, on the device."""
    moved = {k: v.to(device, copy=True).requires_grad_() for k, v in raw.items() if torch.is_tensor(v)}
    total, items = loss(moved | {"feats": [feat.to(device) for feat in raw["feats"]]}, batch)
    total.backward()
    return items, {k: v.grad for k, v in moved.items()}


def assert_equal(found, expected):
    items, slopes = found
    torch.testing.assert_close((items.cpu(), {k: v.cpu() for k, v in slopes.items()}), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("images", IMAGES, ids=len)
@pytest.mark.parametrize("task", HEADS)
def test_losses_and_gradients_are_those_of_the_cpu_and_nobody_waits(task, images, gpu):
    raw, loss = outputs_of(task, torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    batch = batch_of(images, task)
    expected = losses_and_slopes(loss, raw, batch, "cpu")
    gpu.waits.clear()
    found = losses_and_slopes(loss, raw, batch, "cuda:0")
    waits = [where for _, where in gpu.waits if where.startswith(("utils/", "backward"))]
    assert not waits
    assert_equal(found, expected)
    assert expected[0][0] > 0 or len(images) < 3


@pytest.mark.parametrize("name", ["wiou3", "mine"])
def test_losses_that_compare_positives_with_one_another_get_no_others(name, gpu, monkeypatch):
    """Of a loss with a mean over the pairs, and of a user's, nobody knows: they get the positives alone."""
    from ultralytics.utils.losses.table import LOSSES

    monkeypatch.setitem(LOSSES["iou_loss"], "mine", lambda p: (1 - p.iou) / (1 - p.iou).mean().detach())
    raw, _ = outputs_of("detect", torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    args = get_options({"task": "detect"})
    head = SimpleNamespace(stride=torch.tensor([8.0, 16.0, 32.0]), nc=CLASSES, reg_max=16)
    model = SimpleNamespace(args=SimpleNamespace(**vars(args) | {"iou_loss": name}), model=[head])
    batch = batch_of(IMAGES[3], "detect")
    expected = losses_and_slopes(v8DetectionLoss(model), raw, batch, "cpu")
    assert_equal(losses_and_slopes(v8DetectionLoss(model), raw, batch, "cuda:0"), expected)


def crowded(n, draw):
    """Scores, boxes and objects of one image whose objects overlap, the first anchor points among them."""
    feats = [torch.zeros(1, 8, 64 // stride, 64 // stride) for stride in (8, 16, 32)]
    points, strides = make_anchors(feats, (8, 16, 32))
    points = points * strides
    corner = torch.rand(n, 2, generator=draw) * 8
    boxes = torch.cat((corner, corner + 16 + torch.rand(n, 2, generator=draw) * 30), 1)[None]
    near = torch.rand(1, len(points), 4, generator=draw) * 30
    predicted = torch.cat((points[None] - near[..., :2], points[None] + near[..., 2:]), -1)
    scores = torch.rand(1, len(points), CLASSES, generator=draw)
    labels = torch.randint(0, CLASSES, (1, n, 1), generator=draw)
    return feats, (scores, predicted, points, labels, boxes, torch.ones(1, n, 1, dtype=torch.bool))


def test_places_that_no_pair_needs_change_no_assignment(gpu):
    """Also where they stand for a pair that is kept: the first anchor point of the last object."""
    draw, assigner = torch.Generator().manual_seed(0), TaskAlignedAssigner(10, CLASSES, alpha=0.5, beta=6.0)
    first = 0
    for _ in range(150):
        feats, given = crowded(3, draw)
        known = assigner.bounds(given[4][0], feats, (8, 16, 32))
        expected = assigner(*given)
        found = assigner(*(x.cuda() for x in given), **known)
        first += bool(expected.fg_mask[0, 0])
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine.cpu(), theirs)
    assert first > 20


@pytest.mark.parametrize("own", ["signature", "inside", "box loss", "iou loss", "keypoints"])
def test_parts_of_ones_own_get_what_they_get_on_a_cpu(own, gpu):
    """With the published arguments alone, or counting what they are given."""

    class Signature(TaskAlignedAssigner):
        def forward(self, pd_scores, pd_bboxes, anc_points, gt_labels, gt_bboxes, mask_gt):
            return super().forward(pd_scores, pd_bboxes, anc_points, gt_labels, gt_bboxes, mask_gt)

    class Inside(TaskAlignedAssigner):
        def inside(self, points, boxes):
            return super().inside(points, boxes + boxes.new_tensor([-64.0, -64.0, 64.0, 64.0]))

    class Boxes(BboxLoss):
        def forward(self, dist, pred, points, target, scores, total, mask, imgsz=None, stride=None):
            return super().forward(dist, pred, points, target, scores, total, mask, imgsz, stride)

    class Keypoints(KeypointLoss):
        def forward(self, pred, true, mask, area):
            return (((pred - true[..., :2]) ** 2).sum(-1) * mask).sum() / (mask.sum() + len(mask))

    class Pairs(torch.nn.Module):
        def forward(self, pairs):
            return (1 - pairs.iou) * len(pairs.pred)

    task = "pose" if own == "keypoints" else "detect"
    raw, loss = outputs_of(task, torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    batch = batch_of(IMAGES[3], task)
    if own in ("signature", "inside"):
        kind = Signature if own == "signature" else Inside
        loss.assigner = kind(10, CLASSES, alpha=0.5, beta=6.0, stride=loss.stride)
    if own == "box loss":
        loss.bbox_loss = Boxes(16)
    if own == "iou loss":
        loss.bbox_loss.iou_loss = Pairs()
    if own == "keypoints":
        loss.keypoint_loss = Keypoints(loss.keypoint_loss.sigmas)
    expected = losses_and_slopes(loss, raw, batch, "cpu")
    assert_equal(losses_and_slopes(loss, raw, batch, "cuda:0"), expected)
