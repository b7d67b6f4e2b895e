"""Which files a dataset consists of."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ultralytics.data.images import IMG_FORMATS
from ultralytics.utils.errors import DatasetError


def list_images(paths: Path | str | Sequence[Path | str]) -> list[str]:
    """Image files of a split, sorted: folders with all below them, .txt lists of images, single images.

    Hidden files and folders are passed over. Whether a file can be read is for `scan` to say. Raises DatasetError.
    """
    paths = [paths] if isinstance(paths, str | Path) else paths
    found = sorted(file for path in paths for file in _images_of(Path(path)))
    if not found:
        where = ", ".join(str(path) for path in paths)
        raise DatasetError(f"No images in {where}; image files end in {', '.join(sorted(IMG_FORMATS))}")
    return found


def read_list(path: Path) -> list[str]:
    """Paths in a .txt list, one a line; a relative one counts from the list's folder, or else the current one.

    Raises DatasetError if the list cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path}: the list of images cannot be read as UTF-8 text: {exc}") from exc
    return [_beside(path.parent, line.strip()) for line in lines if line.strip()]


def label_path(image: str | Path) -> Path:
    """Where the labels of an image are: under `labels` instead of the last folder `images`, else beside it."""
    path = Path(image)
    folders = list(path.parts[:-1])
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, path.stem + ".txt")


def labels_cache(files: Sequence[str]) -> Path:
    """Where to keep the scan of these images: beside the folder of the first one's labels, as `<folder>.cache`."""
    folder = label_path(Path(files[0]).absolute()).parent
    return folder.with_name(folder.name + ".cache")


def _images_of(path: Path) -> Iterable[str]:
    if path.is_dir():
        return _walk(path)
    return read_list(path) if path.suffix.lower() == ".txt" else [str(path)]


def _walk(folder: Path) -> Iterator[str]:
    """All entries below `folder` that are named like images, even where they are folders or dead links."""
    seen = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if (real := os.path.realpath(parent)) in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        for name in [*folders, *files]:
            # Not a Path for each of a million files: that takes its time.
            if os.path.splitext(name)[1][1:].lower() in IMG_FORMATS and not name.startswith("."):  # noqa: PTH122
                yield os.path.join(parent, name)  # noqa: PTH118


def _beside(folder: Path, entry: str) -> str:
    beside = folder / entry
    return entry if not entry.startswith("./") and not beside.exists() and Path(entry).exists() else str(beside)
