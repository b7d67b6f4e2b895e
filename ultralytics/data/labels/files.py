"""Files of a dataset: its images, the label file of each, and where the scan of them is kept."""

import os
from collections.abc import Sequence
from pathlib import Path

from ultralytics.data.images import IMG_FORMATS
from ultralytics.utils.errors import DatasetError


def list_images(paths: Path | str | Sequence[Path | str]) -> list[str]:
    """Image files of a split, sorted: folders with all below them, .txt lists of images, single images.

    Hidden files and folders are skipped. Folders and dead links named like images are listed: whether a file can be
    read is for `scan` to find out. Raises DatasetError if there are none.
    """
    paths = [paths] if isinstance(paths, str | Path) else paths
    images = []
    for path in map(Path, paths):
        if not path.is_dir():
            images += read_list(path) if path.suffix.lower() == ".txt" else [str(path)]
            continue
        visited = set()
        for parent, folders, files in os.walk(path, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            if (real := os.path.realpath(parent)) in visited:  # a link that leads back up
                folders.clear()
                continue
            visited.add(real)
            for name in [*folders, *files]:
                # Strings, as a Path for each of a million files takes its time.
                if os.path.splitext(name)[1][1:].lower() in IMG_FORMATS and not name.startswith("."):  # noqa: PTH122
                    images.append(os.path.join(parent, name))  # noqa: PTH118
    if not images:
        where = ", ".join(str(path) for path in paths)
        raise DatasetError(f"No images in {where}; image files end in {', '.join(sorted(IMG_FORMATS))}")
    return sorted(images)


def read_list(path: Path) -> list[str]:
    """Paths in a .txt list, one a line; a relative one counts from the list's folder, or else the current one.

    Raises DatasetError if the list cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"{path}: the list of images cannot be read as UTF-8 text: {exc}") from exc
    entries = []
    for entry in filter(None, map(str.strip, lines)):
        beside = path.parent / entry
        # `./` always means beside the list; anything else may also be in the current folder, if only there.
        elsewhere = not entry.startswith("./") and not beside.exists() and Path(entry).exists()
        entries.append(entry if elsewhere else str(beside))
    return entries


def label_path(image: str | Path) -> Path:
    """Label file of an image: under `labels` instead of the last folder `images`, or else beside it."""
    path = Path(image)
    folders = list(path.parts[:-1])
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return Path(*folders, path.stem + ".txt")


def misplaced_labels(image: str | Path) -> Path | None:
    """Folder beside that of an image's labels whose name also says label, such as `label`; None if there is none."""
    expected = label_path(Path(image).absolute())
    folder = next((parent for parent in expected.parents if parent.name == "labels"), expected.parent)
    others = folder.parent.iterdir() if folder.parent.is_dir() else ()
    return min(
        (path for path in others if path.is_dir() and path != folder and "label" in path.name.lower()), default=None
    )


def labels_cache(files: Sequence[str]) -> Path:
    """File for the scan of these images: beside the folder of the first one's labels, as `<folder>.cache`."""
    folder = label_path(Path(files[0]).absolute()).parent
    return folder.with_name(folder.name + ".cache")
