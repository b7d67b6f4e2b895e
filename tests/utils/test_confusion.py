"""The confusion matrix."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.utils.metrics import ConfusionMatrix

BACKGROUND = 3
BOX = [0.0, 0.0, 100.0, 100.0]
NEAR = [0.0, 0.0, 100.0, 80.0]
FAR = [200.0, 0.0, 300.0, 100.0]


def counts(detections: list, objects: list) -> dict[tuple[int, int], int]:
    """(predicted, true): count of detections [box, conf, class] and objects [box, class]."""
    matrix = ConfusionMatrix({0: "a", 1: "b", 2: "c"})
    found = torch.tensor([[*box, conf, cls] for box, conf, cls in detections]).reshape(-1, 6)
    boxes = torch.tensor([box for box, _ in objects]).reshape(-1, 4)
    matrix.process_batch(found, boxes, torch.tensor([float(cls) for _, cls in objects]))
    return {(int(p), int(t)): int(matrix.matrix[p, t]) for p, t in zip(*np.nonzero(matrix.matrix), strict=True)}


@pytest.mark.parametrize(
    ("detections", "objects", "expected"),
    [
        ([], [], {}),
        ([(BOX, 0.9, 1)], [(BOX, 1)], {(1, 1): 1}),
        ([(NEAR, 0.9, 2)], [(BOX, 1)], {(2, 1): 1}),
        ([], [(BOX, 1), (FAR, 0)], {(BACKGROUND, 1): 1, (BACKGROUND, 0): 1}),
        ([(BOX, 0.9, 1)], [], {(1, BACKGROUND): 1}),
        ([(FAR, 0.9, 1)], [(BOX, 1)], {(1, BACKGROUND): 1, (BACKGROUND, 1): 1}),
        ([(BOX, 0.25, 1)], [(BOX, 1)], {(BACKGROUND, 1): 1}),  # not above the confidence
        ([(NEAR, 0.9, 0), (BOX, 0.8, 1)], [(BOX, 1)], {(0, 1): 1, (1, BACKGROUND): 1}),  # the confident one goes first
        ([(NEAR, 0.9, 0), (NEAR, 0.8, 0)], [(BOX, 0), (NEAR, 1)], {(0, 1): 1, (0, 0): 1}),  # the second falls back
    ],
)
def test_cases(detections, objects, expected):
    assert counts(detections, objects) == expected


@given(st.integers(0, 2**32 - 1), st.integers(0, 6), st.integers(0, 9))
def test_everything_is_counted_once(seed, objects, detections):
    generator = torch.Generator().manual_seed(seed)
    corner, size = torch.rand(2, objects + detections, 2, generator=generator) * 50
    boxes = torch.cat((corner, corner + size), 1)
    classes = torch.randint(3, (objects + detections,), generator=generator).float()
    conf = torch.linspace(1, 0.3, detections)
    matrix = ConfusionMatrix({0: "a", 1: "b", 2: "c"})
    found = torch.cat((boxes[objects:], conf[:, None], classes[objects:, None]), 1)
    for _ in range(2):
        matrix.process_batch(found, boxes[:objects], classes[:objects])
    true, predicted = (np.bincount(c.int(), minlength=3) for c in (classes[:objects], classes[objects:]))
    np.testing.assert_array_equal(matrix.matrix[:, :3].sum(0), 2 * true)
    np.testing.assert_array_equal(matrix.matrix[:3].sum(1), 2 * predicted)
    assert matrix.matrix[BACKGROUND, BACKGROUND] == 0
