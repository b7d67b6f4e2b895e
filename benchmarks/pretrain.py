"""Pretrain yolov8n on images other than bccd's: everyday photos (coco_mini) and nuclei under a microscope (nuclei_seg).

usage: python benchmarks/pretrain.py [REFERENCE] [key=value ...]     the folder with data/, default ../shared

The weights, runs/pretrain/exp/weights/last.pt, are what the warm starts of the study begin with. All of both datasets'
images are trained on, validation images too: nothing is measured on them, so there is no best epoch either.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ultralytics import YOLO  # noqa: E402
from ultralytics.cfg import parse_overrides  # noqa: E402

SETTINGS = {"imgsz": 224, "epochs": 30, "batch": 8, "nbs": 8, "optimizer": "AdamW", "lr0": 0.001, "val": False}
ALWAYS = {"device": "cpu", "plots": False, "verbose": False, "project": "runs/pretrain"}


def join(sources: list[Path], target: Path) -> Path:
    """The YAML of one dataset made of all images of several, whose classes follow each other."""
    names: list[str] = []
    for source in sources:
        known = yaml.safe_load((source / "data.yaml").read_text(encoding="utf-8"))["names"]
        for image in sorted((source / "images").glob("*/*")):
            stem = f"{source.name}-{image.parent.name}-{image.stem}"
            _copy(image, target / "images" / f"{stem}{image.suffix}")
            rows = source / "labels" / image.parent.name / f"{image.stem}.txt"
            if rows.is_file():
                _renumber(rows, target / "labels" / f"{stem}.txt", len(names))
        names += [known[i] for i in range(len(known))]
    file = target / "data.yaml"
    data = {"train": "images", "val": "images", "names": dict(enumerate(names))}
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return file


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _renumber(source: Path, target: Path, first: int) -> None:
    """Copy a label file with `first` added to its classes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    rows = (line.split() for line in source.read_text(encoding="utf-8").splitlines() if line.strip())
    moved = (" ".join([str(int(cls) + first), *rest]) for cls, *rest in rows)
    target.write_text("\n".join(moved), encoding="utf-8")


def main(words: list[str]) -> None:
    """Join, train, and say where the weights are."""
    reference = Path(words.pop(0)) if words and "=" not in words[0] else ROOT.parent / "shared"
    with tempfile.TemporaryDirectory() as folder:
        data = join([reference / "data" / name for name in ("coco_mini", "nuclei_seg")], Path(folder))
        model = YOLO("yolov8n.yaml")
        model.train(data=str(data), **(SETTINGS | ALWAYS | parse_overrides(words)))
        print(f"weights: {model.trainer.last}")


if __name__ == "__main__":
    main(sys.argv[1:])
