"""The built-in dataset: drawn scenes of textured shapes with exact boxes, polygons, corners and rotated boxes.

A scene is a pure function of (seed, split, index), so a small dataset is the beginning of a larger one. The same seed
gives the same labels everywhere, and the same pixels as far as versions of OpenCV and its JPEG encoder agree.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from ultralytics.data.shapes.outlines import CORNER_FLIP, CORNER_NAMES, rotated_box, turn
from ultralytics.data.shapes.paint import paint_scene
from ultralytics.data.shapes.scenes import DEFAULT_RECIPE, Recipe, Scene, SceneObject, compose_scene
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError

VERSION = 1  # raise it when any scene changes: datasets drawn by another version are drawn anew
STAMP = "drawn.json"
JPEG_QUALITY = 92
FOLDERS = "folders"


def draw_shapes(
    folder: str | Path,
    seed: int = 0,
    *,
    train: int = 320,
    val: int = 80,
    test: int = 16,
    recipe: Recipe = DEFAULT_RECIPE,
    labels: str = "boxes",
) -> Path:
    """Draw images/, labels/ and truth/ (one JSON a split) unless the folder holds the very same dataset already.

    `labels`, one of `generate.ROWS`, tells what label rows hold after the class; `folders` draws images of one object
    each into train/<class>/, val/<class>/ and test/<class>/ instead. A box is the bounds of an outline cut to the
    image, parts behind other objects included. The folder appears complete or not at all, also when interrupted or
    drawn by two processes at once. Raises DatasetError where it cannot be written or holds something else.
    """
    folder = Path(folder).resolve()
    counts = {"train": train, "val": val, "test": test}
    made = {"generator": "shapes", "version": VERSION, "seed": seed, "labels": labels, **counts, **asdict(recipe)}
    stamp = json.dumps(made, indent=1)
    try:
        found = _read_stamp(folder)
        if found is None and folder.exists() and any(folder.iterdir()):  # not drawn, so never replaced
            raise DatasetError(
                f"{folder} holds something else than drawn shapes: move it away or draw into another folder"
            )
        if found != stamp:
            LOGGER.info(f"Drawing {sum(counts.values())} scenes of shapes into {folder}")
            with _published(folder, stamp) as fresh:
                for number, (split, count) in enumerate(counts.items()):
                    keys = [(seed, number, index) for index in range(count)]
                    if labels == FOLDERS:
                        _draw_folders(fresh / split, keys, recipe)
                    else:
                        _draw_split(fresh, split, keys, recipe, labels)
    except OSError as error:
        raise DatasetError(f"The shapes cannot be drawn into {folder}: {error.strerror or error}") from error
    return folder


def _read_stamp(folder: Path) -> str | None:
    """Settings that a folder was drawn with, as text; None if it was not drawn."""
    file = folder / STAMP
    return file.read_text(encoding="utf-8") if file.is_file() else None


@contextmanager
def _published(folder: Path, stamp: str) -> Iterator[Path]:
    """A folder to draw into, beside the one wanted, that takes its place when all went well and vanishes otherwise."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh = Path(scratch, "fresh")
        fresh.mkdir()
        yield fresh
        (fresh / STAMP).write_text(stamp, encoding="utf-8")
        try:
            if folder.exists() and _read_stamp(folder) != stamp:
                folder.rename(Path(scratch, "stale"))  # into the temporary folder, with which it goes
            fresh.rename(folder)
        except OSError:  # another process may have put it there in the meantime: the same one may stay
            if _read_stamp(folder) != stamp:
                raise


def _draw_split(root: Path, split: str, keys: list[tuple[int, int, int]], recipe: Recipe, rows: str) -> None:
    """Write images, label files and the truth of one split; a key (seed, split, index) seeds its scene."""
    images, labels, truth = root / "images" / split, root / "labels" / split, root / "truth"
    for place in (images, labels, truth):
        place.mkdir(parents=True, exist_ok=True)
    scenes = []
    for key in keys:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        scene = compose_scene(rng, recipe)
        name = f"{key[-1]:04d}"
        _write_picture(images / f"{name}.jpg", paint_scene(scene, rng, recipe.clutter))
        size = np.array((scene.width, scene.height))
        with (labels / f"{name}.txt").open("w", encoding="utf-8", newline="\n") as file:
            for item in scene.objects:
                numbers = (f"{value:.6f}".rstrip("0").rstrip(".") for value in label_row(item, size, rows))
                file.write(f"{recipe.classes.index(item.name)} {' '.join(numbers)}\n")
        scenes.append({"image": f"images/{split}/{name}.jpg", **_truth(scene)})
    facts = {"names": recipe.classes, "corner_names": CORNER_NAMES, "corner_flip": CORNER_FLIP, "scenes": scenes}
    (truth / f"{split}.json").write_text(json.dumps(facts), encoding="utf-8")


def _draw_folders(root: Path, keys: list[tuple[int, int, int]], recipe: Recipe) -> None:
    """Write images of one object each, class after class in turn, into the folders of the classes."""
    for key in keys:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        name = recipe.classes[key[-1] % len(recipe.classes)]
        one = replace(recipe, classes=(name,), objects=(1, 1))
        while not (scene := compose_scene(rng, one)).objects:
            continue  # no place was found for the object: another scene is composed
        (root / name).mkdir(parents=True, exist_ok=True)
        _write_picture(root / name / f"{key[-1]:04d}.jpg", paint_scene(scene, rng, recipe.clutter))


def _write_picture(file: Path, picture: np.ndarray) -> None:
    """Write a JPEG; cv2.imwrite would not take every path on Windows."""
    file.write_bytes(cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes())


def _truth(scene: Scene) -> dict:
    """Ground truth of a scene, in pixels and radians."""
    objects = [
        {
            "name": item.name,
            "box": item.box.tolist(),
            "polygon": item.polygon.tolist(),
            "corners": item.corners.tolist(),
            "rotated_box": [round(value, 4) for value in rotated_box(item.polygon)],
            "shown": round(item.shown, 4),
        }
        for item in scene.objects
    ]
    return {"width": scene.width, "height": scene.height, "objects": objects}


def label_row(item: SceneObject, size: np.ndarray, rows: str) -> np.ndarray:
    """Numbers of a label row after the class, normalized by `size` (width, height); `rows` is one of `generate.ROWS`.

    `boxes`: center x, y, width, height; `polygons`: x1 y1 x2 y2 ...; `corners`: the box, then x, y, visibility of each
    corner; `rotated`: four corners of the rotated box.
    """
    polygon = (item.polygon / size).ravel()
    if rows == "polygons":
        return polygon
    if rows == "rotated":
        x, y, w, h, angle = rotated_box(item.polygon)
        half = np.array(((-w, -h), (w, -h), (w, h), (-w, h))) / 2
        corners = np.add(half @ turn(angle).T, (x, y)) / size  # clockwise
        # The polygon where a corner is outside the image, as no label may be.
        return corners.ravel() if corners.min() >= 0 and corners.max() <= 1 else polygon
    low, high = item.box.reshape(2, 2) / size
    box = np.concatenate(((low + high) / 2, high - low))
    if rows == "corners":
        return np.concatenate((box, (item.corners / np.append(size, 1)).ravel()))
    if rows != "boxes":
        raise ValueError(f"labels={rows!r}, expected one of `generate.ROWS`")
    return box
