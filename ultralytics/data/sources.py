"""What to predict on: files, folders, patterns, lists, arrays, tensors, videos and cameras, as a stream of frames."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ultralytics.data.images import IMG_FORMATS, VID_FORMATS, pillow_to_bgr, read_image
from ultralytics.data.labels.files import read_list
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError, SourceError
from ultralytics.utils.letterbox import letterbox_batch

_NOT_FILES = ("http://", "https://", "rtsp://", "rtmp://", "tcp://", "udp://", "screen")


@dataclass(frozen=True)
class Frame:
    """One image (H, W, 3) uint8 BGR and where it is from.

    `tensor` (3, H, W) is the image as it was given, if that was a floating-point tensor. `item` counts the images and
    videos of the source from 1; `frame` the used frames of a video from 1, up to `frames` if their number is known;
    `fps` is the file's.
    """

    image: np.ndarray
    path: str
    tensor: torch.Tensor | None = None
    item: int = 1
    is_video: bool = False
    frame: int = 0
    frames: int | None = None
    fps: float | None = None


@dataclass(frozen=True)
class ImageFile:
    """An image by its path."""

    path: str

    def frames(self) -> Iterator[Frame]:
        """Its image. Raises DatasetError if it cannot be read."""
        yield Frame(read_image(self.path), self.path)


@dataclass(frozen=True)
class Video:
    """A video by its path, or a camera by its number, of which every `stride`-th frame is used."""

    path: str
    stride: int
    camera: int | None = None

    def frames(self) -> Iterator[Frame]:
        """Its frames, decoded one by one. Raises DatasetError if there is none."""
        capture = cv2.VideoCapture(self.path if self.camera is None else self.camera)
        try:
            yield from self._read(capture)
        finally:
            capture.release()

    def _read(self, capture: cv2.VideoCapture) -> Iterator[Frame]:
        expected = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // self.stride, 0)
        fps = capture.get(cv2.CAP_PROP_FPS) or None
        number = 0
        while all(capture.grab() for _ in range(self.stride)):
            decoded, image = capture.retrieve()
            if decoded:
                number += 1
                yield Frame(image, self.path, is_video=True, frame=number, frames=expected or None, fps=fps)
        if not number:
            what = "this video" if self.camera is None else "the camera of this number"
            raise DatasetError(f"{self.path}: no frame can be read from {what}")
        if number < 0.95 * expected:
            LOGGER.warning(f"{self.path} ends after {number} of {expected} frames")


@dataclass(frozen=True)
class MemoryImage:
    """An image in memory."""

    image: np.ndarray | torch.Tensor | Image.Image
    path: str

    def frames(self) -> Iterator[Frame]:
        """It as a frame. Raises SourceError if it is no image."""
        try:
            yield Frame(to_bgr(self.image), self.path, _floating(self.image))
        except (ValueError, OSError) as exc:
            raise SourceError(f"{self.path}: {exc}") from exc


Item = ImageFile | Video | MemoryImage


class Source:
    """Frames of several items, in their order, decoded as they are asked for.

    Files that cannot be read are skipped, logged and kept in `skipped` as (file, reason); if nothing else is there,
    iterating raises SourceError.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = items
        self.skipped: list[tuple[str, str]] = []

    def __len__(self) -> int:
        """Number of images and videos."""
        return len(self._items)

    @property
    def in_memory(self) -> bool:
        """Whether all of it are images in memory, nothing of which is to be read."""
        return all(isinstance(item, MemoryImage) for item in self._items)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped = []
        for number, item in enumerate(self._items, 1):
            for frame in self._frames(item):
                yield replace(frame, item=number)
        if len(self.skipped) == len(self):
            raise SourceError(f"None of the {len(self)} images and videos can be read")

    def _frames(self, item: Item) -> Iterator[Frame]:
        try:
            yield from item.frames()
        except DatasetError as exc:
            if len(self) == 1:
                raise SourceError(str(exc)) from exc
            LOGGER.warning(f"Skipped {exc}")
            self.skipped.append((item.path, str(exc).removeprefix(f"{item.path}: ")))


def load_source(source: Any, vid_stride: int = 1) -> Source:
    """Frames of what somebody wants predictions on.

    A path, folder (those in its subfolders if it holds none), pattern such as `shots/**/*.jpg`, .txt list, image, video
    or camera number; an array (H, W, 3) BGR, (H, W) gray or (H, W, 4) BGRA, uint8; a Pillow image; a tensor ([B,] 3, H,
    W) RGB, uint8 or 0..1; a list of such.
    Raises SourceError for anything else, and for what is not there.
    """
    items: list[Item] = []
    for one in source if isinstance(source, list | tuple) else [source]:
        items += _items(one, len(items), vid_stride)
    if not items:
        raise SourceError("The list of sources is empty")
    if len(items) == 1 and isinstance(items[0], ImageFile) and not os.path.lexists(items[0].path):
        raise SourceError(f"{items[0].path}: no such file or folder; give the path of one as source=")
    return Source(items)


def _items(source: Any, index: int, stride: int) -> list[Item]:
    """Items of one source; those in memory are numbered from `index`."""
    if isinstance(source, str | Path):
        return _path_items(str(source), stride)
    if isinstance(source, int) and not isinstance(source, bool):
        return [Video(str(source), stride, camera=source)]
    if isinstance(source, torch.Tensor) and source.ndim == 4:
        return [MemoryImage(image, f"image{i}.jpg") for i, image in enumerate(source, index)]
    if isinstance(source, np.ndarray | torch.Tensor | Image.Image):
        return [MemoryImage(source, getattr(source, "filename", "") or f"image{index}.jpg")]
    raise SourceError(
        f"A {type(source).__name__} is no source; give a path, an array, a Pillow image, a tensor or a list"
    )


def _path_items(text: str, stride: int) -> list[Item]:
    path = Path(text).expanduser()
    if os.path.lexists(path) and not path.is_dir() and path.suffix.lower() == ".txt":
        return [_file(entry, stride) for entry in _read_list(path)]
    if path.is_dir():
        inside = sorted(path.iterdir())
        if not any(map(_is_media, inside)):
            inside = sorted(path.rglob("*"))
        return _found(inside, f"the folder {text}", stride)
    if not os.path.lexists(path):
        if text.isdecimal():
            return [Video(text, stride, camera=int(text))]
        if text.lower().startswith(_NOT_FILES):
            raise SourceError(
                f"{text}: screens and network streams are not read; save images or a video to a file first"
            )
        if glob.has_magic(text):
            found = glob.glob(str(path), recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
            return _found(sorted(map(Path, found)), f"the pattern {text}", stride)
    return [_file(path, stride)]


def _file(path: str | Path, stride: int) -> ImageFile | Video:
    absolute = os.path.abspath(path)  # noqa: PTH100
    return Video(absolute, stride) if _suffix(path) in VID_FORMATS else ImageFile(absolute)


def _found(paths: Sequence[Path], where: str, stride: int) -> list[Item]:
    items = [_file(path, stride) for path in paths if _is_media(path)]
    if not items:
        known = IMG_FORMATS | VID_FORMATS
        raise SourceError(f"No image or video in {where}; their names end in {', '.join(sorted(known))}")
    return items


def _is_media(path: Path) -> bool:
    return _suffix(path) in IMG_FORMATS | VID_FORMATS and not path.name.startswith(".")


def _suffix(path: str | Path) -> str:
    return Path(path).suffix.lower().lstrip(".")


def _read_list(path: Path) -> list[str]:
    try:
        entries = read_list(path)
    except DatasetError as exc:
        raise SourceError(str(exc)) from exc
    if not entries:
        raise SourceError(f"{path}: the list is empty")
    return entries


def to_bgr(image: np.ndarray | torch.Tensor | Image.Image) -> np.ndarray:
    """An image in memory as (H, W, 3) uint8 BGR. Raises ValueError if it is of another kind than `load_source` says."""
    if isinstance(image, Image.Image):
        return pillow_to_bgr(image)
    bgr = _array_to_bgr(_tensor_to_array(image) if isinstance(image, torch.Tensor) else image)
    return np.ascontiguousarray(bgr)


def _floating(image: Any) -> torch.Tensor | None:
    """The image if it is a floating-point tensor."""
    return image if isinstance(image, torch.Tensor) and image.is_floating_point() else None


def _tensor_to_array(tensor: torch.Tensor) -> np.ndarray:
    if tensor.ndim != 3 or len(tensor) != 3:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)}, expected (3, H, W) or (B, 3, H, W)")
    if tensor.is_floating_point():
        if not bool(((tensor >= 0) & (tensor <= 1 + 1e-3)).all()):
            raise ValueError("a floating-point tensor with values outside 0..1; divide it by 255")
        tensor = (tensor.float() * 255).round().clamp(max=255).to(torch.uint8)
    return tensor.detach().cpu().numpy()[::-1].transpose(1, 2, 0)


def _array_to_bgr(array: np.ndarray) -> np.ndarray:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or channels not in (1, 3, 4) or not array.size:
        raise ValueError(f"an array {array.shape} {array.dtype}, expected (H, W, 3) uint8, BGR")
    if channels == 4:
        return pillow_to_bgr(Image.fromarray(cv2.cvtColor(array, cv2.COLOR_BGRA2RGBA)))
    return array if channels == 3 else cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_GRAY2BGR)


def letterboxed(frames: list[Frame], imgsz: int | list[int], stride: int, rect: bool) -> Tensor:
    """Images (B, 3, H, W) RGB 0..1 float: tensors of one shape that fits the stride as they are, else letterboxed."""
    if (given := stack_if_tensors(frames, stride)) is not None:
        return given
    stacked = letterbox_batch([frame.image for frame in frames], imgsz, stride, rect)
    return torch.from_numpy(np.ascontiguousarray(stacked[..., ::-1].transpose(0, 3, 1, 2))).float() / 255


def stack_if_tensors(frames: list[Frame], stride: int) -> Tensor | None:
    """Frames that came as tensors of one shape that fits the stride, as one (B, 3, H, W); None of any others."""
    shapes = {frame.tensor.shape if frame.tensor is not None else () for frame in frames}
    fit = len(shapes) == 1 and all(shape and not any(side % stride for side in shape[1:]) for shape in shapes)
    return torch.stack([frame.tensor for frame in frames]) if fit else None
