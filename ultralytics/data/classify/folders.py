"""Datasets for classification: a folder for each split, in it a folder for each class, in that its images."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from ultralytics.cfg import CFG_DIR
from ultralytics.data.images import IMG_FORMATS, check_image
from ultralytics.data.labels.cache import load_cache, save_cache, scan_key
from ultralytics.data.labels.rows import ParsedRows
from ultralytics.data.labels.scan import ScanResult, report_scan, scan_files
from ultralytics.data.labels.store import LabelStore
from ultralytics.data.utils import DatasetInfo, candidate_folders, load_data_yaml
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DatasetError

FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid", "test"), "test": ("test",)}  # the first there is
LAYOUT = "a dataset for classification has train/ and val/, and in each a folder for every class: train/cat/001.jpg"
WHOLE_IMAGE = np.array([[0.5, 0.5, 1, 1]], np.float32)  # (1, 4) xywh, normalized


def load_class_folders(path: str | Path, need: Sequence[str] = ("train", "val")) -> DatasetInfo:
    """Describe a folder of splits, or what a dataset YAML says about one; a bare name may be a YAML of cfg/datasets.

    `train`, `val`, `test` become folders, or None where there is none (those of `need` exist), `path` the folder they
    are in, `names` a dict from 0 to `nc` - 1: the sorted folders of train/. Raises DatasetError.
    """
    shipped = CFG_DIR / "datasets" / f"{path}.yaml"
    file = None
    if Path(path).suffix in (".yaml", ".yml"):
        file = Path(path)
    elif not Path(path).is_dir() and shipped.is_file():
        file = shipped
    if file:
        data = load_data_yaml(file, need)
    else:
        tried = candidate_folders(path, Path.cwd())
        root = next((place for place in tried if place.is_dir()), None)
        if root is None:
            found = f"data={path} is neither a folder nor a dataset YAML, tried {', '.join(map(str, tried))}"
            raise DatasetError(f"{found}; {LAYOUT}")
        data = {"path": root}
    splits = {split: _split(data["path"], split, data.get(split), split in need) for split in FOLDERS}
    first = splits["train"] or splits[need[0]]  # val of a dataset without train/ has classes of its own
    names = dict(enumerate(class_folders(first)))
    if not names:
        raise DatasetError(f"{first} has no folders, which would be the classes; {LAYOUT}")
    # Numbers of classes follow the sorted folders: other names in the YAML would be those of other classes.
    if file and list(names.values()) != list(data["names"].values()):
        raise DatasetError(f"{file}: `names:` must be the folders of {first}, sorted: {', '.join(names.values())}")
    return {
        **data,
        **splits,
        "names": names,
        "nc": len(names),
        "nc_in_files": len(names),
    }


def _split(root: Path, split: str, given: Sequence[Path] | None, needed: bool) -> Path | None:
    """The folder of a split, as the YAML gives it or by its name."""
    if given and len(given) > 1:
        raise DatasetError(f"`{split}:` names {len(given)} paths; for classification it is one folder")
    tried = list(given or [root / name for name in FOLDERS[split]])
    found = next((place for place in tried if place.is_dir()), None)
    if found is None and needed:
        names = " nor ".join(f"{place.name}/" for place in tried)
        raise DatasetError(f"{root} has no {names}; {LAYOUT}")
    return found


def class_folders(folder: Path) -> list[str]:
    """Names of the classes of a split, sorted."""
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def scan_classes(folder: Path, names: Mapping[int, str], desc: str = "") -> LabelStore:
    """Check the images of a split; each becomes an object of its folder's class that fills the image.

    Broken and tiny images and folders that are no class of `names` are skipped, which is logged. The result is cached
    beside the folder, as its name with .cache. Raises DatasetError if no image is left.
    """
    from torchvision.datasets.folder import make_dataset

    indices = {name: i for i, name in names.items()}
    found = make_dataset(str(folder), indices, is_valid_file=_is_image, allow_empty=True)  # (file, class) of each image
    unknown = [name for name in class_folders(folder) if name not in indices]
    if unknown:
        images = sum(_is_image(file) for name in unknown for *_, files in os.walk(folder / name) for file in files)
        LOGGER.warning(
            f"{folder}: {len(unknown)} folders with {images} images skipped, as they are no classes of "
            f"the training images: {', '.join(unknown[:10])}"
        )
    counts = Counter(cls for _, cls in found)
    if empty := [name for name, i in indices.items() if not counts[i]]:
        use = "learn from" if desc == "train" else "measure them by"
        LOGGER.warning(f"{folder}: the classes {', '.join(empty[:10])} have no images to {use}")
    if not found:
        raise DatasetError(f"{folder}: there are no images in the folders of the classes, {', '.join(indices)}")

    files, examine = [file for file, _ in found], partial(_examine, root=str(folder), indices=indices)
    cache = folder.with_name(folder.name + ".cache")
    key = scan_key(files, files, examine, len(names), single_cls=False)  # the images are their own labels
    store = load_cache(cache, key)
    if store is None:
        store = scan_files(files, examine, desc=desc)
        save_cache(cache, key, store)
    report_scan(store, desc, f"{len(np.unique(store.cls))} classes")
    return store


def part_of_classes(cls: np.ndarray, fraction: float) -> np.ndarray:
    """Sorted indices of a part of the images of every class of `cls` (n,).

    By a fraction the first ones of each class, at least one; by an integer that many, evenly over all classes.
    """
    if isinstance(fraction, int):
        by_class = np.argsort(cls, kind="stable")
        return np.sort(by_class[np.linspace(0, len(cls) - 1, min(fraction, len(cls))).astype(int)])
    kept = []
    for c in np.unique(cls):
        images = np.flatnonzero(cls == c)
        kept.append(images[: max(round(len(images) * fraction), 1)])
    return np.sort(np.concatenate(kept))


def _is_image(file: str) -> bool:
    name = os.path.basename(file)  # noqa: PTH119 (a Path for each of a million files takes its time)
    return name.rpartition(".")[2].lower() in IMG_FORMATS and not name.startswith(".")


def _examine(file: str, root: str, indices: Mapping[str, int]) -> ScanResult:
    """An image somewhere below a folder of `root` that is a class, as one object."""
    try:
        shape = check_image(file)
    except DatasetError as exc:
        return ScanResult(fault=str(exc).removeprefix(f"{file}: "))
    name = file[len(root) + 1 :].split(os.sep, 1)[0]  # root/cat/deeper/001.jpg -> cat
    return ScanResult(shape, ParsedRows(np.array([indices[name]], np.float32), WHOLE_IMAGE))
