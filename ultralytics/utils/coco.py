"""Detections and ground truth in COCO's JSON form (https://cocodataset.org/#format-data), and COCO's own AP.

Legend: n detections and k objects of an image. Rows and annotations are as they stand in the files.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import atomic_write, import_extra
from ultralytics.utils.metrics import BOX_AREA_FRACTION

MAX_DETS = 300  # per image and category; COCO's papers use 100, which crowded images exceed

Row = dict[str, Any]
GroundTruth = dict[str, list[Row]]  # "images", "annotations", "categories"


def image_id(file: str | Path) -> int | str:
    """COCO's id of an image: the number that its name is, else the name without its ending."""
    stem = Path(file).stem
    return int(stem) if stem.isdecimal() else stem


def to_coco_predictions(
    file: str | Path, detections: torch.Tensor, category_ids: Sequence[int] | None = None
) -> list[Row]:
    """A row for each detection of an image: (n, 6) xyxy in pixels of the file, confidence, class.

    `category_ids` holds COCO's category of each class; without it categories are numbered from 1.
    """
    path, categories = Path(file), range(1, 2**31) if category_ids is None else category_ids
    return [
        {
            "image_id": image_id(path),
            "file_name": path.name,
            "category_id": categories[int(cls)],
            "bbox": [round(v, 3) for v in (x1, y1, x2 - x1, y2 - y1)],
            "score": round(score, 5),
        }
        for x1, y1, x2, y2, score, cls in detections[:, :6].tolist()
    ]


def run_lengths(masks: torch.Tensor) -> list[Row]:
    """COCO's compressed run lengths, `segmentation` of a prediction, of masks (n, h, w) of 0 and 1."""
    codes = []
    for mask in masks.cpu().numpy().astype(bool):
        pixels = mask.ravel(order="F")  # column by column
        changes = np.flatnonzero(np.diff(pixels, prepend=False))
        counts = np.diff(changes, prepend=0, append=pixels.size)  # of 0, of 1, of 0, ...
        codes.append({"size": list(mask.shape), "counts": _compressed(counts)})
    return codes


def _compressed(counts: np.ndarray) -> str:
    """Run lengths as COCO's text: from the fourth on less the last but one, five bits a character, the low ones first.

    A sixth bit says that more follow; the highest bit of the last character is the sign.
    """
    values = np.concatenate((counts[:3], counts[3:] - counts[1:-2])).tolist()
    text = []
    for value in values:
        rest, more = value, True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def save_predictions(path: str | Path, predictions: list[Row]) -> None:
    """Write the rows of all images as JSON."""
    atomic_write(Path(path), lambda file: file.write(json.dumps(predictions).encode()))


def coco_ground_truth(
    images: Iterable[tuple],
    names: dict[int, str],
    category_ids: Sequence[int] | None = None,
) -> GroundTruth:
    """Annotations of images given as file, (height, width), classes (k,), boxes (k, 4) xywh normalized.

    A fifth entry may be k mappings of further or replaced entries of the annotations, as `mask_annotation` makes.
    """
    entries, annotations, files = [], [], {}
    numbers = range(1, 2**31) if category_ids is None else category_ids  # of the classes
    for file, (height, width), classes, boxes, *further in images:
        number = image_id(file)
        if number in files:
            raise DatasetError(f"{files[number]} and {file} both have the COCO image id {number!r}; rename one of them")
        files[number] = file
        entries.append({"id": number, "file_name": Path(file).name, "height": int(height), "width": int(width)})
        pixels = (boxes * (width, height, width, height)).tolist()
        more = further[0] if further else [{}] * len(pixels)
        for cls, (cx, cy, w, h), rest in zip(classes.tolist(), pixels, more, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": numbers[int(cls)],
                    "bbox": [cx - w / 2, cy - h / 2, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                    **rest,
                }
            )
    categories = [{"id": numbers[c], "name": name} for c, name in names.items()]
    return {"images": entries, "annotations": annotations, "categories": categories}


def mask_annotation(points: np.ndarray) -> Row:
    """Entries of an annotation for a mask: its polygon (p, 2) in pixels, and the area inside."""
    x, y = points.astype(float).T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2  # the shoelace formula
    return {"segmentation": [np.stack((x, y), 1).ravel().tolist()], "area": area}


def keypoints_annotation(points: np.ndarray, box: np.ndarray) -> Row:
    """Entries of an annotation for keypoints (K, 3): x, y, visibility; pixels. `box` (4,) is xywh.

    The area of the object, by which COCO judges distances, is taken to be 0.53 of its box.
    """
    area = BOX_AREA_FRACTION * float(box[2] * box[3])
    return {
        "keypoints": points.astype(float).ravel().tolist(),
        "num_keypoints": int((points[:, 2] != 0).sum()),
        "area": area,
    }


def evaluate_coco(
    truth: GroundTruth | str | Path,
    predictions: list[Row] | str | Path,
    kind: str = "bbox",
    sigmas: Sequence[float] = (),
) -> dict[str, Any]:
    """COCO's AP, at most 300 detections per image and category; the first two arguments may be JSON files.

    `kind` is what the overlap is measured of: "bbox", boxes, "segm", masks, or "keypoints", which have `sigmas`.
    Returns `AP` (mean over IoU 0.50:0.05:0.95), `AP50`, `AP75`, `per_class`, the AP of each category id that has
    ground truth, and `by_size`, the AP of small, medium and large objects, -1 where there are none. Raises DatasetError
    for a file that is not such JSON, and for a prediction on an unknown image or category.
    """
    library = import_extra("faster_coco_eval", "coco")
    truth, predictions = _content(truth, dict), _content(predictions, list)
    numbers = {image["id"]: n for n, image in enumerate(truth["images"], 1)}
    categories = {category["id"] for category in truth["categories"]}
    for row in predictions:
        for key, known in (("image_id", numbers), ("category_id", categories)):
            if row[key] not in known:
                raise DatasetError(f"A prediction has {key} {row[key]!r}, which the COCO ground truth does not have")

    # The evaluator understands image ids that are numbers, and writes into the rows it is given.
    images = [{**image, "id": numbers[image["id"]]} for image in truth["images"]]
    annotations, detections = (
        [{**row, "image_id": numbers[row["image_id"]]} for row in rows] for rows in (truth["annotations"], predictions)
    )
    if kind != "bbox":  # the evaluator would take the area of a mask to be that of its box
        detections = [{key: value for key, value in row.items() if key != "bbox"} for row in detections]
    objects = library.COCO({"images": images, "annotations": annotations, "categories": truth["categories"]})
    evaluator = library.COCOeval_faster(objects, objects.loadRes(detections), iouType=kind)
    evaluator.params.maxDets = [MAX_DETS]
    if kind == "keypoints":
        evaluator.params.kpt_oks_sigmas = np.array(sigmas)
    evaluator.evaluate()
    evaluator.accumulate()

    everything, *sized = np.moveaxis(evaluator.eval["precision"][..., 0].mean(1), 2, 0)  # (IoU, category) by size
    measured = everything[0] >= 0  # -1: a category without ground truth
    ap, ids = everything[:, measured], np.asarray(evaluator.params.catIds)[measured].tolist()
    means = {"AP": ap, "AP50": ap[0], "AP75": ap[5]}
    by_size = zip(evaluator.params.areaRngLbl[1:], sized, strict=True)
    return {
        **{name: float(values.mean()) if ids else 0.0 for name, values in means.items()},
        "per_class": dict(zip(ids, ap.mean(0).tolist(), strict=True)),
        "by_size": {size: float(one[:, one[0] >= 0].mean()) if (one[0] >= 0).any() else -1.0 for size, one in by_size},
    }


def _content(source: Any, kind: type) -> Any:
    """Content of a JSON file whose top level is of `kind`; anything but a path passes."""
    if not isinstance(source, str | Path):
        return source
    try:
        content = json.loads(Path(source).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as exc:
        raise DatasetError(f"{source} cannot be read as COCO JSON: {exc}") from exc
    parts = {"images", "annotations", "categories"}
    if not isinstance(content, kind) or (kind is dict and not parts.issubset(content)):
        expected = "an object with images, annotations and categories" if kind is dict else "a list of predictions"
        raise DatasetError(f"{source} is not COCO JSON of this kind: it must hold {expected}")
    return content
