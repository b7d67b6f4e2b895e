"""The built-in dataset: drawn scenes of textured shapes with exact boxes, polygons, corners and rotated boxes.

A scene is a pure function of (seed, split, index), so a small dataset is the beginning of a larger one. The same seed
gives the same labels everywhere, and the same pixels as far as versions of OpenCV and its JPEG encoder agree.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np

from ultralytics.data.shapes.outlines import CORNER_FLIP, CORNER_NAMES, rectangle_corners, rotated_box
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

    `labels`, a key of `ROWS`, tells what label rows hold after the class; `folders` draws images of one object each
    into train/<class>/, val/<class>/ and test/<class>/ instead. A box is the bounds of an outline cut to the image,
    parts behind other objects included. The folder appears complete or not at all, also when interrupted or drawn by
    two processes at once. Raises DatasetError where it cannot be written or holds something else.
    """
    folder = Path(folder).resolve()
    counts = {"train": train, "val": val, "test": test}
    made = {"generator": "shapes", "version": VERSION, "seed": seed, "labels": labels, **counts, **asdict(recipe)}
    stamp = json.dumps(made, indent=1)
    try:
        if _needed(folder, stamp):
            LOGGER.info(f"Drawing {sum(counts.values())} scenes of shapes into {folder}")
            with _published(folder, stamp) as fresh:
                for number, (split, count) in enumerate(counts.items()):
                    keys = [(seed, number, index) for index in range(count)]
                    if labels == FOLDERS:
                        _draw_folders(fresh / split, keys, recipe)
                    else:
                        _draw_split(fresh, split, keys, recipe, ROWS[labels])
    except OSError as error:
        raise DatasetError(f"The shapes cannot be drawn into {folder}: {error.strerror or error}") from error
    return folder


def _needed(folder: Path, stamp: str) -> bool:
    """Whether the dataset is missing or another one; a folder that was not drawn is never replaced."""
    found = _read_stamp(folder)
    if found is None and folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"{folder} holds something else than drawn shapes: move it away or draw into another folder")
    return found != stamp


def _read_stamp(folder: Path) -> str | None:
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
        # The old folder moves into the temporary one and goes with it.
        _exchange(fresh, folder, Path(scratch, "stale"), stamp)


def _exchange(fresh: Path, folder: Path, stale: Path, stamp: str) -> None:
    """Put the finished folder in place; where another process was faster with the same one, leave that."""
    try:
        if folder.exists() and _read_stamp(folder) != stamp:
            folder.rename(stale)
        fresh.rename(folder)
    except OSError:  # another process may have put it there in the meantime
        if _read_stamp(folder) != stamp:
            raise


def _draw_split(root: Path, split: str, keys: list[tuple[int, int, int]], recipe: Recipe, row: Callable) -> None:
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
        _write_labels(labels / f"{name}.txt", scene, recipe.classes, row)
        scenes.append({"image": f"images/{split}/{name}.jpg", **_truth(scene)})
    facts = {"names": recipe.classes, "corner_names": CORNER_NAMES, "corner_flip": CORNER_FLIP, "scenes": scenes}
    (truth / f"{split}.json").write_text(json.dumps(facts), encoding="utf-8")


def _draw_folders(root: Path, keys: list[tuple[int, int, int]], recipe: Recipe) -> None:
    """Write images of one object each, class after class in turn, into the folders of the classes."""
    for key in keys:
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        name = recipe.classes[key[-1] % len(recipe.classes)]
        scene = _compose_one(rng, replace(recipe, classes=(name,), objects=(1, 1)))
        (root / name).mkdir(parents=True, exist_ok=True)
        _write_picture(root / name / f"{key[-1]:04d}.jpg", paint_scene(scene, rng, recipe.clutter))


def _compose_one(rng: np.random.Generator, recipe: Recipe) -> Scene:
    """A scene with its one object; where no place was found for that, another scene is composed."""
    while not (scene := compose_scene(rng, recipe)).objects:
        continue
    return scene


def _write_picture(file: Path, picture: np.ndarray) -> None:
    """Write a JPEG; cv2.imwrite would not take every path on Windows."""
    file.write_bytes(cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes())


def _write_labels(file: Path, scene: Scene, names: tuple[str, ...], row: Callable) -> None:
    size = np.array((scene.width, scene.height))
    with file.open("w", encoding="utf-8", newline="\n") as rows:
        for item in scene.objects:
            numbers = (f"{value:.6f}".rstrip("0").rstrip(".") for value in row(item, size))
            rows.write(f"{names.index(item.name)} {' '.join(numbers)}\n")


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


def _box_row(item: SceneObject, size: np.ndarray) -> np.ndarray:
    """Center x, y, width, height, normalized."""
    low, high = item.box.reshape(2, 2) / size
    return np.concatenate(((low + high) / 2, high - low))


def _polygon_row(item: SceneObject, size: np.ndarray) -> np.ndarray:
    """x1 y1 x2 y2 …, normalized."""
    return (item.polygon / size).ravel()


def _corner_row(item: SceneObject, size: np.ndarray) -> np.ndarray:
    """Box, then x, y, visibility of each corner, normalized."""
    corners = item.corners / np.append(size, 1)
    return np.concatenate((_box_row(item, size), corners.ravel()))


def _rotated_row(item: SceneObject, size: np.ndarray) -> np.ndarray:
    """Four corners of the rotated box, normalized; the polygon where one is outside the image, as no label may be."""
    corners = rectangle_corners(*rotated_box(item.polygon)) / size
    inside = corners.min() >= 0 and corners.max() <= 1
    return corners.ravel() if inside else _polygon_row(item, size)


ROWS: dict[str, Callable[[SceneObject, np.ndarray], np.ndarray]] = {
    "boxes": _box_row,
    "polygons": _polygon_row,
    "corners": _corner_row,
    "rotated": _rotated_row,
}
