"""errors.png: the images with the most errors, hits and every kind of error in a color of its own."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from ultralytics.utils.annotator import WHITE, Annotator, Color, readable
from ultralytics.utils.fonts import font_file, text_mask
from ultralytics.utils.ops import xywhr2xyxyxyxy
from ultralytics.utils.paper.errors import CLASS, HIT, KINDS, MISSED, ImageErrors
from ultralytics.utils.plotting import BACKGROUND, GAP, class_name, write_image

SHOWN = 9  # images
TILE = 640  # pixels: longest side of an image
COLORS: Mapping[str, Color] = {  # BGR, from the palette of classes, green and red for right and wrong
    "hit": (60, 180, 0),
    "class": (120, 0, 210),
    "localization": (225, 120, 0),
    "both": (150, 0, 135),
    "duplicate": (240, 225, 0),
    "background": (15, 135, 255),
    MISSED: (15, 45, 240),
}


def draw_errors(
    path: Path, images: Sequence[ImageErrors], names: Mapping[int, str], read: Callable[[str], np.ndarray]
) -> None:
    """Draw the images with the most errors; `read` gives the pixels (H, W, 3) BGR of an image file."""
    worst = sorted(images, key=lambda image: (image.kinds != HIT).sum() + image.missed.sum(), reverse=True)[:SHOWN]
    if not worst:
        return
    tiles = [draw_image(image, names, read(image.file)) for image in worst]
    columns = math.ceil(math.sqrt(len(tiles)))
    height, width = (max(tile.shape[axis] for tile in tiles) + GAP for axis in (0, 1))
    totals = [sum(int((image.kinds == kind).sum()) for image in images) for kind in range(len(KINDS))]
    totals.append(sum(int(image.missed.sum()) for image in images))
    strip = draw_legend([f"{kind} {n}" for kind, n in zip(COLORS, totals, strict=True)], columns * width - GAP)
    mosaic = np.full((math.ceil(len(tiles) / columns) * height + len(strip), strip.shape[1], 3), BACKGROUND, np.uint8)
    mosaic[: len(strip)] = strip
    for i, tile in enumerate(tiles):
        y, x = len(strip) + GAP + i // columns * height, i % columns * width
        mosaic[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    write_image(path, mosaic)


def draw_image(errors: ImageErrors, names: Mapping[int, str], pixels: np.ndarray) -> np.ndarray:
    """Boxes of hits without a text, errors with what was predicted, missed objects with what they are."""
    scale = TILE / max(pixels.shape[:2])
    size = [max(round(side * scale), 1) for side in pixels.shape[1::-1]]
    annotator = Annotator(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))
    # Missed objects come first, whose labels are the most important.
    labels = [(class_name(names, cls), COLORS[MISSED]) for cls in errors.true_cls[errors.missed]]
    for conf, cls, kind, about in zip(errors.conf, errors.cls, errors.kinds, errors.about, strict=True):
        text = "" if kind == HIT else f"{class_name(names, cls)} {conf:.2f}"
        if kind == CLASS:
            text += f", is {class_name(names, errors.true_cls[about])}"
        labels.append((text, COLORS[KINDS[kind]]))
    drawn = []  # corners, (2, 2) of xyxy and (4, 2) of xywhr, text, color
    for box, label in zip((*errors.true_boxes[errors.missed], *errors.boxes), labels, strict=True):
        corners = box.reshape(2, 2) if len(box) == 4 else xywhr2xyxyxyxy(torch.from_numpy(box)).numpy()
        drawn.append((corners * scale, *label))
    for box, _, color in sorted(drawn, key=lambda part: bool(part[1])):  # hits below errors
        annotator.box_label(box, color=color)
    for box, text, color in drawn:
        if text:
            annotator.label(box, text, color)
    return annotator.result()


def draw_legend(texts: Sequence[str], width: int) -> np.ndarray:
    """Strip (h, width, 3) with the texts on their colors, in as many lines as they need."""
    size, pad = 16, 2 * GAP
    sizes = [text_mask(text, font_file(text), size).shape for text in texts]
    line = max(height for height, _ in sizes) + pad
    places, x, y = [], GAP, GAP
    for _, w in sizes:
        if x > GAP and x + w + pad > width:
            x, y = GAP, y + line + GAP
        places.append((x, y))
        x += w + 2 * pad
    strip = np.full((y + line + GAP, width, 3), BACKGROUND, np.uint8)
    annotator = Annotator(strip, font_size=size)
    for place, text, color in zip(places, texts, COLORS.values(), strict=True):
        annotator.text(place, text, readable(WHITE, color), box_color=color)
    return annotator.result()
