"""Losses: terms against formulas, whole losses against the reference on outputs, networks and weights by formula."""

import json
import math
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.steps import assert_reference_steps, reference_arrays, sgd_steps
from ultralytics.cfg import get_options
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.loss import (
    BboxLoss,
    DFLoss,
    FocalLoss,
    KeypointLoss,
    RotatedBboxLoss,
    VarifocalLoss,
    angle_loss,
    pad_objects,
    v8ClassificationLoss,
    v8DetectionLoss,
    v8OBBLoss,
)

ANALYTIC = Path(__file__).parents[1] / "nn" / "analytic.json"
NETWORKS = ("yolov8n.yaml", "yolov8n-DynamicConv.yaml", "yolov8n-C2f-DynamicConv.yaml")
GAINS = {"box": 7.5, "cls": 0.5, "dfl": 1.5}


def criterion(nc=3, **gains):
    """The loss of a head with strides 8, 16, 32."""
    head = SimpleNamespace(stride=torch.tensor([8.0, 16.0, 32.0]), nc=nc, reg_max=16)
    return v8DetectionLoss(SimpleNamespace(args=SimpleNamespace(**GAINS | gains), model=[head]))


def raw_output(boxes, scores, size):
    """What a head returns in training on square inputs."""
    return {
        "boxes": boxes,
        "scores": scores,
        "feats": [torch.empty(len(boxes), 1, size // s, size // s) for s in (8, 16, 32)],
    }


def random_output(images=2, nc=3, seed=0):
    """Raw output on 64 x 64 inputs, with gradients."""
    torch.manual_seed(seed)
    return raw_output(
        torch.randn(images, 64, 84, requires_grad=True), torch.randn(images, nc, 84, requires_grad=True), 64
    )


def objects(*images, nc=3, seed=1):
    """A batch whose objects belong to the images given, in that order."""
    rng = torch.Generator().manual_seed(seed)
    n = len(images)
    return {
        "batch_idx": torch.tensor(images, dtype=torch.float32),
        "cls": torch.randint(0, nc, (n, 1), generator=rng).float(),
        "bboxes": torch.rand(n, 4, generator=rng) * 0.5 + 0.25,
    }


@pytest.mark.parametrize("name", ["detect", "detect-DynamicConv"])
def test_reference_components(golden, name):
    data = {key: torch.from_numpy(value) for key, value in np.load(golden / f"{name}.npz").items()}
    batch = {key.removeprefix("batch."): value for key, value in data.items() if key.startswith("batch.")}
    raw = raw_output(data["train.boxes"], data["train.scores"], batch["img"].shape[-1])
    total, items = criterion()(raw, batch)
    expected = torch.stack([data[f"loss.{part}"] for part in v8DetectionLoss.names]).float()
    torch.testing.assert_close(items, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(total, data["loss.total"].sum(), rtol=1e-5, atol=0)


def test_the_total_is_the_sum_times_the_batch_size():
    total, items = criterion()(random_output(images=3), objects(0, 1, 1, 2))
    assert total.shape == () and total.requires_grad
    assert items.shape == (3,) and not items.requires_grad
    torch.testing.assert_close(total.detach(), items.sum() * 3)


@pytest.mark.parametrize(("gain", "index"), [("box", 0), ("cls", 1), ("dfl", 2)])
def test_a_gain_scales_its_component_alone(gain, index):
    raw, batch = random_output(), objects(0, 0, 1)
    _, usual = criterion()(raw, batch)
    _, tripled = criterion(**{gain: GAINS[gain] * 3})(raw, batch)
    factors = torch.ones(3)
    factors[index] = 3
    torch.testing.assert_close(tripled, usual * factors)


def test_eval_output_gives_the_same_loss():
    raw, batch = random_output(), objects(0, 1)
    torch.testing.assert_close(criterion()((torch.zeros(2, 7, 84), raw), batch)[1], criterion()(raw, batch)[1])


def test_a_batch_without_objects_is_background_alone():
    raw = random_output()
    total, items = criterion()(raw, objects())
    background = F.binary_cross_entropy_with_logits(raw["scores"], torch.zeros_like(raw["scores"]), reduction="sum")
    torch.testing.assert_close(items, torch.stack((torch.tensor(0.0), 0.5 * background.detach(), torch.tensor(0.0))))
    total.backward()
    assert not raw["boxes"].grad.any()
    assert raw["scores"].grad.all()


def test_an_image_without_objects_is_background():
    raw = random_output(images=3)
    total, items = criterion()(raw, objects(0, 0, 2))
    total.backward()
    assert items.isfinite().all()
    assert raw["boxes"].grad.flatten(1).any(1).tolist() == [True, False, True]
    assert (raw["scores"].grad[1] > 0).all()


def test_the_order_of_objects_does_not_matter():
    raw, batch = random_output(images=3), objects(0, 0, 0, 2, 2)
    shuffled = {key: value[[3, 1, 4, 0, 2]] for key, value in batch.items()}
    torch.testing.assert_close(criterion()(raw, shuffled)[1], criterion()(raw, batch)[1])


def test_an_image_is_matched_as_if_it_were_alone():
    raw, batch = random_output(images=2), objects(0, 1, 1, 1)
    together = criterion().match(raw, batch)
    for i in range(2):
        alone = raw_output(raw["boxes"][i : i + 1], raw["scores"][i : i + 1], 64)
        own = batch["batch_idx"] == i
        match = criterion().match(
            alone, {key: value[own] for key, value in batch.items()} | {"batch_idx": torch.zeros(own.sum())}
        )
        assert torch.equal(match.target.fg_mask[0], together.target.fg_mask[i])
        torch.testing.assert_close(match.target.target_scores[0], together.target.target_scores[i])


def test_boxes_are_scaled_by_width_and_height():
    batch = {"batch_idx": torch.zeros(1), "cls": torch.zeros(1, 1), "bboxes": torch.tensor([[0.5, 0.25, 0.5, 0.5]])}
    _, boxes, mask = criterion().preprocess(batch, 1, torch.tensor([64.0, 32.0, 64.0, 32.0]))
    assert boxes.tolist() == [[[16.0, 0.0, 48.0, 16.0]]]
    assert mask.tolist() == [[[True]]]


def test_a_crowd_of_objects():
    total, items = criterion(nc=80)(random_output(images=2, nc=80), objects(*[0] * 300, *[1] * 5, nc=80))
    total.backward()
    assert items.isfinite().all() and (items > 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_is_computed_in_float32(dtype):
    raw, batch = random_output(), objects(0, 1, 1)
    half = raw | {key: raw[key].detach().to(dtype).requires_grad_() for key in ("boxes", "scores")}
    full = raw | {key: half[key].float() for key in ("boxes", "scores")}
    with torch.autocast("cpu", dtype=dtype):
        total, items = criterion()(half, batch)
    assert items.dtype is torch.float32
    torch.testing.assert_close(items, criterion()(full, batch)[1], rtol=0, atol=0)
    total.backward()
    assert half["boxes"].grad.isfinite().all()


def test_padding_sorts_objects_by_image():
    labels = torch.tensor([[5.0], [6.0], [7.0], [8.0]])
    boxes = torch.arange(16.0).view(4, 4)
    padded, moved, mask = pad_objects(torch.tensor([2, 0, 2, 0]), 3, labels, boxes)
    assert padded.squeeze(-1).tolist() == [[6, 8], [0, 0], [5, 7]]
    assert moved[2].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert mask.squeeze(-1).tolist() == [[True, True], [False, False], [True, True]]


def test_dfl_is_cross_entropy_between_the_neighboring_bins():
    logits, target = torch.randn(3 * 4, 16), torch.rand(3, 4) * 14.9
    lower = target.long().flatten()
    above = target.flatten() - lower
    expected = F.cross_entropy(logits, lower, reduction="none") * (1 - above)
    expected += F.cross_entropy(logits, lower + 1, reduction="none") * above
    torch.testing.assert_close(DFLoss(16)(logits, target), expected.view(3, 4).mean(1, keepdim=True))


def test_dfl_clamps_distances_into_its_bins():
    logits = torch.randn(4, 8)
    inside = DFLoss(8)(logits, torch.tensor([[0.0, 6.99, 3.0, 6.99]]))
    assert torch.equal(DFLoss(8)(logits, torch.tensor([[-2.0, 7.0, 3.0, 50.0]])), inside)


def test_dfl_gradient():
    logits = torch.randn(8, 16, dtype=torch.float64, requires_grad=True)
    target = torch.rand(2, 4, dtype=torch.float64) * 14.9
    assert torch.autograd.gradcheck(lambda x: DFLoss(16)(x, target), logits)


def ciou_with(alpha, box, true):
    """CIoU of two xyxy boxes in stride units, its trade-off `alpha` being a constant."""
    inter = (torch.minimum(box[2:], true[2:]) - torch.maximum(box[:2], true[:2])).prod()
    iou = inter / ((box[2:] - box[:2]).prod() + (true[2:] - true[:2]).prod() - inter)
    diagonal = (torch.maximum(box[2:], true[2:]) - torch.minimum(box[:2], true[:2])).square().sum()
    distance = (box[:2] + box[2:] - true[:2] - true[2:]).square().sum() / 4
    (w1, h1), (w2, h2) = box[2:] - box[:2], true[2:] - true[:2]
    v = 4 / math.pi**2 * (torch.atan(w1 / h1) - torch.atan(w2 / h2)) ** 2
    return iou - distance / diagonal - alpha * v, (v / (v - iou + 1)).item()


def test_box_loss_gradient_treats_alpha_as_a_constant():
    true = torch.tensor([2.0, 2.0, 8.0, 6.0], dtype=torch.float64)
    box = torch.tensor([3.0, 1.0, 7.0, 7.5], dtype=torch.float64, requires_grad=True)
    _, alpha = ciou_with(0.0, box, true)
    expected = torch.autograd.functional.jacobian(lambda b: 1 - ciou_with(alpha, b, true)[0], box.detach())

    one = torch.ones(1, 1, dtype=torch.float64)
    loss, _ = BboxLoss(16)(
        torch.zeros(1, 1, 64, dtype=torch.float64), box.view(1, 1, 4), one.expand(1, 2) * 5, true.view(1, 1, 4),
        one.view(1, 1, 1), 1.0, one.bool(),
    )  # fmt: skip
    loss.backward()
    torch.testing.assert_close(box.grad, expected, rtol=1e-5, atol=1e-8)


def test_box_losses_are_weighted_by_the_target_score():
    torch.manual_seed(0)
    dist, boxes = torch.randn(1, 2, 64), torch.tensor([[[0.0, 0.0, 4.0, 4.0], [1.0, 1.0, 6.0, 6.0]]])
    points, true = torch.tensor([[2.0, 2.0], [3.0, 3.0]]), torch.tensor([[[0.0, 1.0, 5.0, 5.0]]]).expand(1, 2, 4)

    def losses(scores, total, mask=(True, True)):
        return torch.stack(BboxLoss(16)(dist, boxes, points, true, torch.tensor([scores]), total, torch.tensor([mask])))

    both, first, second = (losses([[a, 0.0], [0.0, b]], 1.0) for a, b in [(0.5, 0.25), (1.0, 0.0), (0.0, 1.0)])
    torch.testing.assert_close(both, 0.5 * first + 0.25 * second)
    torch.testing.assert_close(losses([[0.5, 0.0], [0.0, 0.25]], 4.0), both / 4)
    torch.testing.assert_close(losses([[1.0, 0.0], [0.0, 1.0]], 1.0, mask=(True, False)), first)


def test_more_positives_with_a_larger_topk():
    head = SimpleNamespace(stride=torch.tensor([8.0, 16.0, 32.0]), nc=3, reg_max=16)
    model = SimpleNamespace(args=SimpleNamespace(**GAINS), model=[head])
    few, many = (v8DetectionLoss(model, tal_topk=k).match(random_output(), objects(0, 1)) for k in (1, 10))
    assert few.target.fg_mask.sum() == 2 < many.target.fg_mask.sum()


def test_focal_loss_is_its_formula():
    logits, labels = torch.tensor([[0.0, -2.0], [3.0, 0.5]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    expected = 0.0
    for x, y in zip(logits.flatten().tolist(), labels.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        right, alpha = (p, 0.25) if y else (1 - p, 0.75)
        expected += -alpha * (1 - right) ** 1.5 * math.log(right) / 2  # a mean over two classes, summed over rows
    assert FocalLoss()(logits, labels).item() == pytest.approx(expected, rel=1e-5)
    plain = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / 2
    torch.testing.assert_close(FocalLoss(gamma=0.0, alpha=0.0)(logits, labels), plain)


def test_varifocal_loss_is_its_formula():
    logits, scores = torch.tensor([[0.0, -2.0], [3.0, 0.5]]), torch.tensor([[0.7, 0.0], [0.0, 0.4]])
    expected = 0.0
    for x, q in zip(logits.flatten().tolist(), scores.flatten().tolist(), strict=True):
        p = 1 / (1 + math.exp(-x))
        entropy = -q * math.log(p) - (1 - q) * math.log(1 - p)
        expected += (q if q else 0.75 * p**2) * entropy / 2
    assert VarifocalLoss()(logits, scores, (scores > 0).float()).item() == pytest.approx(expected, rel=1e-5)


def test_keypoint_loss_is_its_formula():
    pred = torch.tensor([[[3.0, 4, 0.2], [10, 0, 0.1]], [[0, 0, 0], [1, 1, 0]]])
    true, visible = torch.tensor([[[0.0, 0], [10, 0]], [[2, 0], [50, 50]]]), torch.tensor([[1.0, 1], [1, 0]])
    first = (1 - math.exp(-25 / (2 * 0.5**2 * 100))) * 1  # two visible points: a factor of 1
    second = (1 - math.exp(-4 / (2 * 0.5**2 * 64))) * 2  # one of two: 2
    for sigmas in ((0.25, 0.1), torch.tensor([0.25, 0.1])):
        loss = KeypointLoss(sigmas)(pred, true, visible, torch.tensor([[100.0], [64.0]]))
        assert loss.item() == pytest.approx((first + second) / 4, rel=1e-5)


def test_classification_loss():
    logits, cls = torch.randn(5, 3, dtype=torch.float16, requires_grad=True), torch.tensor([0, 2, 1, 1, 0])
    expected = F.cross_entropy(logits.float(), cls)
    for preds in (logits, (logits.softmax(1), logits)):
        loss, items = v8ClassificationLoss()(preds, {"cls": cls})
        torch.testing.assert_close(loss, expected)
        assert loss.requires_grad and not items.requires_grad and items.tolist() == [loss.item()]


def build(yaml, nc):
    """A network in training mode with the default gains."""
    model = DetectionModel(yaml, nc=nc, verbose=False).train()
    model.args = get_options()
    return model


@pytest.mark.parametrize(
    ("name", "yaml"), [("detect", "yolov8n.yaml"), ("detect-DynamicConv", "yolov8n-DynamicConv.yaml")]
)
def test_reference_steps_on_real_images(golden, name, yaml):
    safetensors = pytest.importorskip("safetensors.torch")
    model = build(yaml, nc=3)
    model.load_state_dict(safetensors.load_file(golden / "weights" / f"{name}.safetensors"))

    arrays = reference_arrays(golden / f"{name}.npz")
    assert_reference_steps(model, arrays, v8DetectionLoss.names, v8DetectionLoss(model))


def analytic_value(name, shape):
    """Weights by formula: noise seeded by the entry's name, scaled as the entry's kind asks for."""
    n = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(int(np.prod(shape)))
    if name.endswith("running_var"):
        n = np.exp(0.1 * n)
    elif len(shape) == 1:
        n = 1 + 0.1 * n if name.endswith("weight") else 0.1 * n
    else:
        n = 0.05 * n if len(shape) == 2 else n * np.sqrt(2 / (n.size / shape[0]))
    return torch.from_numpy(n.reshape(shape))


@pytest.mark.parametrize("yaml", NETWORKS)
def test_reference_steps_on_weights_by_formula(yaml):
    reference = json.loads(ANALYTIC.read_text(encoding="utf-8"))
    model = build(yaml, reference["nc"])
    for name, value in model.state_dict().items():
        if "num_batches_tracked" not in name and ".dfl." not in name:
            value.copy_(analytic_value(name, value.shape))
    batch = {key: torch.tensor(value) for key, value in reference["labels"].items()}
    batch["img"] = torch.from_numpy(np.random.RandomState(0).rand(2, 3, 64, 96)).float()

    done = list(sgd_steps(model, batch, lr=2e-4, steps=3))
    steps = reference["networks"][yaml]["sgd"]
    items = [[step["items"][part] for part in v8DetectionLoss.names] for step in steps]
    np.testing.assert_allclose(done[0][1], items[0], rtol=1e-4)
    np.testing.assert_allclose([step[1] for step in done], items, rtol=1e-3)
    np.testing.assert_allclose([step[0] for step in done], [step["total"] for step in steps], rtol=1e-3)
    np.testing.assert_allclose([step[2] for step in done], [step["grad_norm"] for step in steps], rtol=1e-3)


@pytest.fixture
def obb_criterion():
    """The loss of a head for three classes with the default gains."""
    head = SimpleNamespace(stride=(8, 16, 32), nc=3, reg_max=16)
    return v8OBBLoss(SimpleNamespace(model=[head], args=get_options()))


def obb_output(images=2, seed=0):
    """Raw output of a head for rotated boxes on 64 x 64 inputs, and the leaves that gradients reach."""
    generator = torch.Generator().manual_seed(seed)
    leaves = [torch.randn(images, n, 64 + 16 + 4, generator=generator).requires_grad_() for n in (64, 3, 1)]
    boxes, scores, angle = leaves
    return raw_output(boxes, scores, 64) | {"angle": (angle.sigmoid() - 0.25) * math.pi}, leaves


def rotated_objects(rows):
    """A batch from rows image, class, x, y, w, h, theta, in fractions of the image."""
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 7)
    return {"batch_idx": values[:, 0], "cls": values[:, 1:2], "bboxes": values[:, 2:]}


def test_reference_steps_of_rotated_boxes(golden):
    checkpoint = load_checkpoint(golden / "weights" / "obb.pt")
    model = DetectionModel(dict(checkpoint.yaml), nc=1, verbose=False).train()
    model.load_state_dict(checkpoint.state_dict)
    model.args = get_options()
    assert_reference_steps(model, reference_arrays(golden / "obb.npz"), v8OBBLoss.names, v8OBBLoss(model))


def test_without_rotated_objects_only_the_scores_learn(obb_criterion):
    preds, leaves = obb_output()
    total, parts = obb_criterion(preds, rotated_objects([]))
    total.backward()
    assert parts[[0, 2, 3]].tolist() == [0, 0, 0] and parts[1] > 0
    assert leaves[1].grad.abs().sum() > 0 and all(leaf.grad is None or not leaf.grad.any() for leaf in leaves[::2])


def test_objects_under_two_pixels_are_not_learned(obb_criterion):
    small = [(0, 1, 0.5, 0.5, 0.5, 1.99 / 64, 0.3), (1, 2, 0.3, 0.3, 1.9 / 64, 0.5, 0.1)]
    preds, _ = obb_output()
    nothing = obb_criterion(preds, rotated_objects([]))[1]
    torch.testing.assert_close(obb_criterion(preds, rotated_objects(small))[1], nothing)
    wide = [(0, 1, 0.5, 0.5, 0.5, 2.01 / 64, 0.3)]
    assert obb_criterion(preds, rotated_objects(wide))[1][0] > 0
    torch.testing.assert_close(
        obb_criterion(preds, rotated_objects(small + wide))[1], obb_criterion(preds, rotated_objects(wide))[1]
    )


def test_the_gain_of_the_angle(obb_criterion):
    preds, _ = obb_output()
    batch = rotated_objects([(0, 1, 0.5, 0.5, 0.6, 0.3, 0.3), (1, 0, 0.4, 0.5, 0.2, 0.5, 1.3)])
    before = obb_criterion(preds, batch)[1]
    obb_criterion.args = get_options({"angle": 2.5})
    after = obb_criterion(preds, batch)[1]
    torch.testing.assert_close(after, before * torch.tensor([1, 1, 1, 2.5]))
    assert before[3] > 0


def test_angles_count_by_how_long_the_target_is():
    target = torch.tensor([[0, 0, 30.0, 10, 0.4], [0, 0, 10, 10, 0.4], [0, 0, 10, 30, 0.4]])
    pred = target.clone()
    pred[:, 4] += 0.3
    weight = math.exp(-(math.log(3) ** 2) / 9)
    expected = math.sin(0.6) ** 2 * torch.tensor([weight, 1, weight])
    torch.testing.assert_close(angle_loss(pred, target), expected)
    pred[:, 4] = target[:, 4] + math.pi / 2
    torch.testing.assert_close(angle_loss(pred, target), torch.zeros(3), atol=1e-6, rtol=0)


def test_distances_are_measured_along_the_axes_of_the_target():
    target = torch.tensor([[5.0, 4, 6, 2, math.pi / 6]])
    points = torch.tensor([[5 + 2 * math.cos(math.pi / 6), 4 + 2 * math.sin(math.pi / 6)]])  # 2 along the width
    near = RotatedBboxLoss().target_distances(points, target)
    torch.testing.assert_close(near, torch.tensor([[5.0, 1, 1, 1]]))
    far = RotatedBboxLoss().target_distances(points + 40, target)
    assert far.min() == 0 and far.max() == pytest.approx(14.99)
