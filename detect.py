"""Detect objects in pictures and videos: edit the settings below, or change them on the command line.

python detect.py source=photo.jpg                      with the newest best.pt
python detect.py source=datasets/shapes/images/val model=runs/train/exp2/weights/best.pt
python detect.py source="holiday/*.jpg" conf=0.5 save_txt=True
python detect.py source=clip.mp4
"""

from typing import Any

from ultralytics import YOLO
from ultralytics.engine.cli import newest_weights, run

SETTINGS = {
    "model": None,  # weights; None: the newest best.pt below runs/train
    "source": "datasets/shapes/images/val",  # a picture, a folder (if it holds none, its subfolders), *.jpg, a video
    "conf": 0.25,
    "save": True,
    "device": "0",  # cpu where there is no GPU
    # "imgsz": 640,  # None: as in training
    # "classes": [0, 2],  # only these
    # "save_txt": True,  # label files, too
    "project": "runs/detect",
    "name": "exp",
}


def main(settings: dict[str, Any]) -> None:
    """Open the weights and look at everything, keeping nothing in memory."""
    weights = settings.pop("model") or newest_weights()
    print(f"weights: {weights}")
    model = YOLO(weights)
    seen = sum(1 for _ in model.predict(stream=True, **settings))
    where = f"pictures in {model.predictor.save_dir}" if model.predictor.save_dir else "nothing saved"
    print(f"{seen} images or frames, {where}")


if __name__ == "__main__":
    run(main, SETTINGS, __doc__)
