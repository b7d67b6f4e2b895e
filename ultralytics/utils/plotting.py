"""Images of batches, written to disk whatever the path is called. Charts of numbers are in `charts`."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch

from ultralytics.utils.annotator import Annotator, colors, label_place, readable
from ultralytics.utils.errors import YOLOError
from ultralytics.utils.fonts import font_file, shorten, text_mask
from ultralytics.utils.ops import xywhn2xyxy, xywhr2xyxyxyxy

__all__ = [
    "Annotator",
    "class_name",
    "colors",
    "image_name",
    "label_place",
    "plot_classes",
    "plot_images",
    "write_image",
    "writing",
]

Array = np.ndarray | torch.Tensor
Names = Mapping[int, str] | Sequence[str]
MOSAIC = 1920  # pixels: longest side of a image of a batch, headings aside
TILE = 480  # pixels: smaller images are enlarged to this, so that labels can be read
GAP = 4  # pixels between images
BACKGROUND = (40, 40, 40)


def class_name(names: Names | None, cls: float) -> str:
    """Name of a class, its number where it has none."""
    lookup = names if isinstance(names, Mapping) else dict(enumerate(names or ()))
    return str(lookup.get(int(cls), int(cls)))


def image_name(path: str | Path) -> str:
    """File name for a image made from `path`: its own, as .jpg if its format cannot be written in color."""
    path = Path(path)
    color = cv2.haveImageWriter(path.name) and path.suffix.lower() not in (".pbm", ".pgm")
    return path.name if color else f"{path.stem}.jpg"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of `path`; what the system refuses in this block becomes one sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as exc:
        raise YOLOError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def write_image(path: str | Path, image: np.ndarray) -> Path:
    """Write a BGR image in the format of its suffix, whatever characters are in the path; makes the folder."""
    path = Path(path)
    try:
        encoded = cv2.imencode(path.suffix, image)[1]
    except cv2.error as exc:
        raise YOLOError(f"{path}: no image format is called {path.suffix!r}; use .jpg, .png, .bmp or .webp") from exc
    with writing(path):
        path.write_bytes(encoded)
    return path


def plot_images(
    images: Array,
    batch_idx: Array,
    cls: Array,
    bboxes: Array,
    confs: Array | None = None,
    paths: Sequence[str | Path] | None = None,
    names: Names | None = None,
    fname: str | Path | None = None,
    max_subplots: int = 16,
    below: Callable[[Annotator, np.ndarray], None] | None = None,
) -> np.ndarray:
    """The first images of a batch side by side with their objects, (H, W, 3) BGR; written to `fname` if given.

    `images` (B, 3, H, W) RGB, uint8 or float 0..1; of each object `batch_idx` (N,), `cls` (N,), `bboxes` (N, 4) xywh
    normalized, or (N, 5) with theta, and, if it is a prediction, `confs` (N,); `paths` head the images with their file
    names. What a task has beside boxes is drawn below them by `below(annotator, mine)`: of an image and its objects'
    numbers.
    """
    images = _to_bgr(images[:max_subplots])
    owner, classes, scores = (None if a is None else _numpy(a).ravel() for a in (batch_idx, cls, confs))
    boxes = _numpy(bboxes)
    boxes = boxes.reshape(len(owner), boxes.shape[-1])
    texts = [class_name(names, c) for c in classes]
    if scores is not None:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, scores, strict=True)]

    def draw(i: int, annotator: Annotator) -> None:
        mine = np.flatnonzero(owner == i)
        if below is not None:
            below(annotator, mine)
        _draw(annotator, boxes[mine], classes[mine], [texts[j] for j in mine])

    return _plot(images, draw, paths, fname)


def plot_classes(
    images: Array,
    classes: Sequence[int],
    texts: Sequence[str],
    paths: Sequence[str | Path] | None = None,
    fname: str | Path | None = None,
    max_subplots: int = 16,
) -> np.ndarray:
    """The first images (B, 3, H, W) of a batch side by side, each with its text in a corner; else as `plot_images`.

    `classes` (B,) give the texts their colors.
    """
    images = _to_bgr(images[:max_subplots])

    def draw(i: int, annotator: Annotator) -> None:
        color, annotator.font_size = colors(classes[i], bgr=True), TILE // 20
        annotator.text((GAP, GAP), texts[i], readable((255, 255, 255), color), box_color=color)

    return _plot(images, draw, paths, fname)


def _plot(
    images: np.ndarray,
    draw: Callable[[int, Annotator], None],
    paths: Sequence[str | Path] | None,
    fname: str | Path | None,
) -> np.ndarray:
    """Images (B, H, W, 3) BGR on a grid, large enough to read, with what `draw(i, annotator)` adds to each."""
    columns = math.ceil(math.sqrt(len(images)))
    scale = _scale(images.shape, columns)
    tiles = []
    for i, image in enumerate(images):
        annotator = Annotator(_resized(image, scale))
        draw(i, annotator)
        tile = annotator.result()
        tiles.append(_headed(tile, Path(paths[i]).name) if paths is not None else tile)
    mosaic = _side_by_side(tiles, columns)
    if fname is not None:
        write_image(fname, mosaic)
    return mosaic


def _numpy(values: Array) -> np.ndarray:
    """Float32 array of a tensor on any device, or of anything like an array."""
    values = values.detach().float().cpu() if isinstance(values, torch.Tensor) else values
    return np.asarray(values, np.float32)


def _to_bgr(images: Array) -> np.ndarray:
    """(B, 3, H, W) RGB, uint8 or float 0..1, to (B, H, W, 3) BGR uint8."""
    images = images.detach().cpu() if isinstance(images, torch.Tensor) else torch.from_numpy(images)
    if images.is_floating_point():
        images = (images.float() * 255).round().clamp(0, 255).byte()
    return np.ascontiguousarray(images.flip(1).permute(0, 2, 3, 1).numpy())


def _scale(shape: tuple[int, ...], columns: int) -> float:
    """Factor that brings images (B, H, W, 3) to a size at which labels can be read and the whole is not too large."""
    count, height, width = shape[:3]
    rows = math.ceil(count / columns)
    return min(MOSAIC / (columns * width), MOSAIC / (rows * height), max(TILE / max(height, width), 1))


def _resized(image: np.ndarray, scale: float) -> np.ndarray:
    size = [max(round(side * scale), 1) for side in image.shape[1::-1]]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _draw(annotator: Annotator, boxes: np.ndarray, classes: np.ndarray, texts: list[str]) -> None:
    """All boxes (n, 4 or 5) normalized, then the labels, so that no line crosses a text."""
    corners = _corners(boxes, annotator.width, annotator.height)
    for points, c in zip(corners, classes, strict=True):
        annotator.outline(points, colors(c, bgr=True))
    for points, c, text in zip(corners, classes, texts, strict=True):
        annotator.label(label_place(points), text, colors(c, bgr=True))


def _corners(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """Two corners of boxes (n, 4) xywh normalized, (n, 2, 2), or all four of rotated ones (n, 5), (n, 4, 2); pixels."""
    if boxes.shape[1] == 4:
        return xywhn2xyxy(boxes, width, height).reshape(-1, 2, 2)
    pixels = boxes * np.array((width, height, width, height, 1), np.float32)
    return xywhr2xyxyxyxy(torch.from_numpy(pixels)).numpy()


def _headed(tile: np.ndarray, title: str) -> np.ndarray:
    """The image below a strip with its file name."""
    size, font = Annotator(tile).font_size, font_file(title)
    title = shorten(title, font, size, tile.shape[1] - 2 * GAP)
    strip = np.full((len(text_mask(title, font, size)) + GAP, tile.shape[1], 3), BACKGROUND, np.uint8)
    Annotator(strip, font_size=size, font=font).text((GAP, GAP // 2), title)
    return np.concatenate((strip, tile))


def _side_by_side(tiles: list[np.ndarray], columns: int) -> np.ndarray:
    """Images of one size on a grid, row after row."""
    height, width = (side + GAP for side in tiles[0].shape[:2])
    rows = math.ceil(len(tiles) / columns)
    grid = np.full((rows * height - GAP, columns * width - GAP, 3), BACKGROUND, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        grid[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return grid
