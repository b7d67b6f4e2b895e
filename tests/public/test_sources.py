"""Cases of the public package's tests of sources and label files, by the names of its functions, written anew."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from ultralytics import YOLO
from ultralytics.utils.errors import SourceError


@pytest.fixture
def places(tmp_path, picture, monkeypatch):
    """Pictures a.png and b.png, and c.jpg, d.jpg and e.bmp in a folder, in the current folder."""
    for name in ("a.png", "b.png", "more/c.jpg", "more/d.jpg", "more/e.bmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), picture)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def found(detector):
    """`found(source)`: names of the files that were predicted on."""
    return lambda source: [Path(r.path).name for r in detector.predict(source, imgsz=64, verbose=False)]


@pytest.mark.public("python::predict_txt")
def test_predict_txt(places, found):
    """A list of a file, a folder and patterns: 7 results."""
    (places / "list.txt").write_text("a.png\n\n  more  \nmore/*.jpg\n./b*.png\n", encoding="utf-8")
    assert found(places / "list.txt") == ["a.png", "c.jpg", "d.jpg", "e.bmp", "c.jpg", "d.jpg", "b.png"]
    (places / "more" / "list.txt").write_text(f"c.jpg\n../a.png\n{places}/*.png\na.png", encoding="utf-8")
    assert found("more/list.txt") == ["c.jpg", "a.png", "a.png", "b.png", "a.png"]  # beside the list, or here


@pytest.mark.public("python::predict_csv_multi_row")
def test_predict_csv_multi_row(places, found):
    (places / "list.csv").write_text("a.png\nmore/c.jpg\nmore\n", encoding="utf-8")
    assert found("list.csv") == ["a.png", "c.jpg", "c.jpg", "d.jpg", "e.bmp"]
    (places / "list.csv").write_bytes(b"\xef\xbb\xbfsource\r\na.png\r\nb.png\r\n")  # the one header that it knows
    assert found("list.csv") == ["a.png", "b.png"]


@pytest.mark.public("python::predict_csv_single_row")
def test_predict_csv_single_row(places, found):
    (places / "list.csv").write_text('a.png, b.png ,"more/c.jpg",\n', encoding="utf-8")
    assert found("list.csv") == ["a.png", "b.png", "c.jpg"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("source\n", "list.csv: the list is empty"),
        ("a.png,list.csv\n", "list.csv is another list; write its entries here"),
        ("a.png,more/*.tif\n", r"No image or video in the pattern .*more/\*.tif"),
        ("rtsp://camera\n", "network streams are not read"),
        ("none.png\n", "none.png: no such file"),
    ],
)
def test_csv_lists_that_cannot_be_used(places, found, text, reason):
    (places / "list.csv").write_text(text, encoding="utf-8")
    with pytest.raises(SourceError, match=reason):
        found("list.csv")


def test_what_a_list_names_and_is_not_there_is_said(places, found, caplog):
    (places / "list.csv").write_text("label,source\n3,a.png\n", encoding="utf-8")
    assert found("list.csv") == ["a.png"]
    assert caplog.text.count("no such file") == 3 and "3 of 4 images and videos were skipped" in caplog.text


@pytest.mark.public("python::predict_grey_and_4ch", "python::predict_gray_and_4ch")
def test_predict_grey_and_4ch(places, picture, detector):
    """Gray, transparent and 16-bit files, by path and in memory, are predicted on as three channels of 8 bits."""
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    opaque = np.dstack((picture, np.full(picture.shape[:2], 255, np.uint8)))
    for name, pixels in (("gray.png", gray), ("rgba.png", opaque), ("deep.png", gray.astype(np.uint16) * 257)):
        cv2.imwrite(name, pixels)
        expected = picture if name == "rgba.png" else np.stack([gray] * 3, -1)
        sources = [name, Image.open(name), *([pixels] if pixels.dtype == np.uint8 else [])]
        for source in sources:
            (result,) = detector.predict(source, imgsz=64, verbose=False)
            np.testing.assert_array_equal(result.orig_img, expected)
            assert len(result)


@pytest.mark.public("python::predict_img")
def test_predict_img(words, weights):
    """Every kind of image gives what its file gives, for every task."""
    model, file = YOLO(weights), words["image"]
    pixels = cv2.imread(str(file))
    tensor = torch.from_numpy(pixels[..., ::-1].transpose(2, 0, 1).copy())[None]
    sources = [str(file), file, [file, str(file)], Image.open(file), pixels, [pixels, Image.open(file)]]
    sizes = [1, 1, 2, 1, 1, 2]
    if not any(side % 32 for side in pixels.shape[:2]):
        sources, sizes = [*sources, tensor, tensor / 255], [*sizes, 1, 1]
    results = [model.predict(source, imgsz=max(pixels.shape), conf=0.001, verbose=False) for source in sources]
    assert [len(found) for found in results] == sizes
    expected = results[0][0].summary()
    assert expected and all(found[0].summary() == expected for found in results if len(found) == 1)
    # In a batch of two, outputs are rounded in another way, so that equal scores may change places.
    scores = [sorted(row["confidence"] for row in result.summary()) for found in results for result in found]
    assert all(found == pytest.approx(scores[0], abs=1e-4) for found in scores)


@pytest.mark.public("python::predict_classes_with_max_det")
def test_predict_classes_with_max_det(detector, picture):
    """`classes` picks before `max_det` counts."""
    every = detector.predict(picture, imgsz=160, verbose=False, max_det=1000)[0].boxes
    for cls in (0, 1, 2):
        boxes = detector.predict(picture, imgsz=160, verbose=False, classes=[cls], max_det=3)[0].boxes
        assert boxes.cls.tolist() == [cls] * 3
        np.testing.assert_array_equal(boxes.conf, every.conf[every.cls == cls][:3])


@pytest.mark.public("python::val_save_txt_pose")
def test_val_save_txt_pose(golden, dataset, tmp_path):
    """Label files of a validation of pose: class, box, two points with visibility, confidence."""
    model = YOLO(golden / "weights" / "pose.pt")
    settings = {"imgsz": 96, "save_txt": True, "save_conf": True, "conf": 0.25, "workers": 0, "plots": False}
    data = dataset("glue_tubes_pose") / "data.yaml"
    metrics = model.val(data=data, project=tmp_path, verbose=False, **settings)
    rows = [row.split() for file in (metrics.save_dir / "labels").iterdir() for row in file.read_text().splitlines()]
    shape = model.model.model[-1].kpt_shape
    assert rows and {len(row) for row in rows} == {1 + 4 + shape[0] * shape[1] + 1}
    numbers = np.array(rows, float)
    assert ((numbers[:, 1:] >= 0) & (numbers[:, 1:] <= 1)).all() and (numbers[:, -1] > 0.25).all()


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_a_list_with_a_null_byte_is_refused(detector, tmp_path, name):
    (tmp_path / name).write_bytes(b"photos/a*.jpg\0\n")
    with pytest.raises(SourceError, match=rf"{name}: the list of sources contains a null byte"):
        detector.predict(tmp_path / name, verbose=False)
