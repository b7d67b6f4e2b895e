"""Letterbox: the size of an image in the network's input, and the padding around it.

All shapes are `(height, width)` in pixels. Loading (train, val) rounds the shorter side up, prediction rounds to the
nearest; the same roundings bring boxes back to the original image.
"""

import math
from collections.abc import Sequence

import numpy as np

PADDING_VALUE = 114  # gray

Size = int | tuple[int, int]
Gain = tuple[float, float]  # (height, width): new side / old side
Corner = tuple[int, int]  # (left, top)
RatioPad = tuple[Gain, Corner]


def as_shape(imgsz: Size) -> tuple[int, int]:
    """A side, or (height, width), as (height, width)."""
    return (imgsz, imgsz) if isinstance(imgsz, int) else (int(imgsz[0]), int(imgsz[1]))


def resize_shape(h: int, w: int, imgsz: Size, ceil: bool = True) -> tuple[int, int]:
    """Shape of an `h` x `w` image scaled, up or down, to just fit `imgsz`; no side becomes 0.

    `ceil` (loading) rounds up and never beyond `imgsz`; otherwise (prediction) to the nearest, halves to even.
    """
    height, width = as_shape(imgsz)
    r = min(height / h, width / w)
    if ceil:
        return min(math.ceil(h * r), height), min(math.ceil(w * r), width)
    return max(round(h * r), 1), max(round(w * r), 1)


def padding(shape: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pixels to add at the (left, top, right, bottom) of `shape`; an odd one goes to the right and bottom."""
    dh, dw = (canvas[0] - shape[0]) / 2, (canvas[1] - shape[1]) / 2
    return round(dw - 0.1), round(dh - 0.1), round(dw + 0.1), round(dh + 0.1)


def letterbox_geometry(img1_shape: tuple[int, ...], img0_shape: tuple[int, ...]) -> RatioPad:
    """Gains (h, w) and (left, top) of an image of `img0_shape` that prediction letterboxed to `img1_shape`.

    Both shapes begin with (height, width).
    """
    (h1, w1), (h0, w0) = img1_shape[:2], img0_shape[:2]
    h, w = resize_shape(h0, w0, (h1, w1), ceil=False)
    return (h / h0, w / w0), padding((h, w), (h1, w1))[:2]


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """`image` (H, W[, C]) resized bilinearly; itself, not a copy, if it has that shape already."""
    import cv2  # not above: ops.py needs the geometry, and building a network needs no OpenCV

    if image.shape[:2] == shape:
        return image
    resized = cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return resized.reshape(*shape, *image.shape[2:])  # cv2 drops a single channel


def pad(image: np.ndarray, canvas: tuple[int, int], value: int = PADDING_VALUE) -> tuple[np.ndarray, Corner]:
    """`image` (H, W[, C]) in the middle of a new `canvas` at least as large, and its (left, top) there."""
    h, w = image.shape[:2]
    left, top, _, _ = padding((h, w), canvas)
    out = np.full((*canvas, *image.shape[2:]), value, image.dtype)
    out[top : top + h, left : left + w] = image
    return out, (left, top)


def letterbox(
    image: np.ndarray,
    imgsz: Size,
    canvas: tuple[int, int] | None = None,
    *,
    ceil: bool = False,
    value: int = PADDING_VALUE,
) -> tuple[np.ndarray, Gain, Corner]:
    """`image` (H, W[, C]) scaled to fit `imgsz` and padded to `canvas` (`imgsz` itself if None).

    Returns the new image, the gains (h, w) = new side / old side, and the (left, top) of the image in the canvas.
    """
    h, w = image.shape[:2]
    shape = resize_shape(h, w, imgsz, ceil)
    out, corner = pad(resize(image, shape), canvas or as_shape(imgsz), value)
    return out, (shape[0] / h, shape[1] / w), corner


def letterbox_batch(images: Sequence[np.ndarray], imgsz: Size, stride: int, rect: bool = True) -> np.ndarray:
    """Images (H, W, C) BGR or gray for prediction as one array (B, C, H', W') of planes, RGB or gray.

    With `rect`, they share the smallest canvas that holds all of them; else it is `imgsz` in full.
    """
    import cv2

    shapes, canvas = [resize_shape(*image.shape[:2], imgsz, ceil=False) for image in images], as_shape(imgsz)
    if rect:
        # Of each side what is missing, modulo the stride.
        own = [[side + (full - side) % stride for side, full in zip(shape, canvas, strict=True)] for shape in shapes]
        canvas = tuple(np.max(own, axis=0).tolist())
    out = np.empty((len(images), images[0].shape[2], *canvas), np.uint8)
    for image, shape, planes in zip(images, shapes, out, strict=True):
        left, top, right, bottom = padding(shape, canvas)
        inside = planes[::-1, top : top + shape[0], left : left + shape[1]]
        cv2.split(resize(image, shape), list(inside))  # written in place, one pass
        for border in (planes[:, :top], planes[:, canvas[0] - bottom :], planes[..., :left]):
            border[:] = PADDING_VALUE
        planes[..., canvas[1] - right :] = PADDING_VALUE
    return out


def rect_shapes(
    shapes: np.ndarray, batch: int, imgsz: int, stride: int, pad: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Order images of `shapes` (n, 2) by h / w and give each batch one canvas for its images as they are loaded.

    Returns the order (n,) of the images, ties as they came, and the canvases (ceil(n / batch), 2), multiples of
    `stride`. `pad` is a margin, in strides.
    """
    ratio = shapes[:, 0] / shapes[:, 1]
    order = np.argsort(ratio, kind="stable")
    starts = np.arange(0, len(order), batch)
    low, high = (extreme.reduceat(ratio[order], starts) for extreme in (np.minimum, np.maximum))
    # The longer side of a batch is `imgsz`; the other follows from its most nearly square image, or is `imgsz`, too,
    # where wide and tall images meet.
    sides = np.ones((len(starts), 2))
    sides[high < 1, 0] = high[high < 1]
    sides[low > 1, 1] = 1 / low[low > 1]
    # The margin apart, a side may have been rounded up to one pixel more than the ratio says.
    loaded = np.array([resize_shape(h, w, imgsz) for h, w in shapes[order].tolist()])
    need = np.maximum(sides * imgsz / stride + pad, np.maximum.reduceat(loaded, starts) / stride)
    return order, np.ceil(need).astype(int) * stride
