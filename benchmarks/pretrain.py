"""Pretrain yolov8n on images other than bccd's: everyday photos (coco_mini) and nuclei under a microscope (nuclei_seg).

usage: python benchmarks/pretrain.py [REFERENCE] [key=value ...]     the folder with data/, default ../shared

The warm starts of the study begin with these weights, runs/pretrain/exp/weights/last.pt. Training takes all images of
both datasets, validation images too: nothing is measured on them, so there is no best epoch either.
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
    """Join all images of several datasets into one, class indices one after the other; returns the YAML."""
    for folder in ("images", "labels"):
        (target / folder).mkdir()
    names: list[str] = []
    for source in sources:
        known = yaml.safe_load((source / "data.yaml").read_text(encoding="utf-8"))["names"]
        for image in sorted((source / "images").glob("*/*")):
            stem = f"{source.name}-{image.parent.name}-{image.stem}"
            shutil.copyfile(image, target / "images" / f"{stem}{image.suffix}")
            labels = source / "labels" / image.parent.name / f"{image.stem}.txt"
            if labels.is_file():
                rows = (line.split() for line in labels.read_text(encoding="utf-8").splitlines() if line.strip())
                moved = (" ".join([str(int(cls) + len(names)), *rest]) for cls, *rest in rows)
                (target / "labels" / f"{stem}.txt").write_text("\n".join(moved), encoding="utf-8")
        names += [known[i] for i in range(len(known))]
    file = target / "data.yaml"
    data = {"train": "images", "val": "images", "names": dict(enumerate(names))}
    file.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return file


def main(words: list[str]) -> None:
    """Join the datasets, train, and print the path of the weights."""
    reference = Path(words.pop(0)) if words and "=" not in words[0] else ROOT.parent / "shared"
    with tempfile.TemporaryDirectory() as folder:
        data = join([reference / "data" / name for name in ("coco_mini", "nuclei_seg")], Path(folder))
        model = YOLO("yolov8n.yaml")
        model.train(data=str(data), **(SETTINGS | ALWAYS | parse_overrides(words)))
        print(f"weights: {model.trainer.last}")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__.strip())
        sys.exit()
    main(sys.argv[1:])
