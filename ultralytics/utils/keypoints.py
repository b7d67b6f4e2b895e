"""Keypoints: how similar two sets of them are, and how COCO's seventeen hang together."""

from torch import Tensor

SHARE_OF_BOX = 0.53  # of a box that its object covers on average, where areas are not known
COCO_SHAPE = (17, 3)
# How exactly people place COCO's points: standard deviations in roots of an object's area
# (https://cocodataset.org/#keypoints-eval).
COCO_SIGMAS = tuple(
    sigma / 10
    for sigma in (0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89)
)
# Limbs of a person by part: pairs of COCO's points, which are nose, eyes, ears, shoulders, elbows, wrists, hips, knees,
# ankles, of each pair the left one first.
COCO_LIMBS: dict[str, tuple[tuple[int, int], ...]] = {
    "head": ((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6)),
    "trunk": ((5, 6), (5, 11), (6, 12), (11, 12)),
    "left arm": ((5, 7), (7, 9)),
    "right arm": ((6, 8), (8, 10)),
    "left leg": ((11, 13), (13, 15)),
    "right leg": ((12, 14), (14, 16)),
}


def is_kpt_shape(value: object) -> bool:
    """Whether it is [K, D]: a number of points, and 2 or 3, the numbers of each."""
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(type(v) is int for v in value)
    return pair and value[0] >= 1 and value[1] in (2, 3)


def oks_sigmas(kpt_shape: tuple[int, int], given: tuple[float, ...] | None = None) -> tuple[float, ...]:
    """Of each point: those `given` by the data, COCO's for its shape, else the same for all, 1 / K."""
    points = kpt_shape[0]
    return tuple(given) if given else COCO_SIGMAS if tuple(kpt_shape) == COCO_SHAPE else (1 / points,) * points


def distance_exponent(squared: Tensor, sigmas: Tensor, area: Tensor) -> Tensor:
    """What OKS has in its exponent: squared distances in units of (2 sigma)^2 times the object's area, halved.

    `squared` (..., K), `sigmas` (K,), `area` (...).
    """
    return squared / (2 * (2 * sigmas).square() * area[..., None])


def keypoint_similarity(truth: Tensor, found: Tensor, area: Tensor, sigmas: Tensor, eps: float = 1e-7) -> Tensor:
    """Object keypoint similarity (m, n) of true points (m, K, 3) with found ones (n, K, 2 or more).

    `area` (m,) is that of the true objects, in the square of the points' unit. The mean is over the points whose
    visibility is not 0; an object without any is similar to nothing.
    """
    squared = (truth[:, None, :, :2] - found[None, :, :, :2]).square().sum(-1)  # (m, n, K)
    seen = (truth[..., 2] != 0).to(squared.dtype)[:, None]
    similar = (-distance_exponent(squared, sigmas, area[:, None] + eps)).exp()
    return (similar * seen).sum(-1) / (seen.sum(-1) + eps)
