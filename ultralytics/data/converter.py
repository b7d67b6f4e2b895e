"""Labels of other formats as label files of this one: COCO's JSON."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.data.polygons import joined
from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import ConfigError, DatasetError
from ultralytics.utils.files import increment_path

_UNUSED_IN_COCO = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # categories of COCO's list of 91 that no image has


def coco80_to_coco91_class() -> list[int]:
    """COCO's category number, 1 to 90, of each of its 80 classes."""
    return [number for number in range(1, 91) if number not in _UNUSED_IN_COCO]


def coco91_to_coco80_class() -> list[int | None]:
    """Class, 0 to 79, of each of COCO's category numbers 1 to 91; None for those that no image has."""
    classes = {number: i for i, number in enumerate(coco80_to_coco91_class())}
    return [classes.get(number) for number in range(1, 92)]


def convert_coco(
    labels_dir: str | Path = "../coco/annotations/",
    save_dir: str | Path = "coco_converted/",
    use_segments: bool = False,
    use_keypoints: bool = False,
    cls91to80: bool = True,
) -> Path:
    """Write label files for every COCO JSON in a folder, and return the folder they are in, a new one.

    Labels of `instances_val2017.json` go to `labels/val2017`; rows are boxes, polygons with `use_segments`, boxes with
    keypoints with `use_keypoints`. Crowds, which stand for many objects, are skipped. Classes are COCO's 80 or, without
    `cls91to80`, its category numbers less 1. Raises DatasetError where there is no such JSON.
    """
    files = sorted(Path(labels_dir).glob("*.json"))
    if not files:
        raise DatasetError(
            f"{labels_dir}: there is no .json; COCO's annotations are in instances_val.json and its like"
        )
    folder = increment_path(Path(save_dir))
    for file in files:
        target = folder / "labels" / file.stem.removeprefix("instances_").removeprefix("person_keypoints_")
        target.mkdir(parents=True, exist_ok=True)
        images, rows = _rows(file, use_segments, use_keypoints, cls91to80)
        for number, lines in rows.items():
            path = (target / images[number]["file_name"]).with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        LOGGER.info(f"{file}: labels of {len(rows)} of {len(images)} images are in {target}")
    return folder


def _rows(
    file: Path, segments: bool, keypoints: bool, cls91to80: bool
) -> tuple[dict[int, dict[str, object]], dict[int, list[str]]]:
    """Images of a COCO JSON by their number, and the rows of their label files."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        images = {image["id"]: image for image in content["images"]}
        objects = content["annotations"]
    except (ValueError, KeyError, TypeError) as exc:
        raise DatasetError(f"{file}: not a COCO JSON with images and annotations: {exc!r}") from exc
    classes, rows = dict(enumerate(coco91_to_coco80_class(), 1)), defaultdict(dict)
    for item in objects:
        try:
            image, number = images.get(item["image_id"]), item["category_id"]
            if item.get("iscrowd") or image is None:
                continue
            cls = classes.get(number) if cls91to80 else number - 1
            row = _row(item, (image["width"], image["height"]), segments, keypoints)
        except (KeyError, TypeError, ValueError) as exc:
            raise DatasetError(
                f"{file}: annotation {item.get('id') if isinstance(item, dict) else item!r} is not as COCO has them "
                f"({exc!r}): image_id, category_id and bbox [left, top, width, height] are needed, a segmentation is a "
                "list of polygons (run-length masks: leave out use_segments); correct or remove it"
            ) from exc
        if cls is None:
            raise ConfigError(f"{file}: category {number} is not COCO's: give cls91to80=False")
        if row is not None:
            rows[item["image_id"]][" ".join([str(cls), *(f"{value:.6g}" for value in row)])] = None  # once each
    return images, {number: list(lines) for number, lines in rows.items()}


def _row(item: dict[str, Any], size: tuple[int, int], segments: bool, keypoints: bool) -> list[float] | None:
    """Numbers after the class in the row of an annotation, by the (width, height) of its image; None without area."""
    scale = np.array(size, float)
    left, top, width, height = item["bbox"]
    if width <= 0 or height <= 0:
        return None
    box = [(left + width / 2) / scale[0], (top + height / 2) / scale[1], width / scale[0], height / scale[1]]
    if keypoints and item.get("keypoints"):
        points = np.array(item["keypoints"], float).reshape(-1, 3)
        return box + (points / (*scale, 1)).ravel().tolist()
    if segments and item.get("segmentation"):
        return (joined([np.reshape(part, (-1, 2)) for part in item["segmentation"]]) / scale).ravel().tolist()
    return box


def merge_multi_segment(segments: Sequence[Sequence[float]]) -> np.ndarray:
    """One polygon (n, 2) of the parts (x1 y1 x2 y2 ...) of an object, joined by bridges there and back."""
    return joined([np.reshape(part, (-1, 2)) for part in segments])


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
