"""Non-maximum suppression against plain loops and against torchvision."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms, box_convert, box_iou
from torchvision.ops import nms as torchvision_nms

from ultralytics.utils import nms
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.metrics import batch_probiou, probiou
from ultralytics.utils.nms import non_max_suppression


def predictions(batch: int = 2, nc: int = 3, anchors: int = 70, extra: int = 0, seed: int = 0) -> torch.Tensor:
    """(batch, 4 + nc + extra, anchors) with scores that do not tie."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(batch, 2, anchors, generator=generator) * 150
    size = torch.rand(batch, 2, anchors, generator=generator) * 80 + 20
    scores = torch.stack([torch.randperm(nc * anchors, generator=generator) for _ in range(batch)]) / (nc * anchors)
    more = torch.randn(batch, extra, anchors, generator=generator)
    return torch.cat((center, size, scores.view(batch, nc, anchors), more), 1)


def candidates(image: torch.Tensor, nc: int, conf: float, multi_label: bool) -> torch.Tensor:
    """Rows (n, 6 + extra) of one image, most confident first."""
    rows = []
    for anchor in image.T:
        box = box_convert(anchor[:4], "cxcywh", "xyxy")
        classes = range(nc) if multi_label else [int(anchor[4 : 4 + nc].argmax())]
        rows += [
            torch.cat((box, anchor[4 + c : 5 + c], torch.tensor([float(c)]), anchor[4 + nc :]))
            for c in classes
            if anchor[4 + c] > conf
        ]
    rows.sort(key=lambda row: -row[4])
    return torch.stack(rows) if rows else torch.zeros(0, 6 + len(image) - 4 - nc)


def greedy(rows: torch.Tensor, iou_thres: float, agnostic: bool) -> torch.Tensor:
    """Keep a row unless it overlaps a kept one of its class too much."""
    iou = box_iou(rows[:, :4], rows[:, :4])
    kept = []
    for i, row in enumerate(rows):
        if all(iou[i, k] <= iou_thres or not (agnostic or rows[k, 5] == row[5]) for k in kept):
            kept.append(i)
    return rows[kept]


@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize(("conf", "iou"), [(0.25, 0.45), (0.001, 0.7)])
def test_equal_to_the_plain_loop(conf, iou, agnostic, multi_label, extra):
    batch = predictions(extra=extra)
    kept = non_max_suppression(batch, conf, iou, agnostic=agnostic, multi_label=multi_label, max_det=10**4, nc=3)
    for own, image in zip(kept, batch, strict=True):
        expected = greedy(candidates(image, 3, conf, multi_label), iou, agnostic)
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("max_det", [300, 5])
def test_equal_to_torchvision(max_det):
    batch = predictions(nc=5, anchors=400, seed=1)
    kept = non_max_suppression(batch, 0.1, 0.5, multi_label=True, max_det=max_det)
    for own, image in zip(kept, batch, strict=True):
        rows = candidates(image, 5, 0.1, multi_label=True)
        keep = batched_nms(rows[:, :4], rows[:, 4], rows[:, 5].int(), 0.5)[:max_det]
        torch.testing.assert_close(own, rows[keep], rtol=0, atol=1e-4)


@settings(max_examples=200, deadline=None)
@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 40)] * 4), max_size=400),
    iou=st.sampled_from([0.0, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0]),
    max_det=st.sampled_from([1, 10, 1000]),
)
def test_boxes_on_a_grid_are_torchvisions(boxes, iou, max_det):
    """Many boxes of the same place, without area, or exactly at the threshold."""
    xywh = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    corners = torch.cat((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1)
    scores = torch.linspace(1, 0.5, len(boxes))
    assert torch.equal(nms._nms(corners, scores, iou, max_det), torchvision_nms(corners, scores, iou)[:max_det])


def test_only_the_classes_asked_for():
    batch = predictions()
    chosen = non_max_suppression(batch, 0.1, classes=[0, 2], multi_label=True)
    everything = non_max_suppression(batch, 0.1, multi_label=True)
    for some, every in zip(chosen, everything, strict=True):
        assert torch.equal(some, every[every[:, 5] != 1])


def test_only_the_most_confident_candidates_enter():
    batch = predictions()
    for own, image in zip(non_max_suppression(batch, 0.1, 0.45, max_nms=15), batch, strict=True):
        expected = greedy(candidates(image, 3, 0.1, multi_label=False)[:15], 0.45, agnostic=False)
        torch.testing.assert_close(own, expected, rtol=0, atol=1e-4)


def test_a_box_below_a_heap_is_found():
    """The heap alone is longer than the part that is looked at first."""
    heap = torch.tensor([50.0, 50.0, 20.0, 20.0, 0.9])[:, None].repeat(1, 500)
    lone = torch.tensor([150.0, 50.0, 20.0, 20.0, 0.5])[:, None]
    (kept,) = non_max_suppression(torch.cat((lone, heap), 1)[None], max_det=3)
    assert kept.tolist() == [[40, 40, 60, 60, pytest.approx(0.9), 0], [140, 40, 160, 60, 0.5, 0]]


def test_of_equal_confidences_the_first_anchor_stays():
    same = torch.tensor([[50.0, 50.0, 20.0, 20.0, 0.5], [51.0, 50.0, 20.0, 20.0, 0.5]]).T[None]
    assert non_max_suppression(same)[0][:, 0].tolist() == [40]
    assert non_max_suppression(same.flip(2))[0][:, 0].tolist() == [41]


@pytest.mark.parametrize("multi_label", [False, True])
def test_images_without_detections(multi_label):
    batch = predictions(batch=3, extra=2)
    batch[1, 4:7] = 0.25  # not above the threshold
    kept = non_max_suppression(batch, 0.25, multi_label=multi_label, nc=3)
    assert kept[1].shape == (0, 8)
    assert len(kept[0]) and len(kept[2])


def test_a_class_at_the_threshold_is_no_detection():
    anchor = torch.tensor([50.0, 50.0, 20.0, 20.0, 0.25, 0.5])[None, :, None]
    assert non_max_suppression(anchor, 0.25, multi_label=True)[0][:, 5].tolist() == [1]


def test_one_class_and_no_anchors():
    batch = predictions(nc=1)
    for own, image in zip(non_max_suppression(batch, 0.1, multi_label=True), batch, strict=True):
        torch.testing.assert_close(own, greedy(candidates(image, 1, 0.1, False), 0.45, False), rtol=0, atol=1e-4)
    assert non_max_suppression(batch[:, :, :0])[0].shape == (0, 6)


def test_half_precision_keeps_far_classes_apart():
    """Offsets of classes lie beyond float16's range."""
    boxes = torch.tensor([50.0, 50.0, 20.0, 20.0])[:, None].repeat(1, 2)
    scores = torch.zeros(80, 2)
    scores[78, 0], scores[79, 1] = 0.5, 0.5
    (kept,) = non_max_suppression(torch.cat((boxes, scores))[None].half())
    assert kept[:, 5].tolist() == [78, 79]


def test_input_is_left_alone():
    batch = predictions()
    before = batch.clone()
    non_max_suppression(batch, 0.1, multi_label=True)
    assert torch.equal(batch, before)


def rotated_predictions(seed=0, anchors=700, nc=3):
    """(2, 4 + nc + 1, A) of crowded rotated boxes."""
    rng = np.random.default_rng(seed)
    rows = (
        rng.uniform(0, 200, (2, 2, anchors)),
        rng.uniform(4, 60, (2, 2, anchors)),
        rng.uniform(0, 1, (2, nc, anchors)),
        rng.uniform(-0.8, 2.4, (2, 1, anchors)),
    )
    return torch.from_numpy(np.concatenate(rows, 1)).float()


def fast(rows, iou_thres, agnostic):
    """Fast NMS over candidates (n, 7) in order of confidence, from the whole matrix of probiou in float64."""
    boxes = rows[:, [0, 1, 2, 3, 6]].double()
    similar = batch_probiou(boxes, boxes) > iou_thres
    if not agnostic:
        similar &= rows[:, None, 5] == rows[None, :, 5]
    return rows[~similar.triu(1).any(0)]


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("iou", [0.2, 0.5, 0.7])
def test_rotated_boxes_go_for_any_better_one(iou, agnostic, multi_label, monkeypatch):
    monkeypatch.setattr(nms, "CHUNK", 100)
    batch = rotated_predictions()
    settings = {"agnostic": agnostic, "multi_label": multi_label, "nc": 3, "rotated": True}
    kept = non_max_suppression(batch, 0.3, iou, max_det=3000, **settings)
    for own, rows in zip(kept, nms.candidates(batch, 0.3, None, multi_label, 3), strict=True):
        # An overlap in float32 is off by up to 2e-5, so pairs closer to the threshold than that may go either way.
        fewest, most = (set(map(tuple, fast(rows, iou + by, agnostic).tolist())) for by in (-1e-4, 1e-4))
        assert 0 < len(most) < len(rows) and len(most) < len(fewest) + 5
        assert fewest <= set(map(tuple, own.tolist())) <= most
        assert (own[:, 4].diff() <= 0).all()
    few = non_max_suppression(batch, 0.3, iou, max_det=7, **settings)
    for own, all_of_them in zip(few, kept, strict=True):
        assert torch.equal(own, all_of_them[:7])


def test_a_suppressed_rotated_box_suppresses():
    """The second is too near to the first and the third to the second, but not to the first."""
    boxes = torch.tensor([[x, 50.0, 40.0, 20.0, score, 0.3] for x, score in ((50, 0.9), (55, 0.8), (60, 0.7))])
    gaps = [probiou(boxes[0, [0, 1, 2, 3, 5]], boxes[i, [0, 1, 2, 3, 5]]).item() for i in (1, 2)]
    assert gaps[0] > 0.7 > gaps[1]
    (kept,) = non_max_suppression(boxes.T[None], 0.25, 0.7, rotated=True)
    assert kept[:, 0].tolist() == [50]


def test_rotated_boxes_of_chosen_classes_and_none_at_all():
    batch = rotated_predictions()
    (kept, _) = non_max_suppression(batch, 0.5, 0.7, classes=[1], multi_label=True, nc=3, rotated=True)
    assert set(kept[:, 5].tolist()) == {1}
    assert non_max_suppression(batch, 1.0, rotated=True)[0].shape == (0, 7)


def test_outputs_of_a_head_in_eval_mode_and_arguments_that_change_nothing():
    batch = predictions()
    usual = non_max_suppression(batch, 0.1)
    accepted = non_max_suppression((batch, None), 0.1, labels=(), max_time_img=0.01, end2end=False, return_idxs=False)
    assert all(map(torch.equal, usual, accepted))


@pytest.mark.parametrize("refused", [{"return_idxs": True}, {"labels": [[0, 1, 1, 2, 2]]}], ids=str)
def test_refused_arguments_say_what_to_do(refused):
    with pytest.raises(ConfigError, match=rf"non_max_suppression\({next(iter(refused))}="):
        non_max_suppression(predictions(), **refused)


def test_boxes_that_a_head_has_chosen_itself():
    rows = torch.tensor([[0.0, 0, 9, 9, 0.9, 1], [0, 0, 9, 9, 0.8, 1], [0, 0, 9, 9, 0.7, 0], [0, 0, 9, 9, 0.2, 1]])
    chosen = {"conf_thres": 0.5, "iou_thres": 0.1, "end2end": True}
    assert torch.equal(non_max_suppression(rows[None], **chosen)[0], rows[:3])  # however much they overlap
    assert torch.equal(non_max_suppression(rows[None], **chosen, classes=[0])[0], rows[2:3])
    assert torch.equal(non_max_suppression(rows[None], **chosen, max_det=1)[0], rows[:1])


def test_numbers_of_anchor_points_travel_as_an_extra_row():
    batch = predictions(batch=1)
    numbered = torch.cat((batch, torch.arange(70.0).view(1, 1, 70)), 1)
    (rows,) = non_max_suppression(numbered, 0.3, nc=3)
    boxes = box_convert(batch[0, :4, rows[:, 6].long()].T, "cxcywh", "xyxy")
    torch.testing.assert_close(rows[:, :4], boxes)


def test_predictions_with_gradients_are_taken():
    batch = predictions()
    expected = non_max_suppression(batch, 0.25)
    found = non_max_suppression(batch.requires_grad_(), 0.25)
    assert all(torch.equal(own.detach(), other) for own, other in zip(found, expected, strict=True))


@pytest.mark.parametrize("together", [5000, 0], ids=["one call", "a call an image"])
@pytest.mark.parametrize("options", [{}, {"multi_label": True}, {"agnostic": True}, {"classes": [0, 2]}], ids=str)
def test_a_batch_on_a_gpu(options, together, gpu, monkeypatch):
    """The boxes of the CPU; the host waits a few times a batch, and where there are many boxes once an image."""
    monkeypatch.setattr(nms, "TOGETHER", together)
    batch = predictions(batch=5, anchors=300, extra=2, seed=3)
    batch[1, 4:7] = 0.0  # an image without detections
    for max_det, conf in ((300, 0.25), (4, 0.6), (300, 1.0)):
        settings = {"conf_thres": conf, "iou_thres": 0.5, "nc": 3, "max_det": max_det, **options}
        expected = non_max_suppression(batch, **settings)
        on_gpu = batch.cuda()
        gpu.waits.clear()
        found = non_max_suppression(on_gpu, **settings)
        waits = sum(gpu.waits.values())
        assert waits <= (4 if together else 2 + 2 * len(batch))
        for own, other in zip(found, expected, strict=True):
            assert own.device.type == "cuda" and torch.equal(own.cpu(), other)


def test_rotated_boxes_on_a_gpu(gpu):
    batch = rotated_predictions()
    settings = {"conf_thres": 0.3, "iou_thres": 0.5, "nc": 3, "rotated": True}
    for own, other in zip(
        non_max_suppression(batch.cuda(), **settings), non_max_suppression(batch, **settings), strict=True
    ):
        torch.testing.assert_close(own.cpu(), other)


def test_a_device_without_float64(gpu):
    """As MPS, which is no CUDA device: a call for each image."""
    gpu.lacks.add(torch.float64)
    batch = predictions(batch=2)
    with pytest.raises(TypeError, match="float64"):
        non_max_suppression(batch.cuda(), nc=3)
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(torch.Tensor, "is_cuda", property(lambda self: False))
        found = non_max_suppression(batch.cuda(), nc=3, classes=torch.tensor([0, 1]).cuda())
    expected = non_max_suppression(batch, nc=3, classes=[0, 1])
    assert all(torch.equal(own.cpu(), other) for own, other in zip(found, expected, strict=True))
