"""Segmentation from end to end, on pictures drawn here: training, losses, measures, what is written and exported."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.models.runs import assert_killed_equals_whole, assert_left, tiny_run
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.engine.results import Results
from ultralytics.models.yolo.segment.data import masks_of
from ultralytics.models.yolo.segment.task import MaskDetections, SegmentTask
from ultralytics.utils import coco
from ultralytics.utils import loss as loss_masks
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.metrics import SegmentMetrics, mask_iou, match_predictions


def triangle(rng):
    """Corners of a triangle, which are its label."""
    angle = rng.uniform(0, 2 * np.pi) + np.array((0, 2.1, 4.2))
    corners = rng.uniform(16, 48, 2) + rng.uniform(9, 15) * np.stack((np.cos(angle), np.sin(angle)), 1)
    return corners, (corners / 64).ravel()


@pytest.fixture
def settings(tmp_path):
    """Options of a short run of the tiny network on triangles in tmp_path/runs/exp."""
    return tiny_run(tmp_path, "Segment, [nc, 8, 16]", triangle)


def batch_of(settings, **options):
    """All training pictures as one batch, not augmented; the dataset's mapping, the options and the dataset."""
    data = SegmentTask.describe_data(settings["data"], ("train", "val"))
    options = get_options({"imgsz": 64, **options})
    images = SegmentTask(options, data).dataset("train", augment=False, batch=12)
    return images.collate([images[i] for i in range(12)]), data, options, images


def test_a_training_from_end_to_end(settings):
    """Losses that fall, columns, pictures, weights that are opened as they were saved."""
    model = YOLO(settings["model"])
    changes = {"epochs": 8, "plots": True, "optimizer": "AdamW", "lr0": 0.005, "warmup_epochs": 0.0, "mosaic": 0.0}
    model.train(**settings | changes)
    losses = ["box_loss", "seg_loss", "cls_loss", "dfl_loss", "sem_loss"]
    rows = assert_left(model.trainer.save_dir, SegmentTask, losses, ["Box", "Mask"])
    masks = [float(row["train/seg_loss"]) for row in rows]
    assert 0 < masks[-1] < 0.8 * masks[0]
    again = YOLO(model.trainer.last)
    assert (again.task, again.names) == ("segment", {0: "red", 1: "blue"})
    assert again.ckpt.args["task"] == "segment"


@pytest.mark.public("engine::resume_incomplete")
def test_killed_at_any_moment(settings):
    assert_killed_equals_whole(settings | {"nbs": 8, "copy_paste": 0.5, "copy_paste_mode": "mixup"})


@pytest.mark.parametrize("overlap", [True, False])
@pytest.mark.parametrize("ratio", [4, 2])
@pytest.mark.parametrize("tiny", [False, True])
def test_loss_of_the_masks(settings, overlap, ratio, tiny):
    """Positive after positive, pixel after pixel, in float64, also of objects under 2 px."""
    if tiny:  # about an anchor point: what holds none is nobody's target
        corners = (np.array([(19.4, 19.4), (20.6, 19.4), (20.6, 20.6), (19.4, 20.6)]) / 64).ravel()
        for label in (Path(settings["data"]).parent / "labels" / "train").glob("*.txt"):
            label.write_text(f"1 {' '.join(map(str, corners))}\n" + label.read_text())
    batch, _, options, _ = batch_of(settings, overlap_mask=overlap, mask_ratio=ratio)
    torch.manual_seed(0)
    model = YOLO(settings["model"]).model.train()
    model.args = options
    criterion = SegmentTask(get_options()).criterion(model)
    raw = model(batch["img"] / 255)
    matched = criterion.match(raw, batch)
    found = criterion.mask_loss(raw, matched, batch)
    size = (64 // ratio, 64 // ratio)
    proto = torch.nn.functional.interpolate(raw["proto"].double(), size, mode="bilinear")  # resized where they differ
    target, total, count, smallest = matched.target, 0.0, 0, 64.0
    for i, a in target.fg_mask.nonzero().tolist():
        own = masks_of(batch, i)[target.target_gt_idx[i, a]].double()
        logits = (raw["mask_coefficient"][i, :, a].double()[:, None, None] * proto[i]).sum(0)
        softplus = torch.nn.functional.softplus  # the sigmoid of a large logit would be exactly 1
        entropy = own * softplus(-logits) + (1 - own) * softplus(logits)
        x1, y1, x2, y2 = (target.target_bboxes[i, a] / ratio).tolist()
        pixels = [entropy[r, c] for r in range(size[0]) for c in range(size[1]) if x1 <= c < x2 and y1 <= r < y2]
        area = (x2 - x1) * (y2 - y1) / (size[0] * size[1])
        total, count = total + sum(pixels) / (size[0] * size[1]) / area, count + 1
        smallest = min(smallest, (x2 - x1) * ratio)
    assert count > 20 and (smallest < 2) is tiny
    assert found.item() == pytest.approx((total / count).item(), rel=1e-4)
    total, parts = criterion(raw, batch)
    assert parts[1].item() == pytest.approx(7.5 * found.item(), rel=1e-5)
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.model[-1].proto.parameters())


@pytest.mark.parametrize("overlap", [True, False])
def test_masks_of_crowds_are_compared_in_parts(settings, monkeypatch, overlap):
    """Which changes neither loss nor gradients, and keeps less of them in memory."""
    batch, _, options, _ = batch_of(settings, overlap_mask=overlap)
    model = YOLO(settings["model"]).model.train()
    model.args = options
    criterion = SegmentTask(get_options()).criterion(model)
    raw = {name: value for name, value in model(batch["img"] / 255).items() if name != "feats"}
    feats = [torch.zeros(12, 1, side, side) for side in (8, 4, 2)]
    found = []
    for together in (1000, 5):
        monkeypatch.setattr(loss_masks, "MASK_CHUNK", together)
        leaves, kept = {name: value.detach().requires_grad_() for name, value in raw.items()}, {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, kept=kept: kept.update({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes()}) or x,
            lambda x: x,
        ):
            loss = criterion(leaves | {"feats": feats}, batch)[1][1]
            criterion(leaves | {"feats": feats}, batch)[0].backward()
        found.append((loss, leaves["proto"].grad, leaves["mask_coefficient"].grad, sum(kept.values())))
    (*whole, much), (*parts, little) = found
    for one, other in zip(whole, parts, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    assert little < 0.7 * much


def test_without_objects_the_masks_cost_nothing_and_have_gradients(settings):
    batch, _, options, _ = batch_of(settings)
    empty = {"cls": torch.zeros(0, 1), "bboxes": torch.zeros(0, 4), "batch_idx": torch.zeros(0)}
    model = YOLO(settings["model"]).model.train()
    model.args = options
    total, parts = SegmentTask(get_options()).criterion(model)(
        model(batch["img"] / 255), batch | empty | {"masks": batch["masks"] * 0}
    )
    total.backward()
    assert parts[1] == 0 and all(p.grad is not None for p in model.model[-1].proto.parameters())


@pytest.mark.parametrize("overlap", [True, False])
def test_a_perfect_network_is_measured_as_perfect(settings, overlap):
    """Of two classes: prototypes that are the masks themselves; then mirrored ones, in boxes that are still right."""
    batch, data, options, images = batch_of(settings, overlap_mask=overlap, max_det=300)

    def measure(change):
        evaluator = SegmentTask(options, data).evaluator(images, Path(settings["project"]), 2, False)
        boxes, index, found = evaluator.boxes(batch), batch["batch_idx"], []
        for i in range(12):
            mine, masks = index == i, masks_of(batch, i).float()
            coefficients = torch.eye(len(masks))
            rows = torch.cat((boxes[mine], torch.ones(len(masks), 1), batch["cls"][mine], coefficients), 1)
            rows[:, :4] += torch.tensor((-4, -4, 4, 4))  # the masks reach a little beyond
            found.append(MaskDetections(rows, change(masks) - 0.5))
        evaluator.update(found, batch)
        return evaluator.finish({})

    perfect = measure(lambda masks: masks)
    assert isinstance(perfect, SegmentMetrics) and perfect.seg.map == pytest.approx(0.995, abs=1e-3)
    mirrored = measure(lambda masks: masks.flip(2))
    assert mirrored.seg.map < 0.3 and mirrored.box.map == perfect.box.map
    assert mirrored.fitness == pytest.approx(mirrored.seg.map + mirrored.box.map)
    assert {"Box-P", "Mask-P", "Mask-R"} <= set(mirrored.summary()[0])


def test_only_the_image_is_lost_whose_label_is_broken(settings, caplog):
    folder = Path(settings["data"]).parent / "labels" / "train"
    broken = {"02": "0 0.1 0.1 0.4 0.4", "03": "0 0.1 0.1 0.4 0.4 0.1", "05": "2 0.1 0.1 0.4 0.4 0.1 0.4"}
    for name, row in broken.items():
        (folder / f"{name}.txt").write_text(f"0 .1 .1 .5 .1 .3 .4\n{row}\n", encoding="utf-8")
    data = SegmentTask.describe_data(settings["data"], ("train",))
    images = SegmentTask(get_options({"imgsz": 64}), data).dataset("train", augment=False, batch=4)
    assert len(images) == 9
    found = (
        "02.txt:2: 5 numbers, as of a box, but a row is `class x1 y1 x2 y2 x3 y3 ...`, pairs of three points or more"
    )
    assert found in caplog.text
    assert "03.txt:2: 6 numbers" in caplog.text and "05.txt:2: class 2, but the classes are 0 to 1" in caplog.text


def test_augmentations_that_change_colors_keep_outlines_and_others_are_refused(settings):
    def darker(image, bboxes, cls):
        return {"image": image // 2, "bboxes": bboxes, "cls": cls}

    def shifted(image, bboxes, cls):
        return {"image": image, "bboxes": bboxes + 1.0, "cls": cls}

    YOLO(settings["model"]).train(augmentations=[darker], **settings | {"epochs": 1})
    with pytest.raises(DatasetError, match="objects without a polygon cannot be learned as masks"):
        YOLO(settings["model"]).train(augmentations=[shifted], **settings | {"epochs": 1})


@pytest.fixture
def results():
    """Two objects of a picture of 120 x 200 in an input of 64 x 96 (rows 3 to 60), one of two parts."""
    masks = torch.zeros(2, 64, 96, dtype=torch.uint8)
    masks[0, 13:33, 20:40] = 1
    masks[1, 10:20, 60:70] = masks[1, 10:20, 75:80] = 1
    boxes = torch.tensor([[41.0, 20, 84, 63, 0.9, 0], [125, 14, 167, 36, 0.5, 1]])
    return Results(np.full((120, 200, 3), 90, np.uint8), "a.jpg", {0: "red", 1: "blue"}, boxes=boxes, masks=masks)


def test_results(results, tmp_path):
    assert len(results) == 2 and results.masks.shape == (2, 64, 96) and results.verbose() == "1 red, 1 blue, "
    first, second = results.masks.xy
    gain = 58 / 120  # 120 x 200 becomes 58 x 96
    np.testing.assert_allclose(
        [first.min(0), first.max(0)], [[20 / 0.48, 10 / gain], [39 / 0.48, 29 / gain]], atol=0.01
    )
    assert first.dtype == np.float32 and second[:, 0].max() == pytest.approx(79 / 0.48, abs=0.01)
    np.testing.assert_allclose(results.masks.xyn[0] * (200, 120), first, atol=1e-4)
    one = results[1]
    assert len(one) == 1 and one.masks.shape == (1, 64, 96) and one.masks.xy[0].shape == second.shape
    assert isinstance(results.numpy().masks.data, np.ndarray)
    row = json.loads(results.to_json(normalize=True))[0]
    np.testing.assert_allclose(row["segments"]["x"], first[:, 0] / 200, atol=1e-5)
    results.save_txt(tmp_path / "a.txt", save_conf=True)
    lines = [line.split() for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [("0", "0.9"), ("1", "0.5")]
    np.testing.assert_allclose(np.array(lines[0][1:-1], float).reshape(-1, 2) * (200, 120), first, atol=1e-3)
    results.update(masks=torch.zeros(2, 64, 96, dtype=torch.uint8))
    results.save_txt(tmp_path / "none.txt")
    assert (tmp_path / "none.txt").read_text() == ""  # no contour, no row


def test_masks_are_drawn_translucent(results):
    """The gray below shows through in the middle, outside nothing changes, and colors go by class or object."""
    plain = results.plot(boxes=False)
    changed = (plain != 90).any(2)
    assert changed[25:55, 48:75].all() and not changed[:, :38].any() and not changed[70:].any()
    middle = plain[40, 62].astype(int)
    assert len(np.unique(plain[30:50, 50:70].reshape(-1, 3), axis=0)) == 1
    assert (middle != 90).any() and np.abs(middle - 90).max() < 120
    assert not np.array_equal(plain, results.plot(boxes=False, color_mode="instance")[..., ::-1])
    assert np.array_equal(results.plot(boxes=False, masks=False), results.orig_img)


def test_agreement_with_a_coco_evaluator(golden, dataset, tmp_path):
    """The masks of predictions.json, on the original pictures, measured by COCO's evaluator and by ours."""
    library = pytest.importorskip("faster_coco_eval")
    model = YOLO(golden / "weights" / "segment.pt")
    settings = {"imgsz": 192, "save_json": True, "save_txt": True, "conf": 0.1, "workers": 0, "plots": False}
    data = dataset("nuclei_seg") / "data.yaml"
    validated = model.val(data=data, project=tmp_path, verbose=False, **settings)
    assert len(list((validated.save_dir / "labels").glob("*.txt"))) > 20
    rows = json.loads((validated.save_dir / "predictions.json").read_text())
    found = SegmentTask.describe_data(data, ("val",))
    images = SegmentTask(get_options({"imgsz": 192}), found).dataset("val", augment=False, batch=8)
    evaluator = SegmentTask(get_options({}), found).evaluator(images, tmp_path, 1, False)
    truth = coco.coco_ground_truth(map(evaluator.truth, range(len(images))), model.names)
    theirs = coco.evaluate_coco(truth, rows, "segm")
    by_size = {size: validated.results_dict[f"metrics/mAP50-95-{size}(M)"] for size in ("small", "medium", "large")}
    assert by_size == pytest.approx(theirs["by_size"], abs=1e-4)
    assert by_size["medium"] > by_size["small"] > 0 > by_size["large"]

    metrics = SegmentMetrics(model.names)
    for i in range(len(images)):
        number = coco.image_id(images.labels.file(i))
        mine = [row for row in rows if row["image_id"] == number]
        masks = library.mask.decode([row["segmentation"] for row in mine]).transpose(2, 0, 1)
        _, (height, width), cls, _, shapes = evaluator.truth(i)
        outlines = [np.array(s["segmentation"][0]).reshape(-1, 2) for s in shapes]
        filled = [
            cv2.fillPoly(np.zeros((height, width), np.uint8), [np.round(p - 0.5).astype(int)], 1) for p in outlines
        ]
        iou = mask_iou(torch.from_numpy(np.stack(filled)), torch.from_numpy(masks)).numpy()
        predicted = np.zeros(len(mine))
        tp = match_predictions(predicted, cls, iou)
        conf = np.array([row["score"] for row in mine])
        both = {
            "tp": tp,
            "tp_m": tp,
            "conf": conf,
            "pred_cls": predicted,
            "target_cls": cls,
            "target_img": np.unique(cls),
        }
        metrics.update_stats(both)
    metrics.process()
    assert theirs["AP"] > 0.1
    assert metrics.seg.map == pytest.approx(theirs["AP"], abs=0.01)
    assert metrics.seg.map50 == pytest.approx(theirs["AP50"], abs=0.01)


def test_predictions_are_written_without_a_coco_library(golden, dataset, tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    model = YOLO(golden / "weights" / "segment.pt")
    settings = {"imgsz": 96, "conf": 0.3, "workers": 0, "plots": False, "project": tmp_path, "verbose": False}
    data = dataset("nuclei_seg") / "data.yaml"
    metrics = model.val(data=data, save_json=True, **settings)
    rows = json.loads((metrics.save_dir / "predictions.json").read_text())
    assert rows and all(row["segmentation"]["counts"] for row in rows)
    assert metrics.seg.map50 > 0 and "is written, but not evaluated: faster_coco_eval" in caplog.text


def test_label_files_have_the_rows_of_the_public_package(golden, dataset, tmp_path):
    """Its validation of these weights wrote so many: masks so thin that no polygon is left of them have no row."""
    folder, rows = dataset("nuclei_seg"), {"420f43d21dbaba42": 241, "da8ca06ccbb4e2a8": 262}
    (tmp_path / "two.txt").write_text("\n".join(f"{folder}/images/val/{name}.jpg" for name in rows), encoding="utf-8")
    data = tmp_path / "two.yaml"
    data.write_text("train: two.txt\nval: two.txt\nnames: [nucleus]\n", encoding="utf-8")
    settings = {"imgsz": 192, "batch": 2, "save_txt": True, "workers": 0, "plots": False, "verbose": False}
    metrics = YOLO(golden / "weights" / "segment.pt").val(data=data, project=tmp_path, **settings)
    numbers = [len((metrics.save_dir / "labels" / f"{name}.txt").read_text().splitlines()) for name in rows]
    assert numbers == pytest.approx(list(rows.values()), abs=1)
