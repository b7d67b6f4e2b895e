"""Image files as they are meant to be seen: upright, 8 bits, transparency over white.

Ordinary JPEG and PNG files are decoded by OpenCV, everything else by Pillow, which also tells the two apart.
"""

import errno
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ultralytics.utils.errors import DatasetError, SourceError
from ultralytics.utils.letterbox import resize, resize_shape

IMG_FORMATS = frozenset(
    {"avif", "bmp", "dng", "gif", "heic", "heif", "jfif", "jp2", "jpeg", "jpg", "mpo", "pbm", "pgm", "png", "ppm"}
    | {"tif", "tiff", "webp"}
)
VID_FORMATS = frozenset({"asf", "avi", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "ts", "webm", "wmv"})
MIN_SIDE = 10  # pixels

_DECODE = {  # by the factor that an image is reduced by
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
_PILLOW_FORMATS = {"AVIF", "BMP", "GIF", "HEIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP"}
_EXIF_ORIENTATION = 0x0112
_TRANSPARENT_MODES = {"LA", "La", "PA", "RGBA", "RGBa"}


def read_image(path: str | Path, channels: int = 3, imgsz: int | None = None, *, reduced: bool = False) -> np.ndarray:
    """Pixels of an image file, (H, W, 3) uint8 BGR, or (H, W, 1) gray with `channels` 1.

    With `imgsz` they are scaled up or down until the longer side has that many. `reduced` decodes a JPEG that is at
    least twice as large at a half, a quarter or an eighth, which takes less time: pixels are averages then, and the
    right and lower border may be off by half a pixel.

    Raises DatasetError saying what is wrong with the file.
    """
    path, bgr, factor = Path(path), None, 1
    try:
        refuse_pipe(path)
        data = path.read_bytes()
        image = _open(io.BytesIO(data))
        plain = image.format in ("JPEG", "MPO") or (image.format == "PNG" and "transparency" not in image.info)
        # Some versions of OpenCV fill up a cut JPEG with gray, and other modes it shows unlike Pillow.
        if plain and image.mode in ("RGB", "L") and _is_whole(io.BytesIO(data), image.format):
            if reduced and imgsz is not None and image.format != "PNG":
                factor = max(f for f in _DECODE if f * imgsz <= max(*image.size, imgsz))
            bgr = cv2.imdecode(np.frombuffer(data, np.uint8), _DECODE[factor] | cv2.IMREAD_IGNORE_ORIENTATION)
        if bgr is None:
            bgr, shape = (upright := pillow_to_bgr(image)), upright.shape[:2]
        else:
            w, h = image.size
            # Of a last row or column that was averaged from less than half the pixels, little is seen: it goes.
            bgr = bgr[: max(round(h / factor), 1), : max(round(w / factor), 1)]
            bgr, shape = turn_upright(bgr, _orientation(image)), ((h, w) if _orientation(image) < 5 else (w, h))
    except Exception as exc:  # decoders raise anything on broken data
        raise DatasetError(_reason(path, exc)) from exc
    img = with_channels(bgr, channels)
    return img if imgsz is None else resize(img, resize_shape(*shape, imgsz))


def with_channels(bgr: np.ndarray, channels: int) -> np.ndarray:
    """An image (H, W, 3) BGR as it is, or with `channels` 1 gray, (H, W, 1). SourceError for other channels."""
    if channels not in (1, 3):
        raise SourceError(
            f"the network takes images of {channels} channels, and those of a source have 3 (color) or 1 (gray): call "
            "it on tensors, model.model(x)"
        )
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)[..., None] if channels == 1 else bgr


def swap_colors(img: np.ndarray) -> np.ndarray:
    """BGR to RGB and back, (H, W, 3); a gray image (H, W, 1) as it is."""
    return cv2.cvtColor(img, cv2.COLOR_BGR2RGB) if img.shape[2] == 3 else img


def check_image(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file as it is seen. DatasetError if it is incomplete or a side is under 10 pixels.

    Pixels are decoded only where neither the format nor the last bytes tell that the file is whole.
    """
    try:
        refuse_pipe(path)
        with Path(path).open("rb") as file:
            image = _open(file)
            w, h = exif_size(image)
            if not _is_whole(file, image.format):
                image.load()
    except Exception as exc:  # decoders raise anything on broken data
        raise DatasetError(_reason(Path(path), exc)) from exc
    if min(h, w) < MIN_SIDE:
        raise DatasetError(f"{path}: {w} x {h} pixels, but no side may be under {MIN_SIDE}")
    return h, w


def exif_size(img: Image.Image) -> tuple[int, int]:
    """(width, height) of a Pillow image as it is seen, by the orientation in its metadata."""
    return img.size if _orientation(img) < 5 else img.size[::-1]


def pillow_to_bgr(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode but floating point, which is a ValueError, as (H, W, 3) uint8 BGR, upright."""
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; save it with 8 or 16 bits a channel")
    orientation = _orientation(image)  # asked first, as loading a TIFF may change it
    if image.mode.startswith("I"):  # 16 bits, perhaps in 32: the high byte of them
        gray = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
        return turn_upright(cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR), orientation)
    if image.mode in _TRANSPARENT_MODES or "transparency" in image.info:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return turn_upright(cv2.cvtColor(np.asarray(image.convert("RGB")), cv2.COLOR_RGB2BGR), orientation)


def refuse_pipe(path: str | os.PathLike) -> None:
    """Raise OSError for what is neither a file nor a folder: a named pipe would be waited for without end."""
    mode = os.stat(path).st_mode  # noqa: PTH116 (asked for each of a million files)
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is not a regular file")


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Stored pixels (H, W, C) as they are seen, by the EXIF orientation 1 to 8."""
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _open(file: BinaryIO) -> Image.Image:
    """A Pillow image of which only the header has been read."""
    image = Image.open(file)
    if image.format not in _PILLOW_FORMATS:  # others may start programs (EPS) or are no images at all
        raise UnidentifiedImageError
    return image


def _orientation(image: Image.Image) -> int:
    if image.format == "TIFF":  # Pillow turns these itself
        return 1
    try:
        # The base class reads the header alone, where PNG's own method would decode the pixels to look behind them.
        found = Image.Image.getexif(image).get(_EXIF_ORIENTATION, 1)
    except Exception:  # broken metadata do not make an image unreadable
        return 1
    return found if found in range(1, 9) else 1


def _is_whole(file: BinaryIO, format: str) -> bool:
    """Whether the end of an open file proves that nothing is missing; False if it has to be decoded to know."""
    position, size = file.tell(), file.seek(0, io.SEEK_END)
    file.seek(max(size - 64, 0))
    tail = file.read()
    file.seek(position)  # where Pillow goes on reading
    if format in ("JPEG", "MPO"):
        return tail.rstrip(b"\0\r\n ").endswith(b"\xff\xd9")
    return format == "WEBP" or (format == "PNG" and tail[-8:-4] == b"IEND")  # a cut WebP does not open at all


def _reason(path: Path, exc: Exception) -> str:
    """One sentence on why an image could not be read."""
    if isinstance(exc, FileNotFoundError):
        what = "a link to a file that does not exist" if path.is_symlink() else "no such file"
    elif os.path.isdir(path):  # noqa: PTH112 (a Path would raise where it may not look)
        what = "a folder, not an image"
    elif getattr(exc, "strerror", None):
        what = f"cannot be read: {exc.strerror}"
    elif path.stat().st_size == 0:
        what = "empty, zero bytes"
    elif isinstance(exc, UnidentifiedImageError):
        what = "not an image that can be read (its content counts, not its name)"
    elif isinstance(exc, Image.DecompressionBombError):
        what = "more pixels than Pillow opens; cut the image into tiles or raise PIL.Image.MAX_IMAGE_PIXELS"
    else:
        what = f"cannot be decoded: {exc}"
    return f"{path}: {what}"
