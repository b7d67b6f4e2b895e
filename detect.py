"""Detect objects in images and videos: edit the settings below, or change them on the command line.

python detect.py source=photo.jpg                      with the newest best.pt
python detect.py source=datasets/shapes/images/val model=runs/train/exp2/weights/best.pt
python detect.py source="holiday/*.jpg" conf=0.5 save_txt=True
python detect.py source=clip.mp4
"""

from typing import Any

from ultralytics import YOLO
from ultralytics.engine.cli import newest_weights, run

SETTINGS = {
    "model": None,  # weights file; None: the newest best.pt below runs/train
    "source": "datasets/shapes/images/val",  # image, folder (if it has none, its subfolders), *.jpg, video
    "conf": 0.25,
    "save": True,
    "device": "0",  # first GPU; the CPU if there is none
    # "imgsz": 640,  # default: as in training
    # "classes": [0, 2],  # keep only these class indices
    # "save_txt": True,  # save label files, too
    "project": "runs/detect",
    "name": "exp",
}


def main(settings: dict[str, Any]) -> None:
    """Load the weights and predict on every image or frame of the source."""
    weights = settings.pop("model") or newest_weights()
    print(f"weights: {weights}")
    model = YOLO(weights)
    count = sum(1 for _ in model.predict(stream=True, **settings))  # stream: results are not kept in memory
    saved = f"images in {model.predictor.save_dir}" if model.predictor.save_dir else "nothing saved"
    print(f"{count} images or frames, {saved}")


if __name__ == "__main__":
    run(main, SETTINGS, __doc__)
