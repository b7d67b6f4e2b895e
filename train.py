"""Train a network: edit the settings below, or change them on the command line.

python train.py data=my.yaml epochs=50 batch=8 device=cpu
python train.py model=yolov8n.yaml data=shapes.yaml
python train.py task=segment                             with that task's model and data
python train.py resume=runs/train/exp/weights/last.pt    resume=True: the newest unfinished run
"""

from typing import Any

from ultralytics import YOLO
from ultralytics.engine.cli import newest_weights, run

SETTINGS = {
    "model": "yolov8n-DynamicConv.yaml",  # in ultralytics/cfg/models/v8; the size n, s, m, l or x follows yolov8
    "data": "shapes.yaml",  # your dataset YAML; the images of this one are generated on first use
    # "load": "yolov8n.pt",  # start from these weights; on the command line: pretrained=yolov8n.pt
    # "resume": "runs/train/exp/weights/last.pt",  # resume an interrupted run
    "imgsz": 640,
    "epochs": 150,
    "batch": 4,
    "optimizer": "SGD",
    "amp": False,  # mixed precision: True is faster on a GPU; False if the loss becomes NaN
    "cache": False,
    "workers": 0,
    "close_mosaic": 10,
    "single_cls": False,
    "device": "0",  # first GPU; the CPU if there is none
    "project": "runs/train",
    "name": "exp",
}


def main(settings: dict[str, Any]) -> None:
    """Build the network and train it."""
    if settings.get("resume") is True:
        settings["resume"] = newest_weights(resumable=True)
    model = YOLO(settings.get("resume") or settings.pop("model"))
    if weights := settings.pop("load", None):
        model.load(weights)
    model.train(**settings)


if __name__ == "__main__":
    run(main, SETTINGS, __doc__)
