"""Rotated detections as files: rows of predictions.json, and the Task1 files that DOTA's server takes
(https://captain-whu.github.io/DOTA/evaluation.html).
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch

from ultralytics.utils.coco import image_id
from ultralytics.utils.files import atomic_write
from ultralytics.utils.ops import xywhr2xyxyxyxy


def to_dota_predictions(file: str | Path, detections: torch.Tensor) -> list[dict[str, object]]:
    """Rows of predictions.json of an image: (n, 7) center, width, height in pixels of the file, theta, score, class.

    `rbox` holds the first five of these, `poly` the corners x1, y1, … x4, y4; categories are numbered from 1.
    """
    path = Path(file)
    corners = xywhr2xyxyxyxy(detections[:, :5]).flatten(1)  # (n, 4, 2) -> (n, 8)
    return [
        {
            "image_id": image_id(path),
            "file_name": path.name,
            "category_id": int(cls) + 1,
            "score": round(score, 5),
            "rbox": [round(value, 3) for value in box],
            "poly": [round(value, 3) for value in poly],
        }
        for (*box, score, cls), poly in zip(detections.tolist(), corners.tolist(), strict=True)
    ]


def save_task1(folder: Path, rows: Iterable[Mapping[str, object]], names: Mapping[int, str]) -> None:
    """Write Task1_<class>.txt for every class: image, score and the four corners of each detection, a line each."""
    lines: dict[int, list[str]] = {c: [] for c in names}  # a class without detections has a file, too, an empty one
    for row in rows:
        numbers = (row["score"], *row["poly"])
        lines[row["category_id"] - 1].append(f"{Path(row['file_name']).stem} {' '.join(f'{n:g}' for n in numbers)}\n")
    folder.mkdir(parents=True, exist_ok=True)
    for c, name in names.items():
        content = "".join(lines[c]).encode()
        plain = re.sub(r"[^\w.-]", "-", name)  # large vehicle -> large-vehicle, as DOTA has it
        atomic_write(folder / f"Task1_{plain}.txt", lambda file, content=content: file.write(content))
