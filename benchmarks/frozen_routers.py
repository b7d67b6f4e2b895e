"""Loss of mAP when every router gives all images the same weights: how much of a network is dynamic at all.

usage: python benchmarks/frozen_routers.py DATA.yaml WEIGHTS.pt ... [key=value ...]

Each network is validated as it is, and once more with the output of each router fixed at its mean over the validation
images. Prints a Markdown table, one line per weights file.
"""

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ultralytics import YOLO  # noqa: E402
from ultralytics.cfg import parse_overrides  # noqa: E402
from ultralytics.data.labels.files import list_images  # noqa: E402
from ultralytics.data.utils import load_data_yaml  # noqa: E402
from ultralytics.nn.routing import Routing  # noqa: E402

SETTINGS = {"batch": 8, "device": "cpu", "workers": 0, "plots": False, "verbose": False, "project": "runs/frozen"}
HEAD = "| weights | mAP50-95 | routers fixed | difference | largest spread |\n|---|---|---|---|---|"


@torch.no_grad()
def fix(model: YOLO, routing: Routing) -> None:
    """Make every router give all images the mean routing weights in `routing`."""
    modules = dict(model.model.model.named_modules())
    for layer in routing.layers:
        router, mean = modules[layer.name].routing, torch.from_numpy(layer.weights).mean(0).clamp(1e-6, 1 - 1e-6)
        router.weight.zero_()  # the bias alone decides: the inverse of the sigmoid or softmax of the mean
        router.bias.copy_(mean.logit() if router.temperature is None else mean.log() * router.temperature)


def main(words: list[str]) -> None:
    """Validate each weights file twice, then print the table."""
    paths = [word for word in words if "=" not in word]
    if len(paths) < 2:
        sys.exit(__doc__)
    data, *weights = paths
    given = parse_overrides([word for word in words if "=" in word])
    images = list_images(load_data_yaml(data)["val"])
    lines = [HEAD]
    for path in weights:
        model = YOLO(path)
        settings = {"imgsz": model.ckpt.args["imgsz"], **SETTINGS, **given}
        routing = model.routing(images, **settings)
        before = model.val(data=data, **settings).box.map
        fix(model, routing)
        after = model.val(data=data, **settings).box.map
        spread = max(layer.spread.max() for layer in routing.layers)
        folder = Path(path).resolve().parent
        name = folder.parent.name if folder.name == "weights" else path
        lines.append(f"| {name} | {before:.4f} | {after:.4f} | {after - before:+.4f} | {spread:.3f} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main(sys.argv[1:])
