"""Networks with the head of YOLOv10 learn from both of its sets of predictions, and predict."""

import numpy as np
import pytest
import torch

from tests.tiny import NETWORK, draw_split
from tests.training import rectangle
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.engine.exporter import aligned
from ultralytics.models.yolo.detect.task import DetectTask
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.loss import E2EDetectLoss, v8DetectionLoss


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "v10.yaml"
    path.write_text(NETWORK.replace("{head}", "v10Detect, [nc]"), encoding="utf-8")
    return YOLO(path)


def test_the_loss_is_that_of_many_anchor_points_and_that_of_one(model):
    network = model.model.train()
    torch.manual_seed(0)
    batch = {
        "img": torch.rand(2, 3, 64, 64),
        "batch_idx": torch.tensor([0.0, 1.0, 1.0]),
        "cls": torch.tensor([[0.0], [1.0], [0.0]]),
        "bboxes": torch.tensor([[0.5, 0.5, 0.4, 0.6], [0.3, 0.3, 0.3, 0.3], [0.7, 0.6, 0.2, 0.5]]),
    }
    raw = network(batch["img"])
    total, parts = network.loss(batch, raw)
    many = v8DetectionLoss(network, tal_topk=10)(raw["one2many"], batch)
    one = v8DetectionLoss(network, tal_topk=1)(raw["one2one"], batch)
    torch.testing.assert_close(total, many[0] + one[0])
    torch.testing.assert_close(parts, many[1] + one[1])
    assert E2EDetectLoss(network)(raw, batch)[0] == total


def test_it_trains_and_predicts(model, tmp_path):
    for split in ("train", "val"):
        draw_split(tmp_path / "data", split, 4, 0, 3, rectangle)
    data = tmp_path / "data" / "data.yaml"
    data.write_text("train: images/train\nval: images/val\nnames: [red, blue]\n", encoding="utf-8")
    options = {"imgsz": 64, "batch": 4, "device": "cpu", "workers": 0, "plots": False, "iou_loss": "wiou3"}
    before = model.model.state_dict()[key_of(model)].clone()
    model.train(data=str(data), epochs=2, project=str(tmp_path), name="a", **options)
    assert not torch.equal(before, model.model.state_dict()[key_of(model)])
    (result,) = model.predict(tmp_path / "data" / "images" / "val" / "00.png", imgsz=64, conf=0.001, verbose=False)
    assert len(result) and len(model.heatmap(result.path, imgsz=64)) == 1


def test_without_nms(model, tmp_path):
    """`end2end: True` in the YAML: the best of the second set go past NMS, also from a checkpoint and a file."""
    path = tmp_path / "v10.yaml"
    path.write_text("end2end: True\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    alone = YOLO(path)
    alone.model.load_state_dict(model.model.state_dict())
    head, images = alone.model.eval().model[-1], torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        (rows, raw), (many, _) = alone.model(images), model.model.eval()(images)
        both = super(type(head), head).decode(raw["one2one"])
    assert rows.shape == (2, both.shape[2], 6) and many.shape == (2, 6, both.shape[2])
    torch.testing.assert_close(rows[..., 4], both[:, 4:].flatten(1).sort(descending=True).values[:, : rows.shape[1]])
    for x1, y1, x2, y2, score, cls in rows[0, :9].tolist():
        anchor = int((both[0, 4 + int(cls)] - score).abs().argmin())
        xywh = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
        assert both[0, :4, anchor].tolist() == pytest.approx(xywh, abs=1e-3)
    head.max_det = 7
    assert alone.model(images)[0].shape == (2, 7, 6)

    alone.save(tmp_path / "v10.pt")
    picture = (images[0].permute(1, 2, 0) * 255).byte().numpy()
    options = {"imgsz": 64, "conf": 1e-6, "iou": 0.01, "verbose": False}
    (found,) = YOLO(tmp_path / "v10.pt").predict(picture, **options)
    assert len(found) == min(300, both.shape[2])  # none is suppressed
    file = YOLO(YOLO(tmp_path / "v10.pt").export(format="torchscript", imgsz=64))
    assert len(file.predict(picture, **options)[0]) == len(found)
    with pytest.raises(ConfigError, match="augment=True: passes are joined by NMS"):
        alone.predict(picture, augment=True, **options)


def test_boxes_of_an_exported_file_may_change_places_where_scores_are_equal():
    rows = torch.rand(2, 9, 6) * 50
    rows[..., 4] = torch.tensor([0.9, 0.7, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2])
    moved = rows[:, [0, 2, 1, 3, 4, 5, 6, 7, 8]]
    moved[:, 8, :4] += 20  # another box of the lowest score
    assert not torch.equal(rows, moved) and torch.equal(aligned(moved, rows), moved)
    for place, number in ((3, 4), (2, 0), (0, 5)):  # a score, a coordinate, a class
        wrong = moved.clone()
        wrong[0, place, number] += 5
        assert not torch.allclose(aligned(wrong, rows), wrong, atol=1)


def key_of(model):
    return next(name for name in model.model.state_dict() if "one2one_cv3" in name and name.endswith("2.weight"))


def test_six_anchor_points_are_no_boxes_that_a_head_has_chosen(tmp_path):
    """(1, 4 + nc, 6), those of one level on 64 x 96 pixels, has the last dimension of YOLOv10's (1, n, 6)."""
    path = tmp_path / "one.yaml"
    rows = "".join(f"  - [-1, 1, Conv, [{c}, 3, 2]]\n" for c in (8, 8, 8, 16, 16))
    path.write_text(f"nc: 80\nbackbone:\n{rows}head:\n  - [[4], 1, Detect, [nc]]\n", encoding="utf-8")
    (result,) = YOLO(path).predict(np.full((64, 96, 3), 90, np.uint8), imgsz=[64, 96], conf=0.0, verbose=False)
    assert result.orig_shape == (64, 96) and 0 < len(result.boxes) <= 6
    assert (result.boxes.conf <= 1).all() and (result.boxes.cls < 80).all()


@pytest.mark.parametrize("outputs", [(0,), (0, {"scores": 1}), (0, 1, 2)], ids=len)
def test_outputs_of_heads_of_ones_own(outputs):
    """One part, three, or raw ones of another kind: boxes (B, n, 6) that the head has chosen."""
    chosen = torch.tensor([[[0.0, 0.0, 9.0, 9.0, 0.9, 1.0], [0.0, 0.0, 9.0, 9.0, 0.1, 1.0]]])
    task = DetectTask(get_options({"conf": 0.5}))
    (found,) = task.postprocess((chosen, *outputs[1:]), nc=2)
    assert torch.equal(found, chosen[0, :1])
