"""Images and tensors in and out of files, under published names: paths of any characters, nothing that is run."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ultralytics.utils import refused


def imread(filename: str | Path, flags: int = cv2.IMREAD_COLOR) -> np.ndarray | None:
    """Read an image as cv2.imread does, by a path of any characters on every system; (H, W, C), or None if it is none.

    A gray image has a channel of its own, (H, W, 1).
    """
    try:
        image = cv2.imdecode(np.fromfile(filename, np.uint8), flags)
    except (OSError, cv2.error):  # no file, an empty one
        return None
    return image[..., None] if image is not None and image.ndim == 2 else image


def imwrite(filename: str | Path, img: np.ndarray, params: list[int] | None = None) -> bool:
    """Write an image as cv2.imwrite does, to a path of any characters; whether that was possible."""
    try:
        done, data = cv2.imencode(Path(filename).suffix, img, params or [])
        data.tofile(filename)
    except (OSError, cv2.error):
        return False
    return done


def torch_load(*args: Any, **kwargs: Any) -> Any:
    """Load what torch.save wrote, of plain values and tensors only (`weights_only`), unless told otherwise."""
    return torch.load(*args, **{"weights_only": True, **kwargs})


def torch_save(obj: Any, f: str | Path, **kwargs: Any) -> None:
    """Save an object; a file is replaced as a whole or not at all. Raises YOLOError if it cannot be written."""
    if not isinstance(f, str | Path):
        torch.save(obj, f, **kwargs)
        return
    from ultralytics.utils.files import atomic_write

    atomic_write(f, lambda file: torch.save(obj, file, **kwargs))


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
