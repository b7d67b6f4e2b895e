"""A network and pictures so small that a training run takes a second."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

NETWORK = """
nc: 2
backbone:
  - [-1, 1, Conv, [16, 3, 4]]
  - [-1, 1, Conv, [16, 3, 2]] # 1, stride 8
  - [-1, 1, DynamicConv, [32, 3, 2]] # 2, stride 16
  - [-1, 1, Conv, [32, 3, 2]] # 3, stride 32
head:
  - [[1, 2, 3], 1, {head}]
"""
COLORS = ((40, 40, 230), (230, 200, 30))  # BGR, by class
Draw = Callable[[np.random.Generator], tuple[np.ndarray, list[float]]]  # to corners (n, 2) in pixels, numbers of a row


def draw_split(folder: Path, split: str, count: int, seed: int, most: int, draw: Draw) -> None:
    """Pictures of 64 x 64 with one to `most` colored shapes, which may overlap, and their labels."""
    rng = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True)
    for i in range(count):
        picture, rows = np.full((64, 64, 3), 90, np.uint8), []
        for _ in range(rng.integers(1, most + 1)):
            cls = int(rng.integers(2))
            corners, numbers = draw(rng)
            cv2.fillConvexPoly(picture, np.round((corners - 0.5) * 256).astype(np.int32), COLORS[cls], shift=8)
            rows.append(f"{cls} " + " ".join(f"{v:.6f}" for v in numbers))
        cv2.imwrite(str(folder / "images" / split / f"{i:02d}.png"), picture)
        (folder / "labels" / split / f"{i:02d}.txt").write_text("\n".join(rows), encoding="utf-8")
