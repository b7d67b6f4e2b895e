"""How far apart two float32 computations of the same values may be, and detections in whatever order they come.

Processors, libraries and batch sizes add up the same products in different orders. The outputs of a convolution then
differ by some 3e-7 of their spread (SSE4.1 and AVX2, PyTorch and onnxruntime), after seventy layers a box by up to 5e-5
of its size. So limits on values without bound have a part that grows with the value, and none hangs on a threshold or
on the order of nearly equal scores. Comparisons with the reference files have the limits that are given with those.
"""

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

RAW = {"rtol": 1e-4, "atol": 1e-4}  # outputs of a network's last convolutions
PIXELS = {"rtol": 1e-4, "atol": 1e-2}  # boxes and points decoded from them
SCORES = {"rtol": 0, "atol": 3e-4}  # probabilities, between 0 and 1


def partners(found: Tensor, expected: Tensor) -> Tensor:
    """Index of the row of `found` for each row of `expected`, so that the distances of all pairs add up to the least.

    Rows (n, 4 or more) of boxes or of labels. Detections are sorted by confidence: where two differ by 1e-6, another
    processor may exchange them.
    """
    assert len(found) == len(expected)
    _, order = linear_sum_assignment(torch.cdist(expected.double(), found.double(), float("inf")).numpy())
    return torch.from_numpy(order)


def assert_same_detections(found: Tensor, expected: Tensor, atol: float = PIXELS["atol"]) -> None:
    """Rows (n, 6 or more) xyxy, confidence, class, … are the same: boxes to `atol` pixels and a ten-thousandth."""
    found = found[partners(found, expected)]
    torch.testing.assert_close(found[:, :4], expected[:, :4], rtol=PIXELS["rtol"], atol=atol)
    torch.testing.assert_close(found[:, 4], expected[:, 4], **SCORES)
    assert torch.equal(found[:, 5], expected[:, 5])
