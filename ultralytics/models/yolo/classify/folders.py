"""Datasets for classification: a folder for each split, in it a folder for each class, in that its images."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ultralytics.cfg import CFG_DIR
from ultralytics.data.config import load_data_yaml, places
from ultralytics.data.images import IMG_FORMATS, check_image
from ultralytics.data.labels.cache import load_cache, save_cache, scan_key
from ultralytics.data.labels.rows import ParsedRows
from ultralytics.data.labels.scan import ScanResult, scan_files
from ultralytics.data.labels.store import LabelStore
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError

FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid", "test"), "test": ("test",)}  # the first there is
LAYOUT = "it takes train/ and val/, and in each a folder for every class, such as train/cat/001.jpg"
WHOLE_IMAGE = np.array([[0.5, 0.5, 1, 1]], np.float32)


def load_class_folders(path: str | Path, need: Sequence[str] = ("train", "val")) -> dict[str, Any]:
    """A folder of splits, or a dataset YAML that says where it is, as a mapping.

    `train`, `val`, `test` become folders, or None where there is none (those of `need` are there), `path` is the folder
    they are in, `names` a dict from 0 to `nc` - 1: the sorted folders of train/. A bare name may be that of a YAML in
    cfg/datasets. Raises DatasetError.
    """
    file = _yaml_of(path)
    data = load_data_yaml(file, need) if file else {"path": _folder(path)}
    root = data["path"]
    splits = {split: _split(root, split, data.get(split), split in need) for split in FOLDERS}
    first = splits["train"] or splits[need[0]]
    names = dict(enumerate(class_folders(first)))
    if not names:
        raise DatasetError(f"{first} has no folders, which would be the classes; for classification {LAYOUT}")
    if file and list(names.values()) != list(data["names"].values()):
        raise DatasetError(f"{file}: `names:` must be the folders of {first}, sorted: {', '.join(names.values())}")
    return {**data, **splits, "names": names, "nc": len(names), "channels": data.get("channels", 3)}


def class_folders(folder: Path) -> list[str]:
    """Names of the classes of a split, sorted."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def scan_classes(folder: Path, names: Mapping[int, str], desc: str = "") -> LabelStore:
    """The images of a split, each an object of its folder's class that fills it; what is broken or tiny is left out.

    Folders that are no class of `names` are left out, too, and all that is left out is said. The result is kept beside
    the folder, as its name with .cache. Raises DatasetError if no image is left.
    """
    from torchvision.datasets.folder import make_dataset

    indices = {name: i for i, name in names.items()}
    found = make_dataset(str(folder), indices, is_valid_file=_is_image, allow_empty=True)
    _report_folders(folder, indices, Counter(cls for _, cls in found), desc)
    if not found:
        raise DatasetError(f"{folder}: there are no images in the folders of the classes, {', '.join(indices)}")
    files, examine = [file for file, _ in found], partial(_examine, root=str(folder), indices=indices)
    cache = folder.with_name(folder.name + ".cache")
    key = scan_key(files, files, examine, len(names), single_cls=False)
    store = load_cache(cache, key)
    if store is None:
        store = scan_files(files, examine, desc=desc)
        save_cache(cache, key, store)
    for file, reason in store.skipped:
        LOGGER.warning(f"{file} is left out: {reason}")
    if not len(store):
        file, reason = store.skipped[0]
        raise DatasetError(
            f"{folder}: none of its {len(files)} images can be used, the first, {file}, because: {reason}"
        )
    LOGGER.info(f"{desc}: {len(store)} images of {len(np.unique(store.cls))} classes, {len(store.skipped)} left out")
    return store


def share_of_each(cls: np.ndarray, fraction: float) -> np.ndarray:
    """Indices of the first `fraction` of the images of every class, at least one, in their order."""
    kept = [mine[: max(round(len(mine) * fraction), 1)] for c in np.unique(cls) for mine in [np.flatnonzero(cls == c)]]
    return np.sort(np.concatenate(kept))


def _yaml_of(path: str | Path) -> Path | None:
    """The dataset YAML that `data=` names, by a path or as one of cfg/datasets; None for a folder."""
    shipped = CFG_DIR / "datasets" / f"{path}.yaml"
    if Path(path).suffix in (".yaml", ".yml"):
        return Path(path)
    return shipped if not Path(path).is_dir() and shipped.is_file() else None


def _folder(path: str | Path) -> Path:
    tried = places(path, Path.cwd())
    found = next((place for place in tried if place.is_dir()), None)
    if found is None:
        raise DatasetError(
            f"data={path} is neither a folder nor a dataset YAML, tried {', '.join(map(str, tried))}; of a folder for "
            f"classification {LAYOUT}"
        )
    return found


def _split(root: Path, split: str, given: Sequence[Path] | None, needed: bool) -> Path | None:
    """The folder of a split, as the YAML gives it or by its name."""
    if given and len(given) > 1:
        raise DatasetError(f"`{split}:` names {len(given)} places; for classification it is one folder")
    tried = list(given or [root / name for name in FOLDERS[split]])
    found = next((place for place in tried if place.is_dir()), None)
    if found is None and needed:
        names = " nor ".join(f"{place.name}/" for place in tried)
        raise DatasetError(f"{root} has no {names}; of a folder for classification {LAYOUT}")
    return found


def _report_folders(folder: Path, indices: Mapping[str, int], counts: Counter, desc: str) -> None:
    """Folders that are no classes, and classes of the training images that have none."""
    unknown = [name for name in class_folders(folder) if name not in indices]
    if unknown:
        images = sum(_is_image(file) for name in unknown for *_, files in os.walk(folder / name) for file in files)
        LOGGER.warning(
            f"{folder}: {len(unknown)} folders with {images} images are left out, as they are no classes of "
            f"the training images: {', '.join(unknown[:10])}"
        )
    empty = [name for name, i in indices.items() if not counts[i]]
    if empty:
        use = "learn from" if desc == "train" else "measure them by"
        LOGGER.warning(f"{folder}: the classes {', '.join(empty[:10])} have no images to {use}")


def _is_image(file: str) -> bool:
    name = os.path.basename(file)  # noqa: PTH119 (a Path for each of a million files takes its time)
    return name.rpartition(".")[2].lower() in IMG_FORMATS and not name.startswith(".")


def _examine(file: str, root: str, indices: Mapping[str, int]) -> ScanResult:
    """An image somewhere in a folder of `root` that is a class, as one object."""
    try:
        shape = check_image(file)
    except DatasetError as exc:
        return ScanResult(fault=str(exc).removeprefix(f"{file}: "))
    name = file[len(root) + 1 :].split(os.sep, 1)[0]
    return ScanResult(shape, ParsedRows(np.array([indices[name]], np.float32), WHOLE_IMAGE))
