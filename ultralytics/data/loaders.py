"""Sources to predict on: files, folders, patterns, lists, arrays, tensors, videos, cameras, as a stream of frames."""

import csv
import glob
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ultralytics.data.images import IMG_FORMATS, VID_FORMATS, pillow_to_bgr, read_image, with_channels
from ultralytics.utils import LOGGER, refused
from ultralytics.utils.errors import DatasetError, SourceError
from ultralytics.utils.files import expand_user, is_utf8, why_no_path

T = TypeVar("T")
_LISTS = (".txt", ".csv")
_STREAMS = ("http://", "https://", "rtsp://", "rtmp://", "tcp://", "udp://", "screen")


@dataclass(frozen=True)
class Frame:
    """One image (H, W, 3) uint8 BGR and its origin.

    `tensor` (3, H, W), or (1, H, W) gray, is the image as it was given, if that was a floating-point tensor. `item`
    counts the images and videos of the source from 1; `frame` the used frames of a video from 1, up to `frames` if
    their number is known; `fps` is the file's.
    """

    image: np.ndarray
    path: str
    tensor: Tensor | None = None
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
        """The image as a frame. Raises DatasetError if it cannot be read."""
        yield Frame(read_image(self.path), self.path)


@dataclass(frozen=True)
class Video:
    """A video by its path, or a camera by its number, of which every `stride`-th frame is used."""

    path: str
    stride: int
    camera: int | None = None

    def frames(self) -> Iterator[Frame]:
        """Frames, decoded one by one. Raises DatasetError if there is none."""
        if not is_utf8(self.path):  # OpenCV would end the process
            raise DatasetError(f"{self.path}: its name is not UTF-8 text, by which OpenCV opens videos; rename it")
        capture = cv2.VideoCapture(self.path if self.camera is None else self.camera)
        try:
            # Containers only estimate the number of frames, and cameras answer 0 or -1.
            expected = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) // self.stride, 0)
            fps = capture.get(cv2.CAP_PROP_FPS) or None
            number = 0
            while all(capture.grab() for _ in range(self.stride)):  # those in between are not decoded
                decoded, image = capture.retrieve()
                if decoded:
                    number += 1
                    yield Frame(image, self.path, is_video=True, frame=number, frames=expected or None, fps=fps)
            if not number:
                what = "this video" if self.camera is None else "the camera of this number"
                raise DatasetError(f"{self.path}: no frame can be read from {what}")
            if number < 0.95 * expected:
                LOGGER.warning(f"{self.path} ends after {number} of {expected} frames")
        finally:  # also where the caller takes only some of the frames
            capture.release()


@dataclass(frozen=True)
class MemoryImage:
    """An image in memory."""

    image: np.ndarray | Tensor | Image.Image
    path: str

    def frames(self) -> Iterator[Frame]:
        """The image as a frame. Raises SourceError if it is of no kind that `load_source` takes."""
        floating = isinstance(self.image, Tensor) and self.image.is_floating_point()
        try:
            yield Frame(to_bgr(self.image), self.path, self.image if floating else None)
        except (ValueError, OSError) as exc:
            raise SourceError(f"{self.path}: {exc}") from exc


Item = ImageFile | Video | MemoryImage


class Source:
    """Frames of several items, in their order, decoded as they are asked for.

    `together` tells whether they were given together, as a list of images or as images in memory, and so are predicted
    on in batches. Files that cannot be read are skipped, logged and kept in `skipped` as (file, reason); if nothing
    else is there, iterating raises SourceError.
    """

    def __init__(self, items: Sequence[Item], together: bool = False) -> None:
        self.items = items
        self.in_memory = all(isinstance(item, MemoryImage) for item in items)
        self.together = together or self.in_memory
        self.skipped: list[tuple[str, str]] = []

    def __len__(self) -> int:
        """Number of images and videos."""
        return len(self.items)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped = []
        for number, item in enumerate(self.items, 1):
            frames = item.frames()
            try:
                for frame in frames:
                    yield replace(frame, item=number)
            except DatasetError as exc:
                if len(self) == 1:
                    raise SourceError(str(exc)) from exc
                LOGGER.warning(f"Skipped {exc}")
                self.skipped.append((item.path, str(exc).removeprefix(f"{item.path}: ")))
        if len(self.skipped) == len(self):
            raise SourceError(f"None of the {len(self)} images and videos can be read")


class Batches:
    """Images of a source in batches of `bs`: paths, images (H, W, channels) uint8 BGR, and a text for the log.

    What scripts iterate themselves, by the published classes below; YOLO.predict takes it as a source.
    """

    mode = "image"
    logs = True  # False: the texts are empty

    def __init__(self, source: "Source", batch: int = 1, channels: int = 3) -> None:
        self.source, self.bs, self.channels = source, batch, channels
        if channels not in (1, 3):
            raise SourceError(f"channels={channels}: images have 3 channels (color) or 1 (gray)")

    def __len__(self) -> int:
        return math.ceil(len(self.source) / self.bs)

    def __iter__(self) -> Iterator[tuple[list[str], list[np.ndarray], list[str]]]:
        frames = iter(self.source)
        while group := list(islice(frames, self.bs)):
            self.mode = "video" if group[-1].is_video else "image"
            texts = []  # number of each image among all, and of the frame of a video
            for frame in group:
                of = f" (frame {frame.frame}/{frame.frames or '?'})" if frame.is_video else ""
                number = f"{'video' if frame.is_video else 'image'} {frame.item}/{len(self.source)}"
                texts.append(f"{number}{of} {frame.path}: " if self.logs else "")
            images = [with_channels(frame.image, self.channels) for frame in group]
            yield [frame.path for frame in group], images, texts


class LoadImagesAndVideos(Batches):
    """Batches of images and videos by their path, folder, pattern or list."""

    def __init__(self, path: object, batch: int = 1, vid_stride: int = 1, channels: int = 3) -> None:
        super().__init__(load_source(path, vid_stride), batch, channels)
        self.files = [item.path for item in self.source.items]
        self.nf = len(self.files)


class LoadPilAndNumpy(Batches):
    """One batch of images in memory, Pillow's and arrays."""

    logs = False  # they have no names

    def __init__(self, im0: object, channels: int = 3) -> None:
        source = load_source(im0)
        super().__init__(source, len(source), channels)
        self.im0 = [with_channels(frame.image, channels) for frame in source]
        self.paths = [item.path for item in source.items]


class LoadTensor(Batches):
    """One batch of a tensor ([B,] 3, H, W) RGB: as it is in 0..1, of 0..255 divided by 255."""

    def __init__(self, im0: Tensor) -> None:
        if im0.ndim not in (3, 4) or any(side % 32 for side in im0.shape[-2:]):
            raise SourceError(f"a tensor of shape {tuple(im0.shape)}, expected (B, 3, H, W) with sides in whole 32s")
        self.im0 = im0 if im0.ndim == 4 else im0[None]
        if not im0.is_floating_point() or im0.max() > 1 + 1e-3:
            LOGGER.warning(f"the tensor has values up to {im0.max().item():g}: divided by 255")
            self.im0 = self.im0.float() / 255
        super().__init__(load_source(self.im0), len(self.im0))
        self.paths = [item.path for item in self.source.items]

    def __iter__(self) -> Iterator[tuple[list[str], Tensor, list[str]]]:
        yield self.paths, self.im0, [""] * self.bs


def load_source(source: object, vid_stride: int = 1) -> Source:
    """Frames to predict on, from whatever a user may pass as `source`; one that has been loaded stays as it is.

    A path, folder (all in its subfolders if it holds no image itself), pattern such as `shots/**/*.jpg`, image, video,
    camera number, or a .txt or .csv list of such paths; an array (H, W, 3) BGR, (H, W) gray or (H, W, 4) BGRA, uint8; a
    Pillow image; a tensor ([B,] 3, H, W) RGB or ([B,] 1, H, W) gray, uint8 or 0..1; a list of such. Raises SourceError
    for anything else, and for files and folders that do not exist.
    """
    if isinstance(source, Source | Batches):
        return source if isinstance(source, Source) else source.source
    items: list[Item] = []
    given = source if isinstance(source, list | tuple) else [source]
    for one in given:
        index = len(items)  # by which images without a name are numbered
        if isinstance(one, str | Path):
            items += _path_items(str(one), vid_stride)
        elif isinstance(one, int) and not isinstance(one, bool):
            items.append(Video(str(one), vid_stride, camera=one))
        elif isinstance(one, Tensor) and one.ndim == 4:
            items += [MemoryImage(image, f"image{i}.jpg") for i, image in enumerate(one, index)]
        elif isinstance(one, np.ndarray | Tensor | Image.Image):
            items.append(MemoryImage(one, getattr(one, "filename", "") or f"image{index}.jpg"))
        else:
            raise SourceError(
                f"A {type(one).__name__} is no source; give a path, an array, a Pillow image, a tensor or a list"
            )
    if not items:
        raise SourceError("The list of sources is empty")
    if len(items) == 1 and isinstance(items[0], ImageFile) and not os.path.lexists(items[0].path):
        raise SourceError(f"{items[0].path}: no such file or folder; give the path of one as source=")
    single = len(items) == len(given) and not any(isinstance(item, Video) for item in items)  # each is one image
    return Source(items, together=single and given is source)


def _path_items(text: str, stride: int) -> list[Item]:
    """Items of a text: the file or folder of that name if there is one, otherwise a camera or a pattern."""
    if reason := why_no_path(text):
        raise SourceError(f"{text[:60]!r} is no path: {reason}")
    path = expand_user(text)
    exists = os.path.lexists(path)
    if path.is_dir():
        # Subfolders count only where the folder itself holds no image.
        where, files = f"the folder {text}", _media(path.iterdir()) or _media(path.rglob("*"))
    elif exists and path.suffix.lower() in _LISTS:
        return _listed_items(path, stride)
    elif exists:  # by this name, whatever its name ends in
        files = [path]
    elif text.isdecimal():
        return [Video(text, stride, camera=int(text))]
    elif text.lower().startswith(_STREAMS):
        raise SourceError(f"{text}: screens and network streams are not read; save images or a video to a file first")
    elif glob.has_magic(text):
        found = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
        if "**" in text:  # a link that leads back up is followed forty times
            found = {(os.path.realpath(file.parent), file.name): file for file in found}.values()
        where, files = f"the pattern {text}", _media(found)
    else:
        files = [path]
    if not files:
        known = IMG_FORMATS | VID_FORMATS
        raise SourceError(f"No image or video in {where}; their names end in {', '.join(sorted(known))}")
    paths = [os.path.abspath(file) for file in files]  # noqa: PTH100 (links stay as they are)
    return [Video(p, stride) if Path(p).suffix.lower()[1:] in VID_FORMATS else ImageFile(p) for p in paths]


def _listed_items(path: Path, stride: int) -> list[Item]:
    """Items of a list of paths: the lines of a .txt, the cells of a .csv, whose first row may be the word `source`.

    An entry is an image, a video, a folder or a pattern; a relative one counts from the list's folder, or else the
    current one. One that does not exist is an item that cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        if "\0" in text:  # no name of a file has one, and functions that take paths raise at it
            raise SourceError(f"{path}: the list of sources contains a null byte: save it as UTF-8 text")
        lines = text.splitlines()
        rows = list(csv.reader(lines)) if path.suffix.lower() == ".csv" else [[line] for line in lines]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise SourceError(f"{path}: the list of sources cannot be read as UTF-8 text: {exc}") from exc
    if path.suffix.lower() == ".csv" and rows[:1] == [["source"]]:
        rows = rows[1:]
    items: list[Item] = []
    for entry in filter(None, (cell.strip() for row in rows for cell in row)):
        if entry.lower().endswith(_LISTS):
            raise SourceError(f"{path}: {entry} is another list; write its entries here")
        beside = os.path.join(path.parent, entry)  # noqa: PTH118 (a Path would drop the `./` and the `//` of addresses)
        tried = (beside,) if entry.startswith("./") else (beside, entry)
        found = (  # those that exist, or as a pattern have a match
            place
            for place in tried
            if os.path.lexists(place) or (glob.has_magic(place) and any(glob.iglob(place, recursive=True)))  # noqa: PTH207
        )
        items += _path_items(entry if entry.lower().startswith(_STREAMS) else next(found, beside), stride)
    if not items:
        raise SourceError(f"{path}: the list is empty")
    return items


def _media(paths: Iterable[Path]) -> list[Path]:
    """Files named like images or videos and not hidden, sorted."""
    known = IMG_FORMATS | VID_FORMATS
    return sorted(path for path in paths if path.suffix.lower()[1:] in known and not path.name.startswith("."))


def to_bgr(image: np.ndarray | Tensor | Image.Image) -> np.ndarray:
    """An image in memory as (H, W, 3) uint8 BGR. Raises ValueError if it is of no kind that `load_source` takes."""
    if isinstance(image, Image.Image):
        return pillow_to_bgr(image)
    if isinstance(image, Tensor):
        if image.ndim != 3 or len(image) not in (1, 3):
            raise ValueError(f"a tensor of shape {tuple(image.shape)}, expected ([B,] 3, H, W), or gray ([B,] 1, H, W)")
        if image.is_floating_point():
            if not bool(((image >= 0) & (image <= 1 + 1e-3)).all()):
                raise ValueError("a floating-point tensor with values outside 0..1; divide it by 255")
            image = (image.float() * 255).round().clamp(max=255).to(torch.uint8)
        image = image.detach().cpu().numpy()[::-1].transpose(1, 2, 0)  # RGB -> BGR, (H, W, C)
    channels = image.shape[2] if image.ndim == 3 else 1
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or channels not in (1, 3, 4) or not image.size:
        raise ValueError(f"an array {image.shape} {image.dtype}, expected (H, W, 3) uint8, BGR")
    if channels == 4:
        return pillow_to_bgr(Image.fromarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)))
    image = np.ascontiguousarray(image)
    return image if channels == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)


def stack_if_tensors(frames: list[Frame], stride: int, channels: int = 3) -> Tensor | None:
    """Frames that came as tensors of one shape that fits stride and channels, as one (B, C, H, W); None of others."""
    shapes = {frame.tensor.shape if frame.tensor is not None else () for frame in frames}
    (shape, *others) = shapes
    fit = not others and shape[:1] == (channels,) and not any(side % stride for side in shape[1:])
    return torch.stack([frame.tensor for frame in frames]) if fit else None


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
