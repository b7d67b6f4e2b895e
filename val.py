"""Measure weights on a dataset: edit the settings below, or change them on the command line.

python val.py                                          the newest best.pt, on the data it was trained on
python val.py model=runs/train/exp2/weights/best.pt data=my.yaml split=test
"""

from typing import Any

from ultralytics import YOLO
from ultralytics.engine.cli import newest_weights, run

SETTINGS = {
    "model": None,  # weights; None: the newest best.pt below runs/train
    # "data": "my.yaml",  # None: the data the weights were trained on
    "split": "val",
    # "batch": 16,  # None: as in training
    "workers": 0,
    "device": "0",  # cpu where there is no GPU
    # "imgsz": 640,  # None: as in training
    # "save_json": True,  # write COCO-style predictions and evaluate them
    "project": "runs/val",
    "name": "exp",
}


def said(metric: tuple[str, float]) -> str:
    """A metric without the folder of TensorBoard in its name."""
    name, value = metric
    return f"{name.removeprefix('metrics/')} {value:.4f}"


def main(settings: dict[str, Any]) -> None:
    """Open the weights and validate them."""
    weights = settings.pop("model") or newest_weights()
    print(f"weights: {weights}")
    metrics = YOLO(weights).val(**settings)
    print(f"{', '.join(map(said, metrics.results_dict.items()))}; results in {metrics.save_dir}")


if __name__ == "__main__":
    run(main, SETTINGS, __doc__)
