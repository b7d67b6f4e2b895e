"""Losses of boxes: formulas of the papers in plain numbers, torchvision, gradients, and what every loss must do."""

import math
from functools import partial

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.utils.errors import ConfigError
from ultralytics.utils.losses import LOSSES, BoxPairs, register_loss
from ultralytics.utils.losses.functions import IoULoss, nwd, shapeiou, similarity
from ultralytics.utils.losses.table import make_loss

NAMES = (*("iou", "giou", "diou", "ciou", "eiou", "siou", "shapeiou", "mpdiou", "piou", "piou2", "wiou1", "wiou3"),)
CHANGES = ({}, {"inner_ratio": 0.7}, {"inner_ratio": 1.3}, {"focaler": [0.0, 0.95]}, {"nwd": 0.5})
IMGSZ = torch.tensor([480.0, 640.0])
STRIDE = 16.0


def pairs(pred, target, dtype=torch.float64) -> BoxPairs:
    """Pairs of boxes of a level of stride 16 on an image of 480 x 640."""
    pred, target = (torch.as_tensor(boxes, dtype=dtype).reshape(-1, 4) for boxes in (pred, target))
    return BoxPairs(pred, target, STRIDE, IMGSZ)


def random_boxes(n: int, seed: int = 0) -> torch.Tensor:
    """Boxes (n, 4) of sides 1 to 8, about 20 cells from the corner, many of which overlap."""
    generator = torch.Generator().manual_seed(seed)
    center = 20 + 3 * torch.randn(n, 2, generator=generator, dtype=torch.float64)
    half = (1 + 7 * torch.rand(n, 2, generator=generator, dtype=torch.float64)) / 2
    return torch.cat((center - half, center + half), 1)


def loss_of(name: str, p: BoxPairs, **changes) -> torch.Tensor:
    """Loss (P,) of a name, without a trace in a running mean."""
    with torch.no_grad():
        return IoULoss(name, **changes)(p)[:, 0]


# Formulas ------------------------------------------------------------------------------------------------------------


def overlap(b, g) -> float:
    """IoU of two xyxy boxes."""
    w, h = (max(min(b[i + 2], g[i + 2]) - max(b[i], g[i]), 0) for i in (0, 1))
    area, true = ((box[2] - box[0]) * (box[3] - box[1]) for box in (b, g))
    return w * h / (area + true - w * h)


def by_paper(name: str, b, g) -> float:
    """Loss of two boxes, written as the papers have it."""
    iou = overlap(b, g)
    (w, h), (wg, hg) = ((box[2] - box[0], box[3] - box[1]) for box in (b, g))
    dx, dy = ((b[i] + b[i + 2] - g[i] - g[i + 2]) / 2 for i in (0, 1))
    cw, ch = (max(b[i + 2], g[i + 2]) - min(b[i], g[i]) for i in (0, 1))
    rho2, c2 = dx**2 + dy**2, cw**2 + ch**2
    wiou1 = math.exp(rho2 / c2) * (1 - iou)
    spread = sum(abs(b[i] - g[i]) / (wg, hg)[i % 2] for i in range(4)) / 4
    piou = 1 - (iou - (1 - math.exp(-(spread**2))))
    x = 1.3 * math.exp(-spread)
    union = (w * h + wg * hg) * 1 / (1 + iou)
    v = 4 / math.pi**2 * (math.atan(wg / hg) - math.atan(w / h)) ** 2

    def shape(ww: float, hh: float) -> float:
        omega = hh * abs(w - wg) / max(w, wg), ww * abs(h - hg) / max(h, hg)
        return sum((1 - math.exp(-o)) ** 4 for o in omega)

    sigma = math.sqrt(rho2)
    angle = 1 - 2 * math.sin(math.asin(abs(dy) / sigma) - math.pi / 4) ** 2
    distance = sum(1 - math.exp(-(2 - angle) * (d / c) ** 2) for d, c in ((dx, cw), (dy, ch)))
    corners = sum((b[i] - g[i]) ** 2 for i in range(4)) * STRIDE**2
    return {
        "iou": 1 - iou,
        "giou": 1 - iou + (cw * ch - union) / (cw * ch),
        "diou": 1 - iou + rho2 / c2,
        "ciou": 1 - iou + rho2 / c2 + v / (1 - iou + v) * v,
        "eiou": 1 - iou + rho2 / c2 + (w - wg) ** 2 / cw**2 + (h - hg) ** 2 / ch**2,
        "siou": 1 - iou + (distance + shape(1, 1)) / 2,
        "shapeiou": 1 - iou + rho2 / c2 + shape(1, 1) / 2,
        "mpdiou": 1 - iou + corners / (480**2 + 640**2),
        "piou": piou,
        "piou2": 3 * x * math.exp(-(x**2)) * piou,
        "wiou1": wiou1,
        "wiou3": (1 - iou) / (3 * 1.9 ** (1 - iou - 3)) * wiou1,  # the mean begins at 1
    }[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_its_formula(name):
    pred, target = random_boxes(300), random_boxes(300, seed=1)
    expected = [by_paper(name, *two) for two in zip(pred.tolist(), target.tolist(), strict=True)]
    torch.testing.assert_close(
        loss_of(name, pairs(pred, target)), torch.tensor(expected).double(), rtol=1e-5, atol=1e-6
    )


def test_every_loss_of_the_table_is_tested():
    assert tuple(LOSSES["iou_loss"]) == NAMES


def test_shape_iou_with_a_scale():
    (w, h), (wg, hg), dx, dy = (4.0, 2.0), (2.0, 8.0), 1.0, 0.5
    p = pairs([10 + dx - w / 2, 10 + dy - h / 2, 10 + dx + w / 2, 10 + dy + h / 2], [9, 6, 11, 14])
    ww, hh = 2 * math.sqrt(wg) / (math.sqrt(wg) + math.sqrt(hg)), 2 * math.sqrt(hg) / (math.sqrt(wg) + math.sqrt(hg))
    omega = hh * abs(w - wg) / max(w, wg), ww * abs(h - hg) / max(h, hg)
    cw, ch = 13 - 9, 14 - 6
    expected = 1 - p.iou.item() + (hh * dx**2 + ww * dy**2) / (cw**2 + ch**2)
    expected += sum((1 - math.exp(-o)) ** 4 for o in omega) / 2
    assert shapeiou(p, scale=0.5).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", ["giou", "diou", "ciou"])
def test_torchvision_agrees(name):
    pred, target = random_boxes(300), random_boxes(300, seed=1)
    oracle = getattr(
        torchvision.ops, {"giou": "generalized", "diou": "distance", "ciou": "complete"}[name] + "_box_iou_loss"
    )
    torch.testing.assert_close(loss_of(name, pairs(pred, target)), oracle(pred, target), rtol=1e-5, atol=1e-6)


def test_wasserstein_distance_is_its_formula_in_pixels():
    b, g = (10.0, 10.0, 14.0, 12.0), (11.0, 9.0, 13.0, 13.0)
    moments = [((x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1) / 2, (y2 - y1) / 2) for x1, y1, x2, y2 in (b, g)]
    apart = math.dist(*moments) * STRIDE
    assert nwd(pairs(b, g), 10.0).item() == pytest.approx(math.exp(-apart / 10))
    plain, mixed, whole = (loss_of("giou", pairs(b, g), nwd=share).item() for share in (0.0, 0.3, 1.0))
    assert whole == pytest.approx(1 - math.exp(-apart / 12.8))
    assert mixed == pytest.approx(0.7 * plain + 0.3 * whole)


def test_inner_and_focaler_replace_the_overlap():
    pred, target = random_boxes(100), random_boxes(100, seed=1)
    p = pairs(pred, target)
    iou = torch.tensor([overlap(*two) for two in zip(pred.tolist(), target.tolist(), strict=True)]).double()
    scaled = (boxes * 0.85 + boxes[:, [2, 3, 0, 1]] * 0.15 for boxes in (pred, target))  # 0.7 times the sides
    inner = pairs(*scaled).iou[:, 0]
    plain = loss_of("diou", p)
    close = partial(torch.testing.assert_close, rtol=1e-5, atol=1e-6)
    close(loss_of("diou", p, inner_ratio=0.7), plain + iou - inner)
    focal = ((iou - 0.2) / 0.6).clamp(0, 1)
    close(loss_of("diou", p, focaler=[0.2, 0.8]), plain + iou - focal)
    both = ((inner - 0.2) / 0.6).clamp(0, 1)
    close(
        loss_of("diou", p, focaler=[0.2, 0.8], inner_ratio=0.7, nwd=0.25),
        0.75 * (plain + iou - both) + 0.25 * (1 - nwd(p)[:, 0]),
    )
    assert (iou - inner).abs().max() > 0.1 and (iou - focal).abs().max() > 0.1


# What every loss must do ---------------------------------------------------------------------------------------------


def with_constants(name: str, base: BoxPairs):
    """The loss with what counts as a constant of a step held at its value for `base`."""
    base = BoxPairs(base.pred.detach(), base.target, base.stride, base.imgsz)

    def ciou(p: BoxPairs) -> torch.Tensor:
        def v(q: BoxPairs) -> torch.Tensor:
            w, h, wg, hg = q.sides
            return 4 / math.pi**2 * (torch.atan(w / h) - torch.atan(wg / hg)) ** 2

        return 1 - p.iou + p.center2 / p.diagonal2 + v(base) / (1 - base.iou + v(base)) * v(p)

    def wiou1(p: BoxPairs) -> torch.Tensor:
        return (p.center2 / base.diagonal2).exp() * (1 - p.overlap)

    def wiou3(p: BoxPairs) -> torch.Tensor:
        beta = 1 - base.iou
        return beta / (3 * 1.9 ** (beta - 3)) * wiou1(p)

    return {"ciou": ciou, "wiou1": wiou1, "wiou3": wiou3}[name]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_finite_differences(name, changes):
    pred, target = random_boxes(12).requires_grad_(), random_boxes(12, seed=1)  # random: away from kinks
    loss = IoULoss(name, **changes)
    if name in ("ciou", "wiou1", "wiou3"):
        loss = IoULoss("iou", **changes)
        loss.loss = with_constants(name, pairs(pred.detach(), target))
        [expected] = torch.autograd.grad(loss(pairs(pred, target)).sum(), pred)
        whole = IoULoss(name, **changes)
        if name == "wiou3":
            whole.loss.momentum = 0.0
        [found] = torch.autograd.grad(whole(pairs(pred, target)).sum(), pred)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)
    assert torch.autograd.gradcheck(lambda boxes: loss(pairs(boxes, target)), pred)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_perfect_prediction_has_no_loss_and_no_gradient(name, changes):
    target = random_boxes(40)
    pred = target.clone().requires_grad_()
    loss = IoULoss(name, **changes)(pairs(pred, target))
    [gradient] = torch.autograd.grad(loss.sum(), pred)
    torch.testing.assert_close(loss, torch.zeros_like(loss), rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)


def steps(name: str, start: torch.Tensor, target: torch.Tensor, **changes) -> torch.Tensor:
    """Changes (20, P) of the loss on the way from `start` to the target in equal steps."""
    ways = [start + (target - start) * i / 20 for i in range(21)]
    return torch.stack([loss_of(name, pairs(way, target), **changes) for way in ways]).diff(dim=0)


def starts(distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Predictions (500, 4) that are shifted by about `distance` cells, of other sizes, and their objects."""
    target, other = random_boxes(500), random_boxes(500, seed=1)
    generator = torch.Generator().manual_seed(2)
    shift = distance * torch.randn(500, 2, generator=generator, dtype=torch.float64).repeat(1, 2)
    sides = (other[:, 2:] - other[:, :2]) / (target[:, 2:] - target[:, :2])
    center, half = (target[:, :2] + target[:, 2:]) / 2, (target[:, 2:] - target[:, :2]) / 2
    half = half * sides.clamp(0.5, 2)
    return torch.cat((center - half, center + half), 1) + shift, target


@pytest.mark.parametrize("changes", CHANGES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_a_loss_falls_when_a_box_that_touches_its_object_moves_there(name, changes):
    start, target = starts(0.2)
    touching = pairs(start, target).iou[:, 0] > (0.3 if "inner_ratio" in changes else 0)
    if changes.get("focaler"):  # as good as perfect above u
        touching &= pairs(start, target).iou[:, 0] < 0.9
        assert (steps(name, start, target, **changes)[:, touching] <= 1e-9).all()
    else:
        assert (steps(name, start, target, **changes)[:, touching] < 0).all()
    assert touching.sum() > 200


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("iou", "piou", "piou2")])
def test_a_loss_falls_from_far_outside(name):
    start, target = starts(40)
    assert (pairs(start, target).iou == 0).double().mean() > 0.95
    assert (steps(name, start, target) < 0).all()


def test_what_is_not_promised_from_far_outside():
    """IoU and PIoU saturate, but never rise; PIoU v2 gives up boxes whose P is above 1, as its docstring says."""
    start, target = starts(40)
    for name in ("iou", "piou"):
        assert (steps(name, start, target) <= 0).all() and (steps(name, start, target) == 0).any()
    assert (steps("iou", start, target, nwd=0.5) <= 0).all()
    square = torch.tensor([[0.0, 0, 4, 4]]).double()
    p = torch.linspace(0, 3, 301)[:, None].double()  # a shift along x by 4 cells is P = 1/2
    losses = loss_of("piou2", pairs(square + p * torch.tensor([8.0, 0, 8, 0]), square.expand(301, 4)))
    assert p[losses.argmax()].item() == pytest.approx(1, abs=0.1) and losses[-1] < losses.max() / 3


EDGES = [  # predictions and objects that a formula may divide by zero for
    ([0, 0, 0, 0], [0, 0, 0, 0]),
    ([5, 5, 5, 5], [2, 2, 8, 8]),
    ([2, 2, 8, 8], [5, 5, 5, 5]),
    ([2, 5, 8, 5], [5, 2, 5, 8]),
    ([3, 3, 3, 9], [3, 3, 3, 9]),
    ([1, 1, 2, 2], [1, 1, 2, 2]),
    ([0, 0, 1, 1], [1, 1, 2, 2]),
    ([0, 0, 1, 1], [9e3, 9e3, 9.1e3, 9.1e3]),
    ([-1e6, -1e6, 1e6, 1e6], [0, 0, 1, 1]),
    ([0, 0, 1, 1], [-1e6, -1e6, 1e6, 1e6]),
    ([0, 0, 1e-6, 1e-6], [0, 0, 1e6, 1e6]),
    ([0, 0, 1e6, 1e6], [0, 0, 1e-6, 1e-6]),
    ([8, 8, 2, 2], [2, 2, 8, 8]),
]


@pytest.mark.parametrize("changes", [*CHANGES, {"inner_ratio": 0.5, "focaler": [0.1, 0.9], "nwd": 0.5}], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_no_nan_at_the_edges(name, changes):
    pred = torch.tensor([pred for pred, _ in EDGES], dtype=torch.float32, requires_grad=True)
    target = torch.tensor([target for _, target in EDGES], dtype=torch.float32)
    loss = IoULoss(name, **changes)(pairs(pred, target, dtype=torch.float32))
    (loss.sum() * 2.0**16).backward()  # as the gradients of float16 are scaled
    assert loss.isfinite().all() and loss.dtype is torch.float32
    assert pred.grad.isfinite().all()


sides = st.floats(0, 1e4, width=32)
corners = st.floats(-1e4, 1e4, width=32)


@given(st.sampled_from(NAMES), st.lists(st.tuples(corners, corners, sides, sides), min_size=2, max_size=2))
def test_no_nan_anywhere(name, boxes):
    pred, target = (torch.tensor([[x, y, x + w, y + h]]) for x, y, w, h in boxes)
    pred.requires_grad_()
    loss = IoULoss(name, inner_ratio=0.7, nwd=0.1)(pairs(pred, target, dtype=torch.float32))
    loss.sum().backward()
    assert loss.isfinite().all() and pred.grad.isfinite().all()


# State, table and assigner -------------------------------------------------------------------------------------------


def test_the_running_mean_of_wise_iou():
    loss = make_loss("iou_loss", "wiou3")
    p = pairs(random_boxes(5), random_boxes(5, seed=1), dtype=torch.float32)
    with torch.no_grad():
        loss(p)
    assert loss.mean == 1  # a validation teaches it nothing
    keep = 0.5 ** (1 / 7000)
    for _ in range(3):
        loss(p)
    expected = 1 + (1 - keep**3) * ((1 - p.iou).mean().item() - 1)
    assert loss.mean.item() == pytest.approx(expected, rel=1e-6)
    assert loss(BoxPairs(p.pred[:0], p.target[:0])).shape == (0, 1)
    loss(BoxPairs(p.pred * float("nan"), p.target))
    assert loss.mean.item() == pytest.approx(expected, rel=1e-6)
    again = make_loss("iou_loss", "wiou3")
    assert again.mean == 1  # every run has its own
    again.load_state_dict(loss.state_dict())
    torch.testing.assert_close(again(p), loss(p), rtol=0, atol=0)


@pytest.fixture
def own_names():
    """Names that a test registers are unknown afterwards."""
    before = {option: dict(table) for option, table in LOSSES.items()}
    yield
    for option, table in LOSSES.items():
        table.clear()
        table.update(before[option])


def test_a_loss_of_ones_own(own_names):
    @register_loss("Mine")
    def mine(p):
        return 2 * (1 - p.iou)

    p = pairs(random_boxes(5), random_boxes(5, seed=1))
    torch.testing.assert_close(loss_of("mine", p), 2 * loss_of("iou", p))
    assert register_loss("mine", shapeiou) is shapeiou  # once more, as a notebook does
    register_loss("other", partial(shapeiou, scale=1))
    assert not torch.equal(loss_of("other", p), loss_of("shapeiou", p))


def test_names_that_cannot_be_registered():
    with pytest.raises(ConfigError, match="iou_loss=CIoU is built in, choose another name"):
        register_loss("CIoU", shapeiou)
    with pytest.raises(ConfigError, match="the option is one of iou_loss, cls_loss"):
        register_loss("mine", shapeiou, option="box")
    with pytest.raises(ConfigError, match="letters, digits and underscores"):
        register_loss("my loss", shapeiou)


def test_unknown_names_have_near_ones():
    with pytest.raises(ConfigError, match=r"iou_loss=cious: expected iou, giou.*nearest: ciou.*register_loss\('cious'"):
        make_loss("iou_loss", "cious")
    with pytest.raises(ConfigError, match="assign_iou=nope: expected"):
        similarity("nope")


def test_the_image_must_be_known_where_it_counts():
    with pytest.raises(ConfigError, match="needs the size of the image"):
        loss_of("mpdiou", BoxPairs(random_boxes(2), random_boxes(2)))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("mpdiou", "piou2", "wiou3")])
def test_the_overlap_that_objects_are_assigned_by(name):
    boxes, predictions = random_boxes(50), random_boxes(50, seed=1)
    found = similarity(name)(boxes, predictions)
    torch.testing.assert_close(found[:, 0], 1 - loss_of(name, BoxPairs(predictions, boxes)))
    assert (found <= 1).all()


def test_assigning_by_wasserstein_distance_is_in_pixels():
    boxes, predictions = random_boxes(50), random_boxes(50, seed=1)
    torch.testing.assert_close(similarity("nwd", 20.0)(boxes, predictions), nwd(BoxPairs(predictions, boxes), 20.0))


@pytest.mark.parametrize("name", ["mpdiou", "piou2", "wiou3"])
def test_losses_that_are_no_overlap(name):
    with pytest.raises(ConfigError, match=f"assign_iou={name}: this loss .*; take another, such as ciou, iou or nwd"):
        similarity(name)
