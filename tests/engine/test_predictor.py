"""Prediction through the whole stack: what may be looked at, what every option changes, what is said."""

import re
from collections.abc import Iterator
from pathlib import Path
from weakref import WeakSet

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.close import assert_same_detections
from ultralytics import YOLO
from ultralytics.engine import predictor as predictor_module
from ultralytics.utils import ASSETS, display
from ultralytics.utils.errors import ConfigError, DeviceError, ModelError, SourceError
from ultralytics.utils.metrics import box_iou


@pytest.fixture
def predict(detector):
    """`predict(source, **options)`: results of `detector` at 160 pixels."""
    return lambda source, **options: detector.predict(source, **{"imgsz": 160, "verbose": False, **options})


@pytest.fixture
def inputs(detector):
    """The tensors that the network gets to see."""
    seen = []
    detector.model.model[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    return seen


@pytest.fixture
def folder(tmp_path, picture):
    """Five pictures, the last one of another shape."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(5):
        cv2.imwrite(str(folder / f"{i}.png"), np.roll(picture[:, : 160 if i < 4 else 80], 10 * i, 1))
    return folder


@pytest.fixture
def clip(tmp_path, picture):
    """A video of 24 frames, 160 x 120, 12 a second."""
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12, (160, 120))
    for i in range(24):
        writer.write(np.roll(picture, 5 * i, 1))
    writer.release()
    return path


def as_tensor(picture):
    return torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())


KINDS = {
    "path": lambda path, picture: str(path),
    "Path": lambda path, picture: path,
    "folder": lambda path, picture: path.parent,
    "pattern": lambda path, picture: f"{path.parent}/*.pn?",
    "list file": lambda path, picture: path.with_name("list.txt"),
    "list": lambda path, picture: [path],
    "array": lambda path, picture: picture,
    "image": lambda path, picture: Image.open(path),
    "bytes": lambda path, picture: as_tensor(picture),
    "tensor": lambda path, picture: as_tensor(picture) / 255,
    "batch": lambda path, picture: as_tensor(picture)[None] / 255,
}


@pytest.mark.public("python::predict_img")
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_every_kind_of_source(predict, picture, tmp_path, kind):
    path = tmp_path / "ä 图" / "one.png"
    path.parent.mkdir()
    path.write_bytes(cv2.imencode(".png", picture)[1])
    path.with_name("list.txt").write_text("one.png\n", encoding="utf-8")
    [result] = predict(kind(path, picture))
    assert (result.orig_img == picture).all() and result.orig_shape == (120, 160)
    assert torch.equal(result.boxes.data, predict(picture)[0].boxes.data) and len(result) > 50


@pytest.mark.public("python::model_forward")
def test_call_and_predict_are_the_same(detector, picture):
    called, predicted = (look(picture, imgsz=160, conf=0.3)[0] for look in (detector, detector.predict))
    assert torch.equal(called.boxes.data, predicted.boxes.data)
    assert detector.predictor.args.conf == 0.3


def test_a_video(predict, clip, picture, caplog):
    results = predict(clip, verbose=True, vid_stride=2)
    assert len(results) == 12 and {r.path for r in results} == {str(clip)}
    assert all(r.orig_shape == (120, 160) for r in results)
    assert f"video 1/1 (frame 2/12) {clip}: 128x160 " in caplog.text
    assert len(predict([clip, picture, clip], vid_stride=10)) == 5


def test_batches_change_nothing_but_the_speed(predict, inputs, folder):
    one_by_one = predict(folder)
    assert [x.shape[0] for x in inputs] == [1] * 5
    inputs.clear()
    together = predict(folder, batch=2)
    assert [x.shape[0] for x in inputs] == [2, 2, 1]
    assert [r.path for r in one_by_one] == [r.path for r in together] == [str(folder / f"{i}.png") for i in range(5)]
    for a, b in zip(one_by_one, together, strict=True):
        assert_same_detections(a.boxes.data[:20], b.boxes.data[:20], atol=1e-3)


def test_a_batch_has_the_smallest_rectangle_that_holds_all_of_it(predict, inputs, folder):
    predict(folder, batch=4)
    assert [tuple(x.shape) for x in inputs] == [(4, 3, 128, 160), (1, 3, 160, 128)]
    inputs.clear()
    predict(folder, batch=5)
    predict(folder / "0.png", rect=False)
    predict(folder / "0.png", imgsz=[96, 320])
    assert [tuple(x.shape) for x in inputs] == [(5, 3, 160, 160), (1, 3, 160, 160), (1, 3, 96, 128)]


def test_pictures_in_memory_go_together(predict, inputs, picture):
    pictures = [picture] * (predictor_module.TOGETHER + 1)
    assert len(predict(pictures)) == len(pictures)
    assert [x.shape[0] for x in inputs] == [16, 1]
    inputs.clear()
    predict(pictures[:3], batch=1)
    assert [x.shape[0] for x in inputs] == [1, 1, 1]


def test_a_list_of_paths_goes_together_too(predict, inputs, folder):
    """Pictures of several shapes, here wide and tall ones, are letterboxed to one size."""
    paths = [str(folder / f"{i}.png") for i in range(5)]
    assert [r.path for r in predict(paths)] == paths
    assert [tuple(x.shape) for x in inputs] == [(5, 3, 160, 160)]
    inputs.clear()
    predict(paths, batch=1)
    assert [tuple(x.shape) for x in inputs] == [(1, 3, 128, 160)] * 4 + [(1, 3, 160, 128)]
    inputs.clear()
    predict([str(folder)])  # a folder, which may be large, is predicted on one by one
    assert len(inputs) == 5


def test_a_tensor_that_fits_goes_to_the_network_as_it_is(predict, inputs):
    tensor = torch.rand(2, 3, 64, 96)
    results = predict(tensor, imgsz=320, conf=0.01)
    assert len(inputs) == 1 and torch.equal(inputs[0], tensor)
    assert [r.orig_shape for r in results] == [(64, 96)] * 2 and all(len(r) for r in results)
    assert all((r.boxes.xyxy[:, 2] <= 96).all() for r in results)
    predict(torch.rand(3, 64, 90), imgsz=160)
    assert inputs[1].shape == (1, 3, 128, 160)


def within(boxes, same_class):
    """Largest IoU of two boxes, with `same_class` of one class; those cut off by the picture's edge are left out."""
    low, high = boxes.xyxy[:, :2], boxes.xyxy[:, 2:]
    boxes = boxes[(low > 0).all(1) & (high < torch.tensor([160, 120])).all(1)]
    iou = box_iou(boxes.xyxy, boxes.xyxy).fill_diagonal_(0)
    return (iou * (boxes.cls[:, None] == boxes.cls) if same_class else iou).max().item()


def test_options_that_choose_boxes(predict, picture, caplog):
    every = predict(picture)[0].boxes
    assert every.conf.min() > 0.25 and 0.6 < within(every, same_class=True) <= 0.7 < within(every, same_class=False)
    sure = predict(picture, conf=0.35)[0].boxes
    assert 0 < len(sure) < len(every) and sure.conf.min() > 0.35
    assert within(predict(picture, iou=0.4)[0].boxes, same_class=True) <= 0.4
    assert within(predict(picture, agnostic_nms=True)[0].boxes, same_class=False) <= 0.7
    assert torch.equal(predict(picture, single_cls=True)[0].boxes.data, every.data)  # which is for train and val
    assert torch.equal(predict(picture, max_det=7)[0].boxes.data, every.data[:7])
    two = predict(picture, classes=[0, 2])[0].boxes
    assert torch.equal(two.data, every.data[every.cls != 1]) and (every.cls == 1).any()
    assert set(predict(picture, classes=1)[0].boxes.cls.tolist()) == {1}
    assert len(predict(picture, classes=[3])[0].boxes) == 0
    assert "classes=[3]: the network has the classes 0 to 2" in caplog.text
    assert set(predict(picture, classes=[1, 3])[0].boxes.cls.tolist()) == {1}


def test_what_is_said(detector, predict, folder, caplog):
    results = predict(folder, verbose=True)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 6
    assert re.fullmatch(rf"image 2/5 {re.escape(str(folder))}/1\.png: 128x160 (\d+ [abc]s?, )+\d+\.\dms", lines[1])
    assert re.fullmatch(
        r"Speed: \d+\.\dms preprocess, \d+\.\dms inference, \d+\.\dms postprocess per image "
        r"at shape \(1, 3, 160, 128\)",
        lines[5],
    )
    assert all(set(r.speed) == {"preprocess", "inference", "postprocess"} for r in results)
    mean = sum(r.speed["inference"] for r in results) / 5
    assert detector.predictor.speed["inference"] == pytest.approx(mean) and mean > 0
    caplog.clear()
    predict(folder)
    assert not caplog.records


def test_a_stream_gives_results_one_by_one(detector, predict, folder):
    started = []
    detector.add_callback("on_predict_batch_start", lambda p: started.append(p.batch[0][0]))
    results = predict(folder, stream=True)
    assert isinstance(results, Iterator) and not started
    for i, result in enumerate(results, 1):
        assert len(started) == i and result.path == started[-1]
        assert torch.is_grad_enabled()
    assert i == 5


def test_a_stream_keeps_nothing(predict, clip):
    alive, most = WeakSet(), 0
    for result in predict(clip, stream=True, batch=4):
        alive.add(result)
        most = max(most, len(alive))
        del result
    assert most <= 2 * 4


def test_a_broken_picture_is_left_out(predict, folder, caplog):
    (folder / "1.png").write_bytes(b"")
    (folder / "3.png").write_text("no picture")
    results = predict(folder, batch=2, verbose=True)
    assert [Path(r.path).name for r in results] == ["0.png", "2.png", "4.png"]
    assert f"Skipped {folder / '1.png'}: empty, zero bytes" in caplog.text
    assert "image 5/5" in caplog.text and "2 of 5 images and videos were skipped" in caplog.text
    for path in folder.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(SourceError, match="None of the 5 images and videos can be read"):
        predict(folder)


@pytest.mark.public("python::predict_callback_and_setup")
def test_callbacks(detector, predict, folder, clip):
    said = []
    for event in ("start", "batch_start", "postprocess_end", "batch_end", "end"):
        detector.add_callback(f"on_predict_{event}", lambda p, event=event: said.append((event, p.seen)))
    predict([folder / "0.png", folder / "1.png", folder / "2.png"], batch=2)
    of_a_batch = ("batch_start", 0), ("postprocess_end", 0), ("batch_end", 2)
    assert said == [("start", 0), *of_a_batch, ("batch_start", 2), ("postprocess_end", 2), ("batch_end", 3), ("end", 3)]
    detector.callbacks.clear()
    detector.add_callback("on_predict_postprocess_end", lambda p: p.results[0].update(boxes=torch.zeros(0, 6)))
    assert len(predict(folder / "0.png")[0]) == 0


@pytest.mark.public("python::model_forward")
def test_without_a_source_it_looks_at_the_assets(detector, predict, caplog):
    results = predict(None)
    assert sorted(Path(r.path).name for r in results) == ["bus.jpg", "zidane.jpg"]
    assert caplog.text.count("no source= was given") == 1 and str(ASSETS) in caplog.text
    assert len(detector(imgsz=64, source=ASSETS / "bus.jpg", verbose=False)) == 1


# YOLO.embed of the public package (8.4.190, CPU) on the first image of BCCD: of the layer before the head, of
# embed=[3, 5], and at imgsz=128: the norm and the first number of the vector.
VECTORS = {
    "detect": ((8.61979, 0.11837), (8.12948, -0.15656), (7.94385, 0.01357)),
    "segment": ((4.44166, 0.37468), (5.97204, -0.20574), (4.41087, 0.39512)),
    "pose": ((4.93877, -0.18091), (6.54144, 0.52649), (4.7323, -0.13297)),
    "obb": ((6.38112, 0.82986), (5.49947, 0.26489), (6.59616, 0.91397)),
    "classify": ((10.88508, 0.4202), (7.91579, 0.64264), (10.39522, 0.54991)),
}


@pytest.mark.public("python::model_embeddings")
@pytest.mark.parametrize("task", VECTORS)
def test_vectors_are_the_public_ones(reference, task):
    model = YOLO(reference / "golden" / "weights" / f"{task}.pt")
    image = reference / "data" / "bccd" / "images" / "train" / "BloodImage_00000.jpg"
    calls = (model.embed, {}), (model.predict, {"embed": [3, 5]}), (model.embed, {"imgsz": 128})
    for (call, options), expected in zip(calls, VECTORS[task], strict=True):
        (vector,) = call(image, verbose=False, **options)
        assert vector.ndim == 1 and (vector.norm().item(), vector[0].item()) == pytest.approx(expected, abs=2e-4)


def test_vectors_of_many_images(detector, folder, caplog):
    stream = detector.embed(folder, stream=True, imgsz=64, verbose=False)
    assert isinstance(stream, Iterator) and [v.shape for v in stream] == [detector.embed(folder, imgsz=64)[0].shape] * 5
    assert not detector.predictor.seen and not detector.predictor.results
    with pytest.raises(ModelError, match=r"embed=\[99\]: there is no layer 99"):
        detector.predict(folder, embed=99)
    with pytest.raises(ConfigError, match="no predictions for augment=True"):
        detector.embed(folder, augment=True)


@pytest.fixture
def shown(monkeypatch):
    """What would have been shown: (title, picture, wait)."""
    windows = []
    monkeypatch.setattr(display, "show_image", lambda *window: windows.append(window))
    return windows


def test_show(predict, picture, clip, shown):
    [result] = predict(picture, show=True, show_labels=False, line_width=5)
    predict(clip, show=True, vid_stride=12)
    assert [(title, wait) for title, _, wait in shown] == [("image0.jpg", 0), (str(clip), 1), (str(clip), 1)]
    assert (shown[0][1] == result.plot(labels=False, line_width=5)).all()


def test_show_without_a_display(predict, picture, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="there is no display"):
        predict(picture, show=True)


@pytest.mark.parametrize("name", ["car-detection.mp4", "bottle-detection.mp4"])
def test_real_videos(predict, reference, name):
    results = list(predict(reference / "data" / "video" / name, stream=True, vid_stride=60))
    assert len(results) == {"car-detection.mp4": 377, "bottle-detection.mp4": 1189}[name] // 60
    assert len({r.orig_shape for r in results}) == 1


def test_real_photos(predict, reference):
    results = predict([reference / "data" / "photos" / name for name in ("skimage", "sklearn")])
    assert [Path(r.path).stem for r in results] == ["astronaut", "chelsea", "coffee", "rocket", "flower"]
