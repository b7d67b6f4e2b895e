"""Results, as people who know the public package read, draw and write them (8.4.190; colors are this tree's own)."""

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics import YOLO
from ultralytics.engine.results import OBB, Boxes, Keypoints, Masks, Probs, Results
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.plotting import Annotator, colors

NAMES = {0: "a", 1: "b"}
GRAY = 100
BOXES = torch.tensor([[5.0, 5, 20, 20, 0.9, 0], [30, 30, 60, 50, 0.8, 1]])
TRACKED = torch.tensor([[5.0, 5, 20, 20, 7, 0.9, 0], [30, 30, 60, 50, 3, 0.8, 0]])
POINTS = torch.tensor([[[10.0, 10, 0.9], [25, 40, 0.9]], [[50, 50, 0.9], [60, 20, 0.1]]])
MASKS = torch.zeros(2, 64, 80)
MASKS[0, 5:20, 5:20] = MASKS[1, 30:50, 30:60] = 1
# Columns of a table of each task's results.
COLUMNS = {
    "detect": ["name", "class", "confidence", "box"],
    "segment": ["name", "class", "confidence", "box", "segments"],
    "pose": ["name", "class", "confidence", "box", "keypoints"],
    "obb": ["name", "class", "confidence", "box"],
    "classify": ["name", "class", "confidence"],
}


def image():
    return np.full((64, 80, 3), GRAY, np.uint8)


def result(**parts):
    return Results(image(), "x.jpg", NAMES, **parts)


def changed(drawn):
    return (np.asarray(drawn) != GRAY).any(-1)


@pytest.fixture(scope="module", params=COLUMNS)
def predicted(request, golden, dataset):
    """Three objects, or five classes, on an image, and the task."""
    file = next((dataset("coco_mini") / "images" / "val").iterdir())
    model = YOLO(golden / "weights" / f"{request.param}.pt")
    return request.param, model.predict(file, imgsz=160, conf=0.001, max_det=3, verbose=False)[0]


@pytest.mark.public("python::results")
def test_tables_and_texts_have_the_public_columns(predicted):
    pytest.importorskip("pandas")
    task, found = predicted
    rows = found.summary()
    assert len(rows) == (5 if task == "classify" else 3)
    assert list(found.to_df().columns) == COLUMNS[task] == list(rows[0])
    assert json.loads(found.to_json()) == rows
    read = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [list(row) for row in read] == [COLUMNS[task]] * len(rows)
    assert [float(row["confidence"]) for row in read] == [row["confidence"] for row in rows]
    if task != "classify":
        assert [row["box"] for row in read] == [str(row["box"]) for row in rows]


@pytest.mark.public("python::results")
def test_results_move_between_devices_and_keep_what_they_are(predicted):
    _, found = predicted
    for moved in (found.cpu(), found.to("cpu"), found.numpy(), found[:2], found.new()):
        assert moved.path == found.path and moved.names == found.names and moved.save_dir is found.save_dir is None
    assert found.plot(pil=True).size == found.orig_shape[::-1] and "Results(" in repr(found)
    assert len(found.new()) == 0 and found.new().to_csv() == ""


@pytest.mark.public("python::labels_and_crops")
def test_the_folder_of_a_run_is_in_its_results(golden, dataset, tmp_path):
    file = next((dataset("bccd") / "images" / "val").iterdir())
    model = YOLO(golden / "weights" / "detect.pt")
    options = {"imgsz": 160, "project": str(tmp_path), "name": "run", "verbose": False}
    (found,) = model.predict(file, save=True, save_txt=True, **options)
    assert found.save_dir == str(tmp_path / "run") == found.new().save_dir == found.cpu().save_dir
    assert len(found) and (tmp_path / "run" / "labels" / f"{file.stem}.txt").is_file()
    found.save_crop(Path(found.save_dir) / "crops", file.name)
    crops = list((tmp_path / "run" / "crops").rglob("*.jpg"))
    assert len(crops) == len(found) and {crop.parent.name for crop in crops} <= set(model.names.values())


def test_parts_come_in_the_public_order():
    found = Results(image(), "x.jpg", NAMES, BOXES, MASKS, torch.tensor([0.2, 0.8]), POINTS, OBBS)
    assert [type(p) for p in (found.boxes, found.masks, found.probs, found.keypoints, found.obb)] == [
        Boxes,
        Masks,
        Probs,
        Keypoints,
        OBB,
    ]
    named = Boxes(boxes=BOXES, orig_shape=(64, 80)), Masks(masks=MASKS, orig_shape=(64, 80))
    assert [len(p) for p in (*named, Keypoints(keypoints=POINTS, orig_shape=(64, 80)), Probs(probs=BOXES[0]))] == [
        2,
        2,
        2,
        6,
    ]


OBBS = torch.tensor([[25.0, 25, 20, 10, 0.3, 0.9, 0]])


@pytest.mark.public("python::results_update_probs")
def test_every_part_is_updated():
    found = result(boxes=BOXES)
    found.update(probs=torch.tensor([0.2, 0.8]))
    assert found.verbose() == "b 0.80, a 0.20, " and [row["name"] for row in found.summary()] == ["b", "a"]
    found = result()
    found.update(obb=OBBS, keypoints=POINTS, masks=MASKS)
    assert len(found.obb) == 1 and found.keypoints.shape == (2, 2, 3) and found.masks.shape == (2, 64, 80)


@pytest.mark.public("python::results_plot_without_boxes")
@pytest.mark.parametrize("boxes", [True, False])
def test_masks_and_keypoints_are_drawn_without_boxes(boxes):
    drawn = result(masks=MASKS).plot(boxes=boxes)
    inside = MASKS.amax(0).bool().numpy()
    assert inside[changed(drawn)].mean() > 0.8 and changed(drawn)[10, 10] and changed(drawn)[40, 45]
    assert tuple(drawn[10, 10]) != tuple(drawn[40, 45])  # without classes each object has its own color
    found = result(keypoints=POINTS)
    assert changed(found.plot(boxes=boxes))[10, 10] and not changed(found.plot(boxes=boxes))[20, 60]
    assert found.verbose() == "" and found.summary() == []
    assert not changed(result().plot()).any()


def test_masks_alone_leave_no_label_file(tmp_path):
    assert result(masks=MASKS).save_txt(tmp_path / "x.txt") == str(tmp_path / "x.txt")
    assert not (tmp_path / "x.txt").exists()


@pytest.mark.public("python::results_plot_instance_keypoints_track_color")
def test_in_instance_mode_a_tracked_object_keeps_the_color_of_its_id():
    ids = (7, 3)
    outlines = result(boxes=TRACKED).plot(labels=False, color_mode="instance", line_width=1)
    for (x, y), i in zip(((5, 12), (30, 40)), ids, strict=True):
        assert tuple(outlines[y, x]) == colors(i, bgr=True)
    points = result(boxes=TRACKED, keypoints=POINTS).plot(boxes=False, color_mode="instance", kpt_radius=3)
    for (x, y), i in zip(((10, 10), (25, 40), (50, 50)), (7, 7, 3), strict=True):
        assert tuple(points[y, x]) == colors(i, bgr=True)
    plain = result(boxes=BOXES).plot(labels=False, color_mode="instance", line_width=1)
    assert tuple(plain[12, 5]) == colors(0, bgr=True) and tuple(plain[40, 30]) == colors(1, bgr=True)


def test_in_class_mode_the_points_of_an_object_can_be_told_apart():
    drawn = result(boxes=TRACKED, keypoints=POINTS).plot(boxes=False, kpt_radius=3)
    assert tuple(drawn[10, 10]) == tuple(drawn[50, 50]) == colors(0, bgr=True)
    assert tuple(drawn[40, 25]) == colors(1, bgr=True)


def test_every_keyword_of_plot_draws(tmp_path, monkeypatch):
    shown, show = [], "ultralytics.utils.display.show_image"
    monkeypatch.setattr(show, lambda title, im, wait=0: shown.append((title, im.shape)))
    found = result(boxes=BOXES, masks=MASKS, keypoints=POINTS)
    file = tmp_path / "out.png"
    drawn = found.plot(
        True, 2, 9, "Arial.ttf", False, image(), 4, False, True, True, True, True, True, True, file, "class", (0, 0, 0)
    )
    assert np.array_equal(cv2.imread(str(file)), drawn) and shown == [("x.jpg", (64, 80, 3))]
    assert not np.array_equal(found.plot(font_size=9, labels=False), found.plot(font_size=9))
    assert not np.array_equal(found.plot(masks=False), found.plot())
    assert not np.array_equal(found.plot(txt_color=(0, 0, 255)), found.plot(txt_color=(255, 0, 0)))
    assert np.array_equal(found.plot(img=torch.from_numpy(image())), found.plot(img=Image.fromarray(image())))
    assert np.array_equal(np.asarray(found.plot(pil=True))[..., ::-1], found.plot())
    assert found.save(tmp_path / "saved.png", True, 3) == str(tmp_path / "saved.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "saved.png")), found.plot(True, 3))
    with pytest.raises(ConfigError, match="color_mode='foo': expected 'class' or 'instance'"):
        found.plot(color_mode="foo")
    classified = result(probs=torch.tensor([0.2, 0.8]))
    assert changed(classified.plot()).any() and not changed(classified.plot(probs=False)).any()


# The annotator ------------------------------------------------------------------------------------------------------


@pytest.mark.public("python::annotator_tensor_image")
def test_the_annotator_takes_a_tensor_and_masks_as_a_tensor():
    annotator = Annotator(torch.from_numpy(image()))
    annotator.masks(MASKS, [(255, 0, 0), (0, 255, 0)])
    blue, green = annotator.result()[12, 12], annotator.result()[40, 45]
    assert blue.argmax() == 0 and green.argmax() == 1
    fainter = Annotator(image())
    fainter.masks(MASKS.numpy(), [(255, 0, 0), (0, 255, 0)], alpha=0.1)
    assert GRAY < fainter.im[12, 12, 0] < blue[0]
    Annotator(image()).masks(torch.zeros(0, 64, 80), [])
    with pytest.raises(ValueError, match=r"shape \(3, 64, 80\) torch.float32: expected \(H, W, 3\) torch.uint8"):
        Annotator(torch.zeros(3, 64, 80))


def test_keypoints_take_a_color_a_threshold_and_a_shape():
    def drawn(points, **settings):
        annotator = Annotator(image())
        annotator.kpts(points, **settings)
        return annotator.im

    assert tuple(drawn(POINTS[1], kpt_color=(1, 2, 3))[50, 50]) == (1, 2, 3)
    assert not changed(drawn(POINTS[1]))[20, 60] and changed(drawn(POINTS[1], conf_thres=0.05))[20, 60]
    edge = torch.tensor([[0.0, 0.0], [40, 64]])
    assert changed(drawn(edge)).any() and not changed(drawn(edge, shape=(64, 80))).any()
    person = torch.cat((torch.rand(17, 2) * 60 + 2, torch.ones(17, 1)), 1)
    assert changed(drawn(person)).sum() > changed(drawn(person, kpt_line=False)).sum()


def test_small_tools_of_the_annotator(tmp_path):
    annotator = Annotator(image(), pil=True)
    annotator.rectangle((10, 10, 20, 20), fill=(1, 2, 3), outline=(9, 9, 9), width=1)
    assert tuple(annotator.im[15, 15]) == (1, 2, 3) and tuple(annotator.im[10, 15]) == (9, 9, 9)
    annotator.save(tmp_path / "a.png")
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png")), annotator.result())
    assert isinstance(annotator.result(pil=True), Image.Image)
    annotator.fromarray(np.zeros((8, 9, 3), np.uint8))
    assert (annotator.width, annotator.height) == (9, 8)
    assert Annotator.get_bbox_dimension((1, 2, 5, 9)) == (4, 7, 28)
    assert Annotator.get_txt_color((255, 255, 255)) == (0, 0, 0)


def test_a_label_that_would_hide_another_is_left_out():
    annotator = Annotator(np.full((160, 200, 3), GRAY, np.uint8), line_width=1, font_size=20)
    for i in range(40):
        annotator.label((60 + i % 3, 60, 120, 100), "nucleus", colors(i, bgr=True))
    assert 1 < len(annotator._labels) < 12
    for i, (x1, y1, x2, y2) in enumerate(annotator._labels):
        hidden = sum(
            max(min(x2, c) - max(x1, a), 0) * max(min(y2, d) - max(y1, b), 0)
            for a, b, c, d in annotator._labels[i + 1 :]
        )
        assert hidden <= 0.4 * (x2 - x1) * (y2 - y1)
