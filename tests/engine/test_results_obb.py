"""Results of rotated boxes. The values of the summary and the text row are the public package's for its golden box."""

import cv2
import numpy as np
import pytest
import torch

from ultralytics.engine.results import OBB, Results
from ultralytics.utils.plotting import colors, plot_images

NAMES = {0: "plane", 1: "ship"}
ROWS = [[100, 120, 90, 30, 0.5, 0.9, 0], [220, 80, 60, 40, 1.9, 0.8, 1], [310, 230, 80, 30, 0.3, 0.7, 0]]
GOLDEN = [6.059230804443359, 47.2545166015625, 10.476134300231934, 13.49708080291748, 0.02344142459332943, 0.7454137, 0]
CORNERS = (11.13768, 54.12398, 11.45404, 40.63061, 0.98078, 40.38506, 0.66442, 53.87843)
TEXT = "0 0.0435066 0.211422 0.0447423 0.158713 0.00383119 0.157754 0.0025954 0.210463 0.745414"


def results(rows=ROWS, size=(240, 320), **kwargs):
    return Results(np.full((*size, 3), 114, np.uint8), "a.jpg", NAMES, obb=torch.tensor(rows).reshape(-1, 7), **kwargs)


def test_notations():
    tensor = OBB(torch.tensor(ROWS), (240, 320))
    for obb in (tensor, tensor.numpy()):
        as_array = np.asarray
        assert (len(obb), obb.shape, obb.is_track, obb.id) == (3, (3, 7), False, None)
        np.testing.assert_allclose(as_array(obb.xywhr), np.array(ROWS)[:, :5], rtol=1e-6)
        np.testing.assert_allclose(as_array(obb.conf), [0.9, 0.8, 0.7])
        assert as_array(obb.cls).tolist() == [0, 1, 0]
        corners = as_array(obb.xyxyxyxy)
        assert corners.shape == (3, 4, 2)
        np.testing.assert_allclose(corners.mean(1), np.array(ROWS)[:, :2], atol=1e-4)
        np.testing.assert_allclose(as_array(obb.xyxyxyxyn), corners / (320, 240), rtol=1e-6)
        np.testing.assert_allclose(as_array(obb.xyxy), np.concatenate((corners.min(1), corners.max(1)), 1))
    assert isinstance(tensor.xyxy, torch.Tensor) and isinstance(tensor.numpy().xyxyxyxyn, np.ndarray)
    assert torch.equal(tensor[1].data, tensor.data[1:2])


def test_track_ids_and_wrong_shapes():
    tracked = OBB(np.array([[1.0, 2, 3, 4, 0.5, 7, 0.9, 1]]), (10, 10))
    assert (tracked.id.tolist(), tracked.conf.tolist(), tracked.cls.tolist()) == ([7], [0.9], [1])
    with pytest.raises(ValueError, match=r"obb have shape \(1, 6\): expected \(n, 7\) or, with track ids, \(n, 8\)"):
        OBB(np.zeros((1, 6)), (10, 10))


def test_values_of_the_public_package(tmp_path):
    r = results([GOLDEN], size=(256, 256))
    (row,) = r.summary()
    assert (row["name"], row["class"], row["confidence"]) == ("plane", 0, 0.74541)
    assert list(row["box"]) == ["x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4"]
    np.testing.assert_allclose(list(row["box"].values()), CORNERS, atol=2e-5)
    np.testing.assert_allclose(list(r.summary(normalize=True)[0]["box"].values()), np.array(CORNERS) / 256, atol=1e-5)
    r.save_txt(tmp_path / "a.txt", save_conf=True)
    ours, theirs = ([float(v) for v in text.split()] for text in ((tmp_path / "a.txt").read_text(), TEXT))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    r.save_txt(tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text().split() == (tmp_path / "a.txt").read_text().split()[:-1]


def test_results_of_rotated_boxes():
    r = results()
    assert r.boxes is None and len(r) == 3
    assert r.verbose() == "2 planes, 1 ship, "
    assert len(r[1]) == 1 and r[1].obb.cls.tolist() == [1]
    assert isinstance(r.numpy().obb.data, np.ndarray) and len(r.new()) == 0
    assert r.to_df().shape == (3, 4) and '"x4"' in r.to_json()
    r.update(obb=torch.tensor(ROWS)[:1])
    assert len(r) == 1 and r.obb.xyxyxyxy.max() > 100
    assert results([]).summary() == [] and results([]).verbose() == "(no detections), "


def test_crops_are_the_bounds(tmp_path):
    results([ROWS[0]]).save_crop(tmp_path)
    height, width = cv2.imread(str(tmp_path / "plane" / "im.jpg")).shape[:2]
    bounds = results([ROWS[0]]).obb.xyxy[0]
    assert abs(width - (1.02 * float(bounds[2] - bounds[0]) + 10)) < 2
    assert abs(height - (1.02 * float(bounds[3] - bounds[1]) + 10)) < 2


def assert_on_edge(mask, row, slack):
    """The pixels of `mask` lie on the edge of a rotated box, and on all of it."""
    x, y, w, h, theta = row[:5]
    rows, columns = np.nonzero(mask)
    points = np.stack((columns, rows), 1) + 0.5 - (x, y)
    place = np.abs(points @ np.array(((np.cos(theta), -np.sin(theta)), (np.sin(theta), np.cos(theta))))) * 2 / (w, h)
    far = np.abs((place - 1) * (w, h) / 2)  # from the two pairs of sides
    assert (far.min(1) < slack).all()
    assert (place.max(0) > 0.9).all() and len(rows) > w + h


def test_drawn_as_rotated():
    drawn = results([ROWS[0]]).plot(line_width=1, labels=False)
    assert_on_edge((drawn != 114).any(2), ROWS[0], slack=2)
    row = [0.5, 0.5, 0.5, 0.25, 0.4]
    batch = torch.full((1, 3, 480, 480), 0.5)
    tile = plot_images(batch, torch.zeros(1), torch.zeros(1), torch.tensor([row]), names={0: ""})
    blue = (tile == colors(0, bgr=True)).all(2)
    blue[:190] = False  # the label, which is above
    assert blue.sum() > 200
    outside = results([[500, 500, 20, 20, 0.3, 0.9, 0]]).plot()
    assert (outside == 114).all()


def test_the_most_confident_is_on_top():
    r = results([[100, 100, 80, 40, 0.2, 0.9, 1], [100, 100, 80, 40, 0.2, 0.5, 0]])
    drawn = r.plot(line_width=2, labels=False)
    assert (drawn == colors(1, bgr=True)).all(2).any() and not (drawn == colors(0, bgr=True)).all(2).any()
