"""Dataset YAMLs: the folders of a dataset's images, the names of its classes, and whatever else a task needs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from ultralytics.cfg import resolve_yaml
from ultralytics.data.images import IMG_FORMATS, VID_FORMATS, check_image, exif_size  # noqa: F401 (published here)
from ultralytics.data.labels.files import label_path
from ultralytics.data.labels.rows import RowError, distinct, parse_box_rows, read_rows
from ultralytics.data.polygons import fill
from ultralytics.data.shapes.generate import generate
from ultralytics.utils import refused
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import expand_user, load_yaml, why_no_path

SPLITS = ("train", "val", "test")
SOURCE_TREE = Path(__file__).resolve().parents[2]


class DatasetInfo(TypedDict, total=False):
    """A dataset YAML once read and checked; keys of the file that are not listed here are kept as they are."""

    yaml_file: Path
    path: Path  # the folder that the splits are in
    names: dict[int, str]  # 0 to nc - 1
    nc: int
    nc_in_files: int  # classes in the label files; `nc`, unless `single_cls` makes one of them
    channels: int  # 3 (color) or 1 (gray), where the YAML says so; else those of the network
    train: list[Path]  # folders, .txt lists or images; for classification a folder or None
    val: list[Path]
    test: list[Path]
    kpt_shape: list[int]  # [K, D]: points, numbers of each
    flip_idx: list[int]  # (K,) the point that takes each one's place in a mirror image
    kpt_names: list[str] | dict[int, list[str]]  # (K,), or such a list by class
    kpt_oks_sigmas: list[float]  # (K,)


def load_data_yaml(path: str | Path, need: Sequence[str] = ("train", "val")) -> DatasetInfo:
    """A dataset YAML, its places resolved and its classes checked; a built-in dataset is drawn on first use.

    `train`, `val`, `test` become lists of existing folders, .txt lists or images (empty where the YAML names none; only
    those of `need` have to exist), `path` the folder they are in, `names` a dict from 0 to `nc` - 1; `yaml_file` is
    added, and every other key is kept. Nothing is ever downloaded. Raises DatasetError, ConfigError.
    """
    if Path(path).is_dir():
        raise DatasetError(
            f"data={path} is a folder: give the YAML that describes the dataset, such as {Path(path) / 'data.yaml'}; "
            "folders of classes are for task=classify"
        )
    file = resolve_yaml(path, "datasets").absolute()
    data = load_yaml(file)
    if "validation" in data:
        data.setdefault("val", data.pop("validation"))
    names = _names(data, file)
    if data.get("channels", 3) not in (1, 3):
        raise DatasetError(f"{file}: `channels: {data['channels']}`, expected 3 (color) or 1 (gray)")
    for name in ("path", *SPLITS):
        for entry in data[name] if isinstance(data.get(name), list) else [data.get(name)]:
            if reason := why_no_path(str(entry)):
                raise DatasetError(f"{file}: `{name}: {str(entry)[:60]}` is no path: {reason}")
    roots = candidate_folders(data.get("path") or ".", file.parent)
    root = next((place for place in roots if place.is_dir()), None)
    if "generate" in data:  # takes no time if this version has drawn it before
        root = root or roots[-1]
        generate(data["generate"], names, root, file)
    splits = {split: _split(data, split, [root] if root else roots, split in need, file) for split in SPLITS}
    checked = {"yaml_file": file, "path": root or roots[0], "names": names, "nc": len(names), "nc_in_files": len(names)}
    return {**data, **checked, **splits}


def dataset_info(data: Mapping[str, object]) -> DatasetInfo:
    """Complete a description that a script made itself: paths as lists, names by index, `nc_in_files`."""
    if "nc_in_files" in data:  # of load_data_yaml
        return dict(data)
    file = Path(data.get("yaml_file", "data"))
    names = _names(dict(data), file)
    paths = {split: data.get(split) or [] for split in SPLITS}
    splits = {k: [Path(p) for p in ([v] if isinstance(v, str | Path) else v)] for k, v in paths.items()}
    fixed = {"names": names, "nc": len(names), "nc_in_files": len(names)}
    return {"path": Path.cwd(), **data, **fixed, **splits, "yaml_file": file}


def check_det_dataset(dataset: str | Path, autodownload: bool = True, split: str = "") -> DatasetInfo:
    """Describe the dataset of a YAML, as `load_data_yaml` does; with `split` only that one has to exist.

    Nothing is ever downloaded, whatever `autodownload` says: what is missing is named. `channels` is 3 if not given.
    """
    return {"channels": 3, **load_data_yaml(dataset, [split] if split else ("train", "val"))}


def check_cls_dataset(dataset: str | Path, split: str = "") -> DatasetInfo:
    """Describe a folder with a folder for every class in its train/ and val/; with `split` only that one must exist."""
    from ultralytics.data.classify.folders import load_class_folders

    return {"channels": 3, **load_class_folders(dataset, [split] if split else ("train", "val"))}


def img2label_paths(img_paths: Sequence[str | Path]) -> list[str]:
    """Label files of images: under `labels` instead of the last folder `images`, or else beside them."""
    return [str(label_path(path)) for path in img_paths]


def find_dataset_yaml(path: Path) -> Path:
    """The YAML in a folder or else below it; of several that named like the folder. Raises DatasetError."""
    files = sorted(path.glob("*.yaml")) or sorted(path.rglob("*.yaml"))
    found = files if len(files) == 1 else [file for file in files if file.stem == path.stem]
    if len(found) != 1:
        listed = ", ".join(map(str, files)) or "none"
        raise DatasetError(f"{path}: expected one YAML of a dataset, or one named {path.stem}.yaml; found {listed}")
    return found[0]


def verify_image(args: tuple) -> tuple:
    """Check an image of a class, ((file, class), prefix of the message).

    Returns the pair, the numbers of good and of faulty images, and a message on the latter.
    """
    image, prefix = args
    try:
        check_image(image[0])
    except DatasetError as exc:
        return image, 0, 1, f"{prefix}{exc}"
    return image, 1, 0, ""


def verify_image_label(args: tuple) -> tuple:
    """Check an image and its label file: (image, label file, prefix of the message, keypoints or not, nc, K, D, any).

    Returns the image, its labels (k, 5) class and xywh, its (height, width), polygons, keypoints (k, K, D), four
    numbers, of label files missing, found, empty and faulty, and a message; of a faulty one only these are no None.
    """
    image, label, prefix, keypoints, nc, points, numbers, single_cls = args
    none = (None,) * 5
    try:
        shape = check_image(image)
        rows, lines = read_rows(Path(label))
        found = parse_box_rows(rows, None if single_cls else nc, keypoint_numbers=points * numbers if keypoints else 0)
    except RowError as exc:
        return *none, 0, 1, 0, 1, f"{prefix}{label}:{lines[exc.row]}: {exc}"
    except DatasetError as exc:
        return *none, 0, 0, 0, 1, f"{prefix}{exc}"
    boxes = np.concatenate((found.cls[:, None], found.boxes), axis=1)
    keypoint = None
    if keypoints:
        values = [rows[i][5:] for i in distinct(rows)]
        keypoint = np.array(values, np.float32).reshape(-1, points, numbers)
    missing = not Path(label).is_file()
    counts = int(missing), int(not missing), int(not missing and not rows), 0
    message = f"{prefix}{image}: {found.duplicates} duplicate rows dropped" if found.duplicates else ""
    return image, boxes, shape, found.polygons or [], keypoint, *counts, message


def polygon2mask(
    imgsz: tuple[int, int], polygons: Sequence[np.ndarray], color: int = 1, downsample_ratio: int = 1
) -> np.ndarray:
    """Mask (H // `downsample_ratio`, W // `downsample_ratio`) uint8, `color` in polygons (p, 2), or (2p,), in pixels.

    They are filled in an image of `imgsz` (H, W), their edges included, which is then reduced (bilinear, rounded).
    """
    height, width = imgsz
    size = (width // downsample_ratio, height // downsample_ratio)
    return cv2.resize(fill(polygons, (height, width), color), size, interpolation=cv2.INTER_LINEAR)


def polygons2masks(
    imgsz: tuple[int, int], polygons: Sequence[np.ndarray], color: int = 1, downsample_ratio: int = 1
) -> np.ndarray:
    """Masks (k, h, w) uint8, one for each polygon, as `polygon2mask` makes it."""
    masks = [polygon2mask(imgsz, [polygon], color, downsample_ratio) for polygon in polygons]
    return np.stack(masks) if masks else np.zeros((0, *(side // downsample_ratio for side in imgsz)), np.uint8)


def polygons2masks_overlap(
    imgsz: tuple[int, int], segments: Sequence[np.ndarray], downsample_ratio: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Index map (h, w) of polygons, and their order (k,), which is that of their areas in it, descending.

    A cell holds 0 or the number, from 1 on in that order, of the polygon that is on top, the smaller one; uint8 or, of
    more than 255 polygons, int32.
    """
    masks = polygons2masks(imgsz, segments, 1, downsample_ratio)
    order = np.argsort(-masks.sum((1, 2), dtype=np.int64))
    index_map = np.zeros(masks.shape[1:], np.int32 if len(masks) > 255 else np.uint8)
    for number, mask in enumerate(masks[order], 1):
        index_map[mask > 0] = number  # over the larger ones that came before
    return index_map, order


def dataset_name(path: Path) -> str:
    """Name of a dataset: that of its YAML or, where it is called data.yaml, of the folder."""
    return path.parent.name if path.stem in ("data", "dataset") else path.stem


def candidate_folders(entry: object, beside: Path) -> list[Path]:
    """Where a dataset may be: beside the YAML, in the current folder, in `datasets` of that or of this source tree."""
    folders = [beside, Path.cwd(), Path.cwd() / "datasets"]
    if (SOURCE_TREE / "pyproject.toml").is_file():
        folders.append(SOURCE_TREE / "datasets")
    # Without `..`, but links stay, as the labels may be beside the link and not beside what it leads to.
    joined = (os.path.abspath(folder / expand_user(str(entry))) for folder in folders)  # noqa: PTH100
    return list(dict.fromkeys(map(Path, joined)))


def _split(data: dict, split: str, roots: Sequence[Path], needed: bool, file: Path) -> list[Path]:
    """Paths of a split, each in the first of the `roots` that has it; DatasetError if none has and it is `needed`."""
    entries = data.get(split) or []
    entries = [entries] if isinstance(entries, str) else entries
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise DatasetError(f"{file}: `{split}: {entries}` is not a folder, a .txt list, an image, or a list of such")
    if needed and not entries:
        raise DatasetError(f"{file} has no `{split}:`; name there the folder or the .txt list of its images")
    paths = []
    for entry in entries:
        # Roboflow writes `../train/images` into a YAML that lies beside the folder `train`.
        variants = [entry, entry[3:]] if entry.startswith("../") else [entry]
        joined = (os.path.abspath(root / expand_user(one)) for root in roots for one in variants)  # noqa: PTH100
        tried = list(dict.fromkeys(map(Path, joined)))
        existing = [place for place in tried if place.exists()]
        if needed and not existing:
            never = "its `download:` is never run, so fetch the dataset yourself"
            hint = never if "download" in data else "correct the path"
            raise DatasetError(f"{file}: `{split}: {entry}` does not exist; tried {', '.join(map(str, tried))}; {hint}")
        paths.append((existing or tried)[0])
    return paths


def _names(data: dict, file: Path) -> dict[int, str]:
    """Class names by index, from the `names:` and `nc:` of a YAML, either of which will do. Raises DatasetError."""
    nc, names = data.get("nc"), data.get("names")
    if nc is not None and (not isinstance(nc, int) or isinstance(nc, bool) or nc < 1):
        raise DatasetError(f"{file}: `nc: {nc}` is not a number of classes, 1 or more")
    if names is None and nc is None:
        raise DatasetError(f"{file} has neither `names:` nor `nc:`; list the names of the classes")
    if names is None:
        return {i: f"class_{i}" for i in range(nc)}
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DatasetError(f"{file}: `names: {names}` is neither a list nor a mapping of class names")
    names = {int(k) if isinstance(k, str) and k.strip().isdecimal() else k: name for k, name in names.items()}
    if set(names) != set(range(len(names))):
        keys = ", ".join(map(repr, names))
        keys = keys if len(keys) < 60 else keys[:57] + "..."
        first = next(iter(names.items()))
        swapped = all(isinstance(index, int) for index in names.values())
        hint = f"; write the number first: `{first[1]}: {first[0]}`" if swapped else ""
        raise DatasetError(f"{file}: names has the keys {keys}, expected 0 to {len(names) - 1}{hint}")
    if nc not in (None, len(names)):
        raise DatasetError(f"{file}: `nc: {nc}`, but there are {len(names)} names; remove nc or correct the names")
    for index, name in names.items():
        if name is None or isinstance(name, list | dict):  # an empty entry, or a list in the list
            raise DatasetError(f"{file}: the name of class {index} is {name!r}, expected text")
    return {i: str(names[i]) for i in range(len(names))}


__getattr__ = refused.getter(__name__)  # public names that are not here say what to use instead
