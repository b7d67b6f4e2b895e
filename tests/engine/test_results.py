"""Results and Boxes, what predict() returns. Values of the public package are written out here."""

import json
import sys
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics.engine.results import Boxes, Results
from ultralytics.utils import display
from ultralytics.utils.errors import ConfigError, DependencyError, DeviceError, YOLOError
from ultralytics.utils.plotting import colors

NAMES = {0: "RBC", 1: "white cell"}
ROWS = [
    [10.3, 20.6, 110.9, 220.1, 0.912345, 0],
    [300.0, 100.0, 639.9, 479.2, 0.4567891, 1],
    [-3, 5, 50.55555, 60.123456, 0.3, 0],
]
TRACKED = [[10.3, 20.6, 110.9, 220.1, 7, 0.912345, 0], [300.0, 100.0, 639.9, 479.2, 9, 0.4567891, 1]]
SUMMARY = [
    {"name": "RBC", "class": 0, "confidence": 0.91234, "box": {"x1": 10.3, "y1": 20.6, "x2": 110.9, "y2": 220.10001}},
    {
        "name": "white cell",
        "class": 1,
        "confidence": 0.45679,
        "box": {"x1": 300.0, "y1": 100.0, "x2": 639.90002, "y2": 479.20001},
    },
    {"name": "RBC", "class": 0, "confidence": 0.3, "box": {"x1": -3.0, "y1": 5.0, "x2": 50.55555, "y2": 60.12346}},
]
NORMALIZED = [
    {"x1": 0.01609, "y1": 0.04292, "x2": 0.17328, "y2": 0.45854},
    {"x1": 0.46875, "y1": 0.20833, "x2": 0.99984, "y2": 0.99833},
    {"x1": -0.00469, "y1": 0.01042, "x2": 0.07899, "y2": 0.12526},
]
CROPS = [  # box, (height, width) of what the public package cuts out of a 480 x 640 image
    ([304.65207, 417.95636, 334.33984, 480.0], (68, 40)),
    ([183.65804, 183.38026, 349.37085, 245.35094], (73, 179)),
    ([576.80261, 317.53152, 640.0, 359.78830], (53, 69)),
    ([92.19447, 426.61682, 195.89212, 444.88080], (29, 115)),
    ([18.95369, 230.22223, 111.36153, 240.51231], (20, 104)),
    ([503.12833, 221.72566, 605.79523, 334.92715], (126, 114)),
    ([10.3, 20.6, 110.9, 220.1], (214, 112)),
    ([-3, 5, 50.55555, 60.123456], (65, 56)),
]


def gray_image() -> np.ndarray:
    return np.full((480, 640, 3), 114, np.uint8)


def results(rows=ROWS, **kwargs) -> Results:
    return Results(gray_image(), "/somewhere/pic.png", NAMES, boxes=torch.tensor(rows), **kwargs)


EMPTY = Results(gray_image(), "a.jpg", NAMES, boxes=torch.zeros(0, 6))
NOTHING = Results(gray_image(), "a.jpg", NAMES)


@pytest.mark.parametrize("kind", [torch.tensor, lambda rows: np.array(rows, np.float32)])
def test_box_notations(kind):
    boxes = Boxes(kind(ROWS), (480, 640))
    close = {"rtol": 0, "atol": 1e-4}
    np.testing.assert_allclose(boxes.xyxy, np.array(ROWS)[:, :4], **close)
    np.testing.assert_allclose(boxes.xywh[0], [60.6, 120.35, 100.6, 199.5], **close)
    np.testing.assert_allclose(boxes.xyxyn[0], [0.0161, 0.0429, 0.1733, 0.4585], **close)
    np.testing.assert_allclose(boxes.xywhn[0], [0.0946875, 0.250729, 0.157187, 0.415625], **close)
    np.testing.assert_allclose(boxes.conf, [0.912345, 0.4567891, 0.3], **close)
    np.testing.assert_allclose(boxes.cls, [0, 1, 0])
    assert type(boxes.xywhn) is type(boxes.data) and boxes.xywhn.dtype == boxes.data.dtype
    assert boxes.id is None and not boxes.is_track
    assert tuple(boxes.shape) == (3, 6) and boxes.orig_shape == (480, 640)


def test_track_ids():
    boxes = Boxes(torch.tensor(TRACKED), (480, 640))
    assert boxes.is_track and boxes.id.tolist() == [7, 9]
    assert boxes.conf.tolist() == pytest.approx([0.912345, 0.4567891])
    assert [row["track_id"] for row in results(TRACKED).summary()] == [7, 9]


def test_boxes_index_like_their_rows():
    boxes = Boxes(torch.tensor(ROWS), (480, 640))
    assert len(boxes) == 3 and tuple(boxes[0].shape) == (1, 6)
    assert boxes[boxes.conf > 0.4].cls.tolist() == [0, 1]
    assert tuple(boxes[1:].shape) == (2, 6)
    assert [round(float(box.conf), 2) for box in boxes] == [0.91, 0.46, 0.3]
    with pytest.raises(IndexError):
        boxes[3]


@pytest.mark.parametrize("columns", [5, 8])
def test_boxes_of_another_shape_are_refused(columns):
    with pytest.raises(ValueError, match=rf"\(3, {columns}\): expected \(n, 6\)"):
        Boxes(torch.zeros(3, columns), (480, 640))


def test_devices_and_kinds():
    r = results(speed={"inference": 1.5})
    assert isinstance(r.numpy().boxes.data, np.ndarray) and r.numpy().speed == {"inference": 1.5}
    assert r.numpy().cpu().boxes.data.dtype == np.float32
    assert r.to(torch.float64).boxes.data.dtype == torch.float64
    assert isinstance(r.numpy().to("cpu").boxes.data, torch.Tensor)
    assert r.to("meta").boxes.xywh.device.type == "meta"
    assert isinstance(r.boxes.data, torch.Tensor)
    assert "Boxes(shape=(3, 6)" in repr(r.boxes)


def test_results_index_like_their_objects():
    r = results()
    assert len(r) == 3 and [len(one) for one in r] == [1, 1, 1]
    assert r[[0, 2]].boxes.cls.tolist() == [0, 0]
    assert r[1].verbose() == "1 white cell, "
    assert r[1].path == r.path and r[1].orig_img is r.orig_img
    assert len(EMPTY) == len(NOTHING) == 0
    assert list(EMPTY) == list(NOTHING) == []


def test_update_clips_and_new_is_empty():
    r = results()
    fresh = r.new()
    assert fresh.boxes is None and fresh.names == NAMES and len(fresh) == 0
    fresh.update(boxes=torch.tensor(ROWS))
    assert fresh.boxes.xyxy[2].tolist() == pytest.approx([0, 5, 50.55555, 60.123456])
    fresh.update()
    assert len(fresh) == 3


def test_speed_has_its_stages_before_anything_ran():
    assert NOTHING.speed == {"preprocess": None, "inference": None, "postprocess": None}


def test_counts_of_classes_as_text():
    assert results().verbose() == "2 RBCs, 1 white cell, "
    assert EMPTY.verbose() == NOTHING.verbose() == "(no detections), "
    assert repr(results()) == "Results('/somewhere/pic.png', 640x480: 2 RBCs, 1 white cell)"
    assert Results(gray_image(), "a", {0: "x"}, torch.tensor([[1, 2, 3, 4, 0.5, 3]])).verbose() == "1 3, "


@pytest.mark.parametrize("r", [results(), results().numpy()])
def test_summary(r):
    assert r.summary() == SUMMARY
    assert [row["box"] for row in r.summary(normalize=True)] == NORMALIZED
    assert r.summary(decimals=1)[0]["box"]["y2"] == 220.1
    assert json.loads(r.to_json()) == SUMMARY
    assert json.loads(r.to_json(normalize=True))[1]["box"] == NORMALIZED[1]


def test_summary_of_nothing():
    assert EMPTY.summary() == NOTHING.summary() == []
    assert json.loads(EMPTY.to_json()) == []


def test_data_frame():
    pytest.importorskip("pandas")
    frame = results().to_df()
    assert list(frame.columns) == ["name", "class", "confidence", "box"]
    assert frame["confidence"].tolist() == [0.91234, 0.45679, 0.3]


def test_data_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DependencyError, match="pandas cannot be imported"):
        results().to_df()


def test_text_rows_are_appended(tmp_path):
    path = tmp_path / "标签" / "a.txt"
    assert results().save_txt(path) == str(path)
    plain = [
        "0 0.0946875 0.250729 0.157187 0.415625",
        "1 0.734297 0.603333 0.531094 0.79",
        "0 0.0371528 0.0678369 0.0836805 0.114841",
    ]
    assert path.read_text(encoding="utf-8").splitlines() == plain
    results().save_txt(path, save_conf=True)
    with_conf = [f"{row} {conf}" for row, conf in zip(plain, ("0.912345", "0.456789", "0.3"), strict=True)]
    assert path.read_text(encoding="utf-8").splitlines() == plain + with_conf
    results(TRACKED).save_txt(tmp_path / "t.txt", save_conf=True)
    assert (tmp_path / "t.txt").read_text().splitlines()[0] == plain[0] + " 0.912345 7"


def test_no_objects_no_text_file(tmp_path):
    EMPTY.save_txt(tmp_path / "a.txt")
    NOTHING.save_txt(tmp_path / "a.txt")
    assert not (tmp_path / "a.txt").exists()


def test_text_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(YOLOError, match=r"a\.txt cannot be written"):
        results().save_txt(tmp_path / "file" / "a.txt")


@pytest.mark.parametrize(("box", "size"), CROPS)
def test_crops_show_a_little_more_than_the_box(box, size, tmp_path):
    Results(gray_image(), "a", NAMES, torch.tensor([[*box, 0.5, 1]])).save_crop(tmp_path, "c")
    assert cv2.imread(str(tmp_path / "white cell" / "c.jpg")).shape[:2] == size


def test_crops_are_sorted_and_numbered(tmp_path):
    r = results()
    r.save_crop(tmp_path)
    r.save_crop(tmp_path, "foo.png")
    found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jpg")}
    assert found == {f"{c}/{n}.jpg" for c in ("RBC",) for n in ("im", "im-2", "foo", "foo-2")} | {
        "white cell/im.jpg",
        "white cell/foo.jpg",
    }


def test_crops_of_awkward_names_and_places(tmp_path):
    rows = torch.tensor([[-90.0, -90, -50, -40, 0.5, 0], [5, 5, 20, 20, 0.5, 0]])
    Results(gray_image(), "a", {0: "a/b: c?"}, rows).save_crop(tmp_path, "红")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.jpg")] == ["a_b_ c_/红.jpg"]
    NOTHING.save_crop(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_plot_draws_the_boxes_and_leaves_the_image_alone():
    r = results([[100.0, 150.0, 300.0, 400.0, 0.9, 1]])
    drawn = r.plot(line_width=1, labels=False)
    assert drawn.shape == (480, 640, 3) and drawn.dtype == np.uint8
    assert (r.orig_img == 114).all()
    assert tuple(drawn[150, 200]) == tuple(drawn[300, 100]) == tuple(drawn[400, 200]) == colors(1, bgr=True)
    assert ((drawn != 114).any(2).sum()) == 2 * 201 + 2 * 249
    assert (r.plot(boxes=False) == 114).all()
    assert (NOTHING.plot() == 114).all() and (EMPTY.plot() == 114).all()


def test_plot_options():
    r = results([[100.0, 150.0, 300.0, 400.0, 0.9, 1], [320, 150, 500, 400, 0.8, 1]])
    plain = r.plot()
    assert (r.plot(conf=False) != plain).any() and (r.plot(labels=False) != plain).any()
    by_object = r.plot(color_mode="instance", line_width=1)
    assert tuple(by_object[300, 100]) == colors(0, bgr=True) and tuple(by_object[300, 320]) == colors(1, bgr=True)
    image = r.plot(pil=True)
    assert isinstance(image, Image.Image) and (np.array(image)[..., ::-1] == plain).all()
    white = np.full((480, 640, 3), 255, np.uint8)
    assert tuple(r.plot(img=white)[5, 5]) == (255, 255, 255)
    assert tuple(r.plot(img=Image.fromarray(white))[5, 5]) == (255, 255, 255)
    assert (white == 255).all()
    assert (r.plot(line_width=9, font_size=40) != plain).sum() > 1000
    assert (r.numpy().plot() == plain).all()
    with pytest.raises(ConfigError, match="color_mode='classes': expected 'class' or 'instance'"):
        r.plot(color_mode="classes")


def test_the_most_confident_box_is_on_top():
    r = results([[100.0, 150.0, 300.0, 400.0, 0.9, 0], [100, 150, 300, 400, 0.8, 1]])
    assert tuple(r.plot(line_width=1)[300, 100]) == colors(0, bgr=True)


def test_images_are_saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    r = results()
    assert r.save() == "results_pic.png"
    assert (cv2.imread("results_pic.png") == r.plot()).all()
    name = str(tmp_path / "结果" / "图.png")
    assert r.save(name, labels=False) == name
    assert (cv2.imdecode(np.fromfile(name, np.uint8), 1) == r.plot(labels=False)).all()
    r.plot(save=True, filename=tmp_path / "other.jpg")
    assert cv2.imread("other.jpg").shape == (480, 640, 3)
    r.path = "photo.heic"
    assert r.save() == "results_photo.jpg"


def no_display(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def test_show_without_a_display_is_an_error(monkeypatch):
    no_display(monkeypatch)
    with pytest.raises(DeviceError, match="there is no display"):
        results().show()


@pytest.mark.skipif(sys.platform != "linux", reason="only there a dead display aborts the process")
def test_show_on_a_dead_display_is_an_error(monkeypatch):
    no_display(monkeypatch)
    monkeypatch.setenv("DISPLAY", ":4242")
    with pytest.raises(DeviceError, match="no window can be opened on DISPLAY=:4242"):
        results().show()


def test_show_asks_for_a_window_and_waits(monkeypatch):
    """With a display: simulated, as there is none where tests run."""
    calls, keys = [], iter([-1, -1, 13])
    monkeypatch.setattr(display, "_display", nullcontext)
    for name in ("namedWindow", "resizeWindow", "imshow", "destroyAllWindows"):
        monkeypatch.setattr(cv2, name, lambda *args, name=name: calls.append((name, *args)))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *args: 1.0)
    monkeypatch.setattr(cv2, "waitKey", lambda ms: calls.append(("waitKey", ms)) or next(keys))
    r = Results(np.zeros((2000, 4000, 3), np.uint8), "图.png", NAMES)
    r.show()
    assert [c[0] for c in calls] == ["namedWindow", "resizeWindow", "imshow", *["waitKey"] * 3, "destroyAllWindows"]
    assert calls[0][1].isascii() and calls[1][2:] == (1280, 640)
    calls.clear()
    keys = iter([-1])
    r.show(wait=5)
    assert calls[-1] == ("waitKey", 5)


def test_show_with_an_opencv_without_windows(monkeypatch):
    def refuse(*args: object) -> None:
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(display, "_display", nullcontext)
    monkeypatch.setattr(cv2, "namedWindow", refuse)
    with pytest.raises(DeviceError, match="OpenCV cannot open a window"):
        results().show()


def test_golden_predictions_become_results(golden):
    """Real detections: every box is inside its image and counted by class."""
    image = json.loads((golden / "detect-predict.json").read_text(encoding="utf-8"))["images"][0]
    height, width = image["shape"]
    columns = [np.array(image["xyxy"]), np.array(image["conf"])[:, None], np.array(image["cls"])[:, None]]
    r = Results(np.zeros((height, width, 3), np.uint8), image["file"], {0: "RBC", 1: "WBC", 2: "Platelets"})
    r.update(boxes=torch.from_numpy(np.concatenate(columns, 1)))
    assert np.allclose(r.boxes.xyxy, image["xyxy"])
    assert sum(int(part.split()[0]) for part in r.verbose().rstrip(", ").split(", ")) == len(image["xyxy"])
    assert (r.plot() > 0).any()
