"""Small datasets whose pictures say what is in them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ultralytics.cfg import Options, get_options
from ultralytics.data.dataset import YOLODataset, build_dataset
from ultralytics.data.instances import Instances, Sample

PLAIN = {  # nothing random
    **dict.fromkeys(("hsv_h", "hsv_s", "hsv_v", "translate", "scale", "flipud", "fliplr", "mosaic"), 0),
    "close_mosaic": 0,
}
# Far from each other, from black and from the gray of padding, also after interpolation; BGR.
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255)], np.uint8)


@pytest.fixture
def options() -> Callable[..., Options]:
    """`options(**changes)`: options of a training without any randomness, but for the changes."""
    return lambda **changes: get_options({**PLAIN, **changes})


@pytest.fixture
def painted() -> Callable[..., Sample]:
    """`painted(size, boxes, cls)`: a black picture with each box filled in the color of its class."""

    def paint(size: tuple[int, int], boxes: Sequence[Sequence[int]], cls: Sequence[int]) -> Sample:
        img = np.zeros((*size, 3), np.uint8)
        for (x1, y1, x2, y2), c in zip(boxes, cls, strict=True):
            img[y1:y2, x1:x2] = COLORS[c]
        objects = Instances(np.array(cls, np.float32), np.array(boxes, np.float32).reshape(-1, 4))
        return Sample(img, objects, "painted.png", size)

    return paint


@pytest.fixture
def assert_boxes_on_colors() -> Callable[..., None]:
    """`assert_boxes_on_colors(sample, slack)`: each box is where its class's color is, to within `slack` pixels."""

    def check(sample: Sample, slack: float = 1.0) -> None:
        for cls, box in zip(sample.instances.cls.astype(int), sample.instances.boxes, strict=True):
            rows, columns = np.nonzero((np.abs(sample.img.astype(int) - COLORS[cls]) < 128).all(-1))
            seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            np.testing.assert_allclose(box, seen, atol=slack)

    return check


@pytest.fixture
def write_data(tmp_path: Path) -> Callable[..., dict]:
    """`write_data(pictures, rows)`: a dataset of PNG files and label rows, as `load_data_yaml` would describe it."""

    def write(pictures: Sequence[np.ndarray], rows: Sequence[Sequence[Sequence[float]]], nc: int = 8) -> dict:
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir()
        for i, (picture, lines) in enumerate(zip(pictures, rows, strict=True)):
            cv2.imwrite(str(tmp_path / "images" / f"{i:04d}.png"), picture)
            text = "\n".join(" ".join(map(str, line)) for line in lines)
            (tmp_path / "labels" / f"{i:04d}.txt").write_text(text, encoding="utf-8")
        split = [tmp_path / "images"]
        classes = {"nc": nc, "nc_in_files": nc, "names": {i: str(i) for i in range(nc)}}
        return {"train": split, "val": split, "channels": 3} | classes

    return write


@pytest.fixture
def numbered(write_data: Callable[..., dict]) -> Callable[..., dict]:
    """`numbered(n, side)`: square pictures, gray level i in picture i, with one object of class i % 8 in the middle."""

    def write(n: int, side: int = 32) -> dict:
        pictures = [np.full((side, side, 3), i, np.uint8) for i in range(n)]
        return write_data(pictures, [[(i % 8, 0.5, 0.5, 0.5, 0.5)] for i in range(n)])

    return write


@pytest.fixture
def build(options: Callable[..., Options]) -> Callable[..., YOLODataset]:
    """`build(data, **changes)`: a dataset with these options; `augment`, `batch`, `transforms` likewise."""

    def make(data: dict, *, augment: bool = True, batch: int = 4, transforms: Sequence = (), **changes) -> YOLODataset:
        rect = changes.get("rect", False)
        opts = options(**{"imgsz": 32, **changes})
        return build_dataset(data, "train", opts, augment=augment, batch=batch, rect=rect, transforms=transforms)

    return make
