"""Kinds of errors: hand-made cases of each, what must hold for any image, and the files of a validation."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tests.training import data, network  # noqa: F401 (fixtures)
from ultralytics import YOLO
from ultralytics.utils.files import read_csv
from ultralytics.utils.metrics import match_predictions
from ultralytics.utils.paper.errors import KINDS, ImageErrors, error_kinds, write_errors
from ultralytics.utils.paper.pictures import COLORS, draw_errors


def kinds_of(iou, pred_cls, true_cls):
    kinds, about = error_kinds(
        np.array(iou, float).reshape(len(true_cls), len(pred_cls)), np.array(pred_cls), np.array(true_cls)
    )
    return [KINDS[kind] for kind in kinds], about.tolist()


@pytest.mark.parametrize(
    ("iou", "pred_cls", "true_cls", "kinds", "about"),
    [
        ([[0.8]], [0], [0], ["hit"], [0]),
        ([[0.5]], [0], [0], ["hit"], [0]),
        ([[0.8]], [1], [0], ["class"], [0]),
        ([[0.3]], [0], [0], ["localization"], [0]),
        ([[0.3]], [1], [0], ["both"], [-1]),
        ([[0.05]], [0], [0], ["background"], [-1]),
        ([[0.05]], [1], [0], ["background"], [-1]),
        ([[]], [], [0], [], []),
        (np.zeros((0, 2)), [0, 1], [], ["background", "background"], [-1, -1]),
        ([[0.7, 0.9]], [0, 0], [0], ["hit", "duplicate"], [0, -1]),
        ([[0.9, 0.6], [0.1, 0.55]], [0, 0], [0, 0], ["hit", "hit"], [0, 1]),
        ([[0.3], [0.7]], [0], [0, 1], ["localization"], [0]),  # of its own class first, as TIDE has it
        ([[0.05], [0.7]], [0], [0, 1], ["class"], [1]),
    ],
)
def test_each_kind(iou, pred_cls, true_cls, kinds, about):
    assert kinds_of(iou, pred_cls, true_cls) == (kinds, about)


@st.composite
def images(draw):
    m, n = draw(st.integers(0, 4)), draw(st.integers(0, 6))
    iou = draw(arrays.arrays(float, (m, n), elements=st.sampled_from([0, 0.05, 0.1, 0.3, 0.5, 0.6, 0.9, 1])))
    return iou, *(draw(arrays.arrays(int, k, elements=st.integers(0, 2))) for k in (n, m))


@given(images(), st.integers(0, 6))
def test_hits_are_those_of_ap50_and_less_confident_detections_change_nothing(image, n):
    iou, pred_cls, true_cls = image
    kinds, about = error_kinds(iou, pred_cls, true_cls)
    hits = match_predictions(pred_cls, true_cls, iou, np.array([0.5]))[:, 0]
    assert ((kinds == 0) == hits).all() and len(set(about[hits])) == hits.sum()
    alone = error_kinds(iou[:, :n], pred_cls[:n], true_cls)
    assert all((a == b[:n]).all() for a, b in zip(alone, (kinds, about), strict=True))
    n = min(n, len(pred_cls))
    conf = np.linspace(1, 0, len(pred_cls))
    errors = ImageErrors(
        "a.png", np.zeros((len(pred_cls), 4)), conf, pred_cls, kinds, about, np.zeros((len(true_cls), 4)), true_cls
    )
    some = errors.above(conf[n - 1] if n else 2)
    covered = {
        a for kind, a in zip(some.kinds, some.about, strict=True) if KINDS[kind] in ("hit", "class", "localization")
    }
    assert len(some.conf) == n and some.missed.sum() == len(true_cls) - len(covered)


def test_the_table_counts_by_class(tmp_path):
    kinds, about = np.array([0, 1, 5]), np.array([0, 1, -1])
    boxes, true_boxes = np.tile([2.0, 2, 30, 30], (3, 1)), np.tile([2.0, 2, 30, 30], (3, 1))
    image = ImageErrors(
        "a.png", boxes, np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), kinds, about, true_boxes, np.array([0, 1, 1])
    )
    write_errors(tmp_path / "errors.csv", [image, image], {0: "a", 1: "hit"})
    rows = {row.pop("name"): {k: int(v) for k, v in row.items()} for row in read_csv(tmp_path / "errors.csv")}
    none = dict.fromkeys(("objects", *KINDS, "missed"), 0)
    assert rows["a"] == none | {"objects": 2, "hit": 2, "class": 2}
    assert rows["hit"] == none | {"objects": 4, "background": 2, "missed": 2}
    assert rows["all"] == {k: rows["a"][k] + rows["hit"][k] for k in none}


def test_every_kind_has_its_color_in_the_picture(tmp_path):
    """Boxes that do not touch, upright or rotated; the image with the most errors stands first."""
    n = len(KINDS)
    boxes = np.array([(40 * i + 5, 20, 40 * i + 35, 60) for i in range(n)], float)
    missed = np.array([(40 * n + 5, 20, 40 * n + 35, 60)], float)
    true_boxes = np.concatenate((boxes[:3], missed))
    about = np.array([0, 1, 2, -1, -1, -1])
    image = ImageErrors(
        "many",
        boxes,
        np.linspace(0.9, 0.4, n),
        np.arange(n) % 2,
        np.arange(n),
        about,
        true_boxes,
        np.array([0, 0, 0, 1]),
    )
    rotated = [
        np.column_stack(
            ((b[:, 0] + b[:, 2]) / 2, (b[:, 1] + b[:, 3]) / 2, np.full((len(b), 2), 25), np.full(len(b), 0.3))
        )
        for b in (boxes, true_boxes)
    ]
    turned = ImageErrors("many", rotated[0], image.conf, image.cls, image.kinds, about, rotated[1], image.true_cls)
    none = ImageErrors(
        "none",
        boxes[:0],
        np.zeros(0),
        np.zeros(0, int),
        np.zeros(0, int),
        np.zeros(0, int),
        boxes[:0],
        np.zeros(0, int),
    )
    for i, found in enumerate((image, turned)):
        path = tmp_path / f"{i}.png"
        draw_errors(
            path,
            [none, found],
            {0: "名", 1: "b"},
            lambda file: np.full((80, 290, 3), 90 if file == "many" else 0, np.uint8),
        )
        picture = cv2.imread(str(path))
        assert picture.shape[1] == 2 * 644 - 4
        below = picture[40:, :640].reshape(-1, 3)
        counts = {kind: int((below == color).all(1).sum()) for kind, color in COLORS.items()}
        assert min(counts.values()) > 100, counts
    draw_errors(tmp_path / "nothing.png", [], {}, None)
    assert not (tmp_path / "nothing.png").exists()


def test_where_nothing_is_hit_only_confident_detections_are_drawn(network, data, tmp_path):  # noqa: F811
    """A network of random weights detects everywhere; without objects there is nothing to miss."""
    options = {"device": "cpu", "imgsz": 64, "workers": 0, "verbose": False, "project": str(tmp_path)}
    metrics = YOLO(network, nc=2).val(data=str(data), plots=True, name="random", **options)
    (everything, *_) = read_csv(tmp_path / "random" / "errors.csv")
    assert not metrics.box.f1.any() and everything["hit"] == "0" and int(everything["background"]) < 40
    assert everything["objects"] == everything["missed"] == str(metrics.nt_per_class.sum())
    assert cv2.imread(str(tmp_path / "random" / "errors.png")).shape[0] > 640
    for label in (data.parent / "labels" / "val").iterdir():
        label.write_text("")
    YOLO(network, nc=2).val(data=str(data), plots=True, name="empty", **options)
    (everything, *_) = read_csv(tmp_path / "empty" / "errors.csv")
    assert everything["objects"] == everything["missed"] == "0" and (tmp_path / "empty" / "errors.png").exists()
