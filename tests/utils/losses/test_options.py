"""Losses chosen by options: what each term of a fixed batch is, in every task that has them, and who refuses them."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from ultralytics.cfg import DEFAULT_YAML, get_options
from ultralytics.models.yolo import task_class
from ultralytics.models.yolo.task import USUAL_LOSSES
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.loss import v8DetectionLoss, v8OBBLoss, v8PoseLoss, v8SegmentationLoss
from ultralytics.utils.losses import LOSSES
from ultralytics.utils.metrics import bbox_iou

BATCH = {
    "batch_idx": torch.tensor([0.0, 0, 1]),
    "cls": torch.tensor([[0.0], [2], [1]]),
    "bboxes": torch.tensor([[0.3, 0.4, 0.3, 0.5], [0.7, 0.6, 0.4, 0.2], [0.5, 0.5, 0.6, 0.4]]),
}


def raw_output() -> dict:
    """Raw output of a head for 3 classes on 2 images of 64 x 96, by formula; its boxes are near the objects."""
    feats = [torch.empty(2, 1, 64 // s, 96 // s) for s in (8, 16, 32)]
    anchors = sum(f.shape[2] * f.shape[3] for f in feats)
    place = torch.arange(2 * 64 * anchors, dtype=torch.float64).view(2, 64, anchors)
    bins = torch.arange(16.0).repeat(4).view(1, 64, 1)
    boxes = ((place * 0.37).sin() - (bins - 2.5).square() / 4).float()
    scores = ((place[:, :3] * 1.3).cos() * 2 - 1).float()
    return {"boxes": boxes.requires_grad_(), "scores": scores.requires_grad_(), "feats": feats}


def terms(loss_class=v8DetectionLoss, raw=None, **options) -> torch.Tensor:
    """Terms of the loss of the fixed batch."""
    head = SimpleNamespace(stride=(8, 16, 32), nc=3, reg_max=16)
    return loss_class(SimpleNamespace(model=[head], args=get_options(options)))(raw or raw_output(), BATCH)[1]


BOX, CLS, DFL = 4.22617, 49.75645, 2.76589
PINNED = [  # box, class and distribution focal loss, gains included
    *(
        ({"iou_loss": name}, (box, CLS, DFL))
        for name, box in {
            "iou": 4.09691, "giou": 4.58513, "diou": 4.19264, "ciou": BOX, "eiou": 5.94548, "siou": 4.29301,
            "shapeiou": 4.2651, "mpdiou": 4.29521, "piou": 4.78686, "piou2": 5.36165, "wiou1": 4.15176,
            "wiou3": 3.68742,
        }.items()
    ),
    *(
        ({"cls_loss": name}, (BOX, cls, DFL))
        for name, cls in {"bce": CLS, "focal": 16.3649, "qfl": 17.26776, "vfl": 13.00061, "slide": 53.26577}.items()
    ),
    ({"inner_ratio": 0.7}, (4.48205, CLS, DFL)),
    ({"focaler": [0.1, 0.9]}, (4.3129, CLS, DFL)),
    ({"nwd": 0.5}, (4.45691, CLS, DFL)),
    ({"nwd": 0.5, "nwd_c": 32.0}, (3.34766, CLS, DFL)),
    (
        {"iou_loss": "wiou3", "inner_ratio": 1.3, "focaler": [0.0, 0.95], "nwd": 0.3, "cls_loss": "slide"},
        (3.78538, 53.26577, DFL),
    ),
    ({"assign_iou": "ciou"}, (BOX, CLS, DFL)),
    ({"assign_iou": "iou"}, (4.30011, 42.66014, 2.79794)),
    ({"assign_iou": "eiou"}, (3.83722, 111.91283, 2.85982)),
    ({"assign_iou": "piou"}, (3.91333, 63.70879, 2.77962)),
    ({"assign_iou": "nwd"}, (4.49547, 56.78703, 2.80234)),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), PINNED, ids=str)
def test_the_share_of_every_term(options, expected):
    torch.testing.assert_close(terms(**options), torch.tensor(expected), rtol=1e-4, atol=0)


def test_every_loss_is_pinned():
    pinned = [options for options, _ in PINNED]
    for option in ("iou_loss", "cls_loss"):
        assert [options[option] for options in pinned if list(options) == [option]] == list(LOSSES[option])


def test_the_usual_losses_are_those_of_before_to_the_bit():
    """Written out: 1 - CIoU weighted by the target scores, and the sum of cross entropy."""
    raw = raw_output()
    criterion = v8DetectionLoss(
        SimpleNamespace(model=[SimpleNamespace(stride=(8, 16, 32), nc=3, reg_max=16)], args=get_options())
    )
    m = criterion.match(raw, BATCH)
    positive, scores = m.target.fg_mask, m.target.target_scores
    weight, true = scores[positive].sum(-1, keepdim=True), m.target.target_bboxes * (1 / m.strides)
    box = ((1 - bbox_iou(m.boxes[positive], true[positive], xywh=False, CIoU=True)) * weight).sum() / m.score_sum
    cls = F.binary_cross_entropy_with_logits(m.scores, scores, reduction="sum") / m.score_sum
    found = criterion.detection_losses(m)
    assert (found[0], found[1]) == (box * 7.5, cls * 0.5)
    gradients = [
        torch.autograd.grad(one, (raw["boxes"], raw["scores"]), retain_graph=True, allow_unused=True)
        for one in (found[0] + found[1], box * 7.5 + cls * 0.5)
    ]
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("name", LOSSES["iou_loss"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_is_computed_in_float32(name, dtype):
    raw = raw_output()
    half = raw | {key: raw[key].detach().to(dtype).requires_grad_() for key in ("boxes", "scores")}
    full = raw | {key: half[key].detach().float() for key in ("boxes", "scores")}
    options = {"iou_loss": name, "inner_ratio": 0.7, "nwd": 0.2, "cls_loss": "slide"}
    head = SimpleNamespace(stride=(8, 16, 32), nc=3, reg_max=16)
    total, items = v8DetectionLoss(SimpleNamespace(model=[head], args=get_options(options)))(half, BATCH)
    torch.testing.assert_close(items, terms(raw=full, **options), rtol=0, atol=0)
    (total * 64).backward()
    assert half["boxes"].grad.isfinite().all() and half["scores"].grad.isfinite().all()


def test_a_batch_without_objects():
    batch = {key: value[:0] for key, value in BATCH.items()}
    head = SimpleNamespace(stride=(8, 16, 32), nc=3, reg_max=16)
    for name in LOSSES["iou_loss"]:
        options = get_options({"iou_loss": name, "inner_ratio": 0.7, "nwd": 0.2, "cls_loss": "slide"})
        raw = raw_output()
        criterion = v8DetectionLoss(SimpleNamespace(model=[head], args=options))
        total, items = criterion(raw, batch)
        total.backward()
        assert items[0] == items[2] == 0 and items.isfinite().all() and not raw["boxes"].grad.any()


@pytest.mark.parametrize(
    ("yaml", "loss_class"), [("yolov8n-seg.yaml", v8SegmentationLoss), ("yolov8n-pose.yaml", v8PoseLoss)]
)
def test_segment_and_pose_use_the_same(yaml, loss_class):
    torch.manual_seed(0)
    model = DetectionModel(yaml, nc=3, verbose=False).train()
    raw = model(torch.rand(2, 3, 256, 256))  # large enough that boxes of a random network do not cover all objects
    batch = BATCH | {"masks": torch.ones(2, 64, 64), "keypoints": torch.rand(3, 17, 3).round(decimals=2)}

    def parts(**options) -> dict[str, float]:
        model.args = get_options(options)
        return dict(zip(loss_class.names, loss_class(model)(raw, batch)[1].tolist(), strict=True))

    usual = parts()
    chosen = {"iou_loss": "giou", "cls_loss": "vfl", "inner_ratio": 0.7, "focaler": [0.0, 0.9], "nwd": 0.3}
    for option, value in chosen.items():
        term = "cls_loss" if option == "cls_loss" else "box_loss"
        changed = parts(**{option: value})
        assert {name for name in usual if changed[name] != usual[name]} == {term}
    model.args = get_options(chosen)
    detect = v8DetectionLoss(model)
    expected = detect.detection_losses(detect.match(raw, batch))
    found = parts(**chosen)
    assert [found[name] for name in v8DetectionLoss.names] == [value.item() for value in expected]
    assert parts(assign_iou="nwd") != usual


OTHERS = {
    "iou_loss": "giou", "inner_ratio": 0.7, "focaler": [0.0, 0.9], "nwd": 0.3, "nwd_c": 8.0, "cls_loss": "vfl",
    "assign_iou": "iou",
}  # fmt: skip


@pytest.mark.parametrize("option", OTHERS)
def test_obb_and_classify_refuse_by_name_what_they_have_not(option):
    assert OTHERS.keys() == USUAL_LOSSES.keys()
    options = get_options({"nwd": 0.3} if option == "nwd_c" else {}, {option: OTHERS[option]})
    for task in ("detect", "segment", "pose"):
        task_class(task).check_options(options, "train")
    options = get_options({option: OTHERS[option], "imgsz": 224})
    with pytest.raises(ConfigError, match=f"{option}=.*one class, by cross entropy; leave {option} out"):
        task_class("classify").check_options(options, "train")
    if option == "cls_loss":
        task_class("obb").check_options(options, "train")
    else:
        with pytest.raises(ConfigError, match=rf"{option}=.*(probiou; leave {option} out|changes nothing without nwd)"):
            task_class("obb").check_options(options, "train")


@pytest.mark.parametrize("task", ["obb", "classify"])
def test_the_usual_losses_may_be_said(task):
    options = get_options({name: value for name, value in USUAL_LOSSES.items() if value is not None}, {"imgsz": 224})
    task_class(task).check_options(options, "train")
    assert {name: getattr(get_options(), name) for name in USUAL_LOSSES} == USUAL_LOSSES


def test_rotated_boxes_have_the_losses_of_scores():
    torch.manual_seed(0)
    model = DetectionModel("yolov8n-obb.yaml", nc=3, verbose=False).train()
    raw = model(torch.rand(2, 3, 64, 96))
    batch = BATCH | {"bboxes": torch.cat((BATCH["bboxes"], torch.tensor([[0.1], [0.2], [0.3]])), 1)}
    found = {}
    for name in LOSSES["cls_loss"]:
        model.args = get_options({"cls_loss": name})
        found[name] = v8OBBLoss(model)(raw, batch)[1].tolist()
    assert len({one[1] for one in found.values()}) == len(found)
    assert len({(one[0], *one[2:]) for one in found.values()}) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iou_loss": "wiou"}, r"iou_loss=wiou: expected iou, .*nearest: wiou3, wiou1"),
        ({"cls_loss": "bcee"}, r"cls_loss=bcee: expected bce, focal, qfl, vfl, slide.*nearest: bce"),
        ({"assign_iou": "wiou3"}, "assign_iou=wiou3: this loss depends on the batches before"),
        ({"focaler": [0.9, 0.1]}, r"focaler=\[0\.9, 0\.1\]: expected \[d, u\] with d below u"),
        ({"nwd_c": 20}, r"nwd_c=20\.0 changes nothing without nwd"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        task_class("detect").check_options(get_options(options), "train")


def test_the_names_of_all_losses_are_told():
    """In default.yaml and in both READMEs, in the order of the table."""
    root = DEFAULT_YAML.parents[2]
    for option in ("iou_loss", "cls_loss"):
        *first, last = LOSSES[option]
        assert f": {', '.join(first)} or {last}\n" in DEFAULT_YAML.read_text(encoding="utf-8")
        for page in ("README.md", "README.zh-CN.md"):
            assert f"`{option}=` {' '.join(LOSSES[option])}" in " ".join((root / page).read_text("utf-8").split())
