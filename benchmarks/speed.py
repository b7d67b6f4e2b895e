"""Speed of prediction and of image loading on this CPU: medians of interleaved rounds, in one process.

usage: python benchmarks/speed.py [IMGSZ [ROUNDS]]       default 640 and 15; let nothing else run meanwhile
"""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ultralytics.cfg import get_options  # noqa: E402
from ultralytics.data.build import build_loader  # noqa: E402
from ultralytics.data.dataset import build_dataset  # noqa: E402
from ultralytics.data.utils import load_data_yaml  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

NAMES = ("yolov8n", "yolov8n-DynamicConv", "yolov8n-C2f-DynamicConv", "yolov8n-C2f-FasterBlock", "yolov8n-ghost")


def seconds(work: Callable[[], object]) -> float:
    """Time of one call."""
    start = perf_counter()
    work()
    return perf_counter() - start


def interleaved(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median time of each after a warm-up round; other load in a round affects all of them."""
    times = {name: [] for name in works}
    for i in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work)
            if i:
                times[name].append(spent)
    return {name: median(spent) for name, spent in times.items()}


def predict(imgsz: int, rounds: int) -> None:
    """Print the times of fused networks in eval mode, batch 1 and 8."""
    networks = {name: DetectionModel(f"{name}.yaml", verbose=False).eval().fuse(verbose=False) for name in NAMES}
    print(
        f"| forward pass at {imgsz}, {torch.get_num_threads()} threads | batch 1 | | batch 8 | |\n|---|---|---|---|---|"
    )
    cells = {name: [] for name in NAMES}
    for batch in (1, 8):
        images = torch.rand(batch, 3, imgsz, imgsz)
        found = interleaved({n: lambda m=m, x=images: m(x) for n, m in networks.items()}, rounds)
        for name, spent in found.items():
            cells[name] += [f"{1e3 * spent:.0f} ms", f"x {spent / found[NAMES[0]]:.2f}"]
    for name, row in cells.items():
        print(f"| {name} | {' | '.join(row)} |")


def load(imgsz: int) -> None:
    """Print how many training images of the built-in dataset, with all augmentation, load in the main process."""
    data = load_data_yaml("shapes.yaml")
    options = get_options({"imgsz": imgsz, "epochs": 100}).resolve("train")
    loader = build_loader(build_dataset(data, "train", options, augment=True, batch=16), workers=0)
    list(loader)
    spent = median(seconds(lambda: list(loader)) for _ in range(3))
    print(f"\ntraining images loaded at {imgsz} with workers=0: {len(loader.dataset) / spent:.0f} a second")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__.strip())
        sys.exit()
    given = [int(word) for word in sys.argv[1:3]]
    size, count = given + [640, 15][len(given) :]
    with torch.inference_mode():
        predict(size, count)
    load(size)
