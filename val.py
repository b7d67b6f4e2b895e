"""Validate weights on a dataset: edit the settings below, or change them on the command line.

python val.py                                          the newest best.pt, on the dataset it was trained on
python val.py model=runs/train/exp2/weights/best.pt data=my.yaml split=test
"""

from typing import Any

from ultralytics import YOLO
from ultralytics.engine.cli import newest_weights, run

SETTINGS = {
    "model": None,  # weights file; None: the newest best.pt below runs/train
    # "data": "my.yaml",  # default: the dataset the weights were trained on
    "split": "val",
    # "batch": 16,  # default: as in training
    "workers": 0,
    "device": "0",  # first GPU; the CPU if there is none
    # "imgsz": 640,  # default: as in training
    # "save_json": True,  # write predictions as COCO JSON and evaluate them with it
    "project": "runs/val",
    "name": "exp",
}


def main(settings: dict[str, Any]) -> None:
    """Load the weights, validate them and print the metrics."""
    weights = settings.pop("model") or newest_weights()
    print(f"weights: {weights}")
    metrics = YOLO(weights).val(**settings)
    values = [f"{name.removeprefix('metrics/')} {value:.4f}" for name, value in metrics.results_dict.items()]
    print(f"{', '.join(values)}; results in {metrics.save_dir}")


if __name__ == "__main__":
    run(main, SETTINGS, __doc__)
