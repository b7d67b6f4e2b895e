"""Images of batches, written to disk whatever the path is called. Charts of numbers are in `charts`."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch

from ultralytics.utils import refused
from ultralytics.utils.annotator import WHITE, Annotator, colors, readable
from ultralytics.utils.charts.training import plot_labels, plot_results
from ultralytics.utils.errors import YOLOError
from ultralytics.utils.fonts import font_file, shorten, text_mask
from ultralytics.utils.ops import xywhn2xyxy, xywhr2xyxyxyxy

__all__ = [  # Annotator, colors, plot_labels and plot_results are found here in the public package
    "Annotator",
    "class_name",
    "colors",
    "image_name",
    "plot_classes",
    "plot_images",
    "plot_labels",
    "plot_results",
    "write_image",
    "writing",
]

Array = np.ndarray | torch.Tensor
Names = Mapping[int, str] | Sequence[str]
MOSAIC = 1920  # pixels: longest side of the image of a batch, headings aside
TILE = 480  # pixels: smaller images are enlarged to this, so that their labels can be read
GAP = 4  # pixels between images
BACKGROUND = (40, 40, 40)


def class_name(names: Names | None, cls: float) -> str:
    """Name of a class, its number where it has none."""
    lookup = names if isinstance(names, Mapping) else dict(enumerate(names or ()))
    return str(lookup.get(int(cls), int(cls)))


def image_name(path: str | Path) -> str:
    """File name for an image made from `path`: its own, as .jpg if its format cannot be written in color."""
    path = Path(path)
    # OpenCV ends the process at names that are not UTF-8 text.
    known = path.suffix.isascii() and cv2.haveImageWriter(f"image{path.suffix}")
    color = known and path.suffix.lower() not in (".pbm", ".pgm")
    return path.name if color else f"{path.stem}.jpg"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Make the folder of `path`; an OSError in the block becomes a YOLOError of one sentence."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as exc:
        raise YOLOError(f"{path} cannot be written: {exc.strerror or exc}") from exc


def write_image(path: str | Path, image: np.ndarray) -> Path:
    """Write a BGR image (H, W, 3) in the format of its suffix, whatever characters are in the path; makes the folder.

    Raises YOLOError for a suffix that is no image format and for what the system refuses.
    """
    path = Path(path)
    try:
        encoded = cv2.imencode(path.suffix if path.suffix.isascii() else ".?", image)[1]
    except cv2.error as exc:
        raise YOLOError(f"{path}: no image format is called {path.suffix!r}; use .jpg, .png, .bmp or .webp") from exc
    with writing(path):
        path.write_bytes(encoded)  # cv2.imwrite knows no other than ASCII paths on Windows
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
    """Draw the first images of a batch side by side with their objects, (H, W, 3) BGR; written to `fname` if given.

    `images` (B, 3, H, W) RGB, uint8 or float 0..1; of each object `batch_idx` (N,), `cls` (N,), `bboxes` (N, 4) xywh
    normalized, or (N, 5) with theta, and, if it is a prediction, `confs` (N,); `paths` head the images with their file
    names. `below(annotator, objects)` draws what a task has beside boxes, below them: given an image and the numbers
    of its objects in the batch.
    """
    # Tensors on any device, or anything like an array.
    batch_idx, cls, bboxes, confs = (
        np.asarray(a.detach().float().cpu() if isinstance(a, torch.Tensor) else a, np.float32)
        for a in (batch_idx, cls, bboxes, () if confs is None else confs)
    )
    batch_idx, cls, bboxes = batch_idx.ravel(), cls.ravel(), bboxes.reshape(batch_idx.size, bboxes.shape[-1])
    texts = [class_name(names, c) for c in cls]
    if confs.size:
        texts = [f"{text} {score:.2f}" for text, score in zip(texts, confs.ravel(), strict=True)]

    annotators = _enlarge(images[:max_subplots])
    for i, annotator in enumerate(annotators):
        objects = np.flatnonzero(batch_idx == i)
        if below is not None:
            below(annotator, objects)
        width, height = annotator.width, annotator.height
        if bboxes.shape[1] == 4:
            corners = xywhn2xyxy(bboxes[objects], width, height).reshape(-1, 2, 2)  # (n, 2, 2) pixels
        else:
            pixels = bboxes[objects] * np.array((width, height, width, height, 1), np.float32)
            corners = xywhr2xyxyxyxy(torch.from_numpy(pixels)).numpy()  # (n, 4, 2) pixels
        # Labels after all boxes, so that no line crosses a text.
        for box, j in zip(corners, objects, strict=True):
            annotator.box_label(box, color=colors(cls[j], bgr=True))
        for box, j in zip(corners, objects, strict=True):
            annotator.label(box, texts[j], colors(cls[j], bgr=True))
    return _mosaic(annotators, paths, fname)


def plot_classes(
    images: Array,
    classes: Sequence[int],
    texts: Sequence[str],
    paths: Sequence[str | Path] | None = None,
    fname: str | Path | None = None,
    max_subplots: int = 16,
) -> np.ndarray:
    """Draw the first images (B, 3, H, W) of a batch side by side, each with its text in a corner; see `plot_images`.

    `classes` (B,) give the texts their colors.
    """
    annotators = _enlarge(images[:max_subplots])
    for annotator, cls, text in zip(annotators, classes, texts, strict=False):
        annotator.font_size = TILE // 20
        color = colors(cls, bgr=True)
        annotator.text((GAP, GAP), text, readable(WHITE, color), box_color=color)
    return _mosaic(annotators, paths, fname)


def _enlarge(images: Array) -> list[Annotator]:
    """Images (B, 3, H, W) RGB to draw on, at a size at which labels can be read and the whole is not too large."""
    images = images.detach().cpu() if isinstance(images, torch.Tensor) else torch.from_numpy(images)
    if images.is_floating_point():
        images = (images.float() * 255).round().clamp(0, 255).byte()
    bgr = np.ascontiguousarray(images.flip(1).permute(0, 2, 3, 1).numpy())  # (B, H, W, 3) uint8
    count, height, width = bgr.shape[:3]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    scale = min(MOSAIC / (columns * width), MOSAIC / (rows * height), max(TILE / max(height, width), 1))
    size = [max(round(side * scale), 1) for side in (width, height)]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return [Annotator(cv2.resize(image, size, interpolation=interpolation)) for image in bgr]


def _mosaic(annotators: list[Annotator], paths: Sequence[str | Path] | None, fname: str | Path | None) -> np.ndarray:
    """The images on a grid, row after row, headed with their file names if there are any; written to `fname`."""
    tiles = []
    for i, annotator in enumerate(annotators):
        tile = annotator.result()
        if paths is not None:
            title = Path(paths[i]).name
            size, font = Annotator(tile).font_size, font_file(title)
            title = shorten(title, font, size, tile.shape[1] - 2 * GAP)
            strip = np.full((len(text_mask(title, font, size)) + GAP, tile.shape[1], 3), BACKGROUND, np.uint8)
            Annotator(strip, font_size=size, font=font).text((GAP, GAP // 2), title)
            tile = np.concatenate((strip, tile))
        tiles.append(tile)

    columns = math.ceil(math.sqrt(len(tiles)))
    rows = math.ceil(len(tiles) / columns)
    height, width = (side + GAP for side in tiles[0].shape[:2])
    mosaic = np.full((rows * height - GAP, columns * width - GAP, 3), BACKGROUND, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // columns * height, i % columns * width
        mosaic[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    if fname is not None:
        write_image(fname, mosaic)
    return mosaic


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
