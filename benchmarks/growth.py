"""Growth: what the work costs as datasets, detections and comparisons grow. Nothing may be worse than linear.

usage: python benchmarks/growth.py

Processor time of one thread, whatever else the machine does. Images are links to one file, detections and scores are
drawn at random. Writes growth.md and docs/growth.png. The exponent is the slope of the cost over the size, both
logarithms, between the two largest sizes: 1 is linear.
"""

import argparse
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from time import process_time

import cv2
import numpy as np
import torch
from matplotlib.ticker import NullFormatter

from ultralytics.cfg import get_options
from ultralytics.comparison import report
from ultralytics.comparison.ledger import Ledger, Record
from ultralytics.comparison.training import train_missing
from ultralytics.comparison.variants import Run, Variant
from ultralytics.data.dataset import YOLODataset
from ultralytics.data.labels.files import labels_cache, list_images
from ultralytics.data.labels.scan import scan
from ultralytics.data.labels.store import LabelStore
from ultralytics.models.yolo.detect.evaluator import DetectEvaluator
from ultralytics.models.yolo.detect.task import DetectTask
from ultralytics.utils.charts.style import hex_color, new_figure, save_figure, style_axes
from ultralytics.utils.nms import non_max_suppression

IMAGES = (1000, 5000, 20000)
DETECTIONS = (1000, 5000, 15000)
CANDIDATES = (1000, 5000, 25000)
RUNS = (25, 100, 400)
OBJECTS = 10  # of an image
NAMES = {0: "a", 1: "b", 2: "c"}
LIMIT = 1.25  # exponent; above 1 for sorting and for the noise of a machine that does other work; 2 is quadratic


@dataclass
class Curve:
    """Costs of one kind of work, by its size."""

    name: str
    size: str  # what grows
    unit: str
    costs: dict[int, float] = field(default_factory=dict)

    @property
    def exponent(self) -> float:
        """Slope between the two largest sizes, both logarithms."""
        (n, a), (m, b) = list(self.costs.items())[-2:]
        return math.log(b / a) / math.log(m / n)


def seconds(work: Callable[[], object], repeat: int = 9) -> float:
    """Least processor time of some repetitions."""

    def once() -> float:
        start = process_time()
        work()
        return process_time() - start

    return min(once() for _ in range(repeat))


def linked_dataset(folder: Path, count: int) -> list[str]:
    """Images that are links to one, with a label file each."""
    one = folder / "one.jpg"
    cv2.imwrite(str(one), np.full((96, 128, 3), 90, np.uint8))
    for kind in ("images", "labels"):
        (folder / kind).mkdir()
    rows = np.random.default_rng(0).uniform(0.1, 0.4, (OBJECTS, 4))
    text = "".join(f"{i % 3} {x + 0.3:.6f} {y + 0.3:.6f} {w:.6f} {h:.6f}\n" for i, (x, y, w, h) in enumerate(rows))
    for i in range(count):
        (folder / "images" / f"{i:06}.jpg").symlink_to(one)
        (folder / "labels" / f"{i:06}.txt").write_text(text)
    return list_images(folder / "images")


def private_memory() -> float:
    """Megabytes that this process shares with no other."""
    rows = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(row.split()[1]) for row in rows if row.startswith("Private_")) / 1024


def read_all_labels(labels: LabelStore, answers: object) -> None:
    """In a worker: by how many megabytes it grows when it reads the labels of all images twice."""
    labels.labels_of(0)
    before = private_memory()
    for _ in range(2):
        for i in range(len(labels)):
            labels.labels_of(i)
    answers.put(private_memory() - before)


def datasets(count: int, curves: dict[str, Curve]) -> None:
    """Scan, warm start, an epoch's bookkeeping, and the memory of labels."""
    with tempfile.TemporaryDirectory() as name:
        files = linked_dataset(Path(name), count)
        scanned = partial(scan, files, 3, workers=1, cache_path=labels_cache(files))
        curves["scan"].costs[count] = seconds(scanned, 1)
        curves["warm"].costs[count] = seconds(scanned)
        labels, data = scanned(), {"nc": 3, "nc_in_files": 3, "channels": 3, "names": NAMES}
        options = get_options({"imgsz": 64, "mosaic": 1.0})
        build = partial(YOLODataset, labels, options, augment=True, batch=16, data=data)
        dataset, position = build(), iter(range(count))
        curves["start"].costs[count] = seconds(lambda: build().order(0))
        curves["samples"].costs[count] = seconds(lambda: [dataset[0, next(position)] for _ in range(200)], 4)
        curves["pickle"].costs[count] = len(ForkingPickler.dumps(dataset)) / 1024
        context = get_context("fork")
        answers = context.SimpleQueue()
        worker = context.Process(target=read_all_labels, args=(labels, answers))
        worker.start()
        curves["memory"].costs[count] = max(answers.get(), 0.01)
        worker.join()


def detections(count: int, per_image: int) -> Iterator[tuple[list[torch.Tensor], dict]]:
    """Batches of 10 images with that many detections each and a third as many objects."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count // per_image // 10):
        preds, objects = [], []
        for _ in range(10):
            corner, side = torch.rand(per_image, 2, generator=generator) * 400, 20 + 100 * torch.rand(per_image, 2)
            conf = torch.rand(per_image, 1, generator=generator).sort(0, descending=True)[0]
            cls = torch.randint(3, (per_image, 1), generator=generator).float()
            preds.append(torch.cat((corner, corner + side, conf, cls), 1))
            objects.append(torch.cat((cls, corner + side / 2 + 5, side), 1)[::3])
        rows = torch.cat(objects)
        batch = {
            "img": torch.zeros(10, 3, 640, 640, dtype=torch.uint8),
            "cls": rows[:, :1],
            "bboxes": rows[:, 1:] / 640,
        }
        batch["batch_idx"] = torch.arange(10.0).repeat_interleave(torch.tensor([len(part) for part in objects]))
        batch |= {"im_file": ("a.jpg",) * 10, "ori_shape": ((640, 640),) * 10}
        yield preds, batch | {"ratio_pad": (((1.0, 1.0), (0, 0)),) * 10}


def validations(count: int, curves: dict[str, Curve]) -> None:
    """Matching and measuring so many detections, spread over images, and crowded into fifty."""
    with tempfile.TemporaryDirectory() as name:
        labels = scan(linked_dataset(Path(name), 4), 3, workers=1)
        data = {"nc": 3, "nc_in_files": 3, "channels": 3, "names": NAMES}
        options = get_options({"plots": False, "max_det": 5000}).resolve("val")
        dataset = YOLODataset(labels, options, augment=False, batch=10, data=data)

        def validate(batches: Sequence[tuple]) -> None:
            evaluator = DetectEvaluator(DetectTask(options, data), dataset, Path(name), 3, final=True)
            for preds, batch in batches:
                evaluator.update(preds, batch)
            evaluator.finish({})

        for key, per_image in (("images", 50), ("crowds", count // 50)):
            curves[key].costs[count] = seconds(partial(validate, list(detections(count, per_image))), 5)


def suppression(count: int, curves: dict[str, Curve]) -> None:
    """NMS of an image with so many candidates."""
    found = torch.rand(1, 7, count, generator=torch.Generator().manual_seed(0))
    found[:, :2] *= 640
    found[:, 2:4] = 20 + 60 * found[:, 2:4]
    curves["nms"].costs[count] = seconds(lambda: non_max_suppression(found, 0.001, 0.7, nc=3))


def comparisons(count: int, curves: dict[str, Curve]) -> None:
    """Report on finished runs, five seeds a variant, and the check that none is missing."""
    options = get_options({"epochs": 20}).resolve("train")
    text = "epoch,metrics/mAP50-95(B)\n" + "".join(f"{epoch},{epoch / 40}\n" for epoch in range(1, 21))
    values = ("net.yaml", "", "growth", "64", 20, 4, 4, "SGD", 0.01, "", 0, 0.5, 0.3, 0.7, 0.5, 0.6, 1, 12.5, 1000, 0.5)
    with tempfile.TemporaryDirectory() as name:
        ledger, runs = Ledger(Path(name, "results.csv")), []
        ledger.curves.mkdir()
        for i in range(count):
            run = Run(Variant(f"v{i // 5}", "net.yaml"), i % 5, "growth", 3, options, f"{i // 5:08}", "abcd")
            record = Record(run.variant.label, *values, "cpu", "0.1.0 code abcd", "2026-01-01", run.key)
            ledger.append(replace(record, seed=run.seed, map=0.5 + i / count / 10))
            (ledger.curves / f"{run.name}.csv").write_text(text)
            runs.append(run)
        check = lambda: train_missing(runs, Ledger(ledger.path), {"project": name})  # noqa: E731
        curves["check"].costs[count] = seconds(check)
        # Latencies are of the networks, which are none.
        report.latencies = lambda networks, *_: {(label, batch): 1.0 for label in networks for batch in report.BATCHES}
        curves["report"].costs[count] = seconds(lambda: report.write_report(runs, ledger, Path(name)), 1)


def write(curves: Sequence[Curve], table: Path, plot: Path) -> None:
    """Table and plot."""
    lines = [
        "# Growth",
        "What the work costs as datasets, detections and comparisons grow, by `python benchmarks/growth.py`: processor "
        "time of one thread. The exponent is the slope of the cost over the size, both logarithms, between the two "
        f"largest sizes: 1 is linear, and nothing may be above {LIMIT}.",
        "![cost against size](../docs/growth.png)",
        "| work | sizes | cost | exponent |\n|---|---|---|---|",
    ]
    for curve in curves:
        sizes = ", ".join(f"{size:,}" for size in curve.costs)
        costs = ", ".join(f"{cost:.3g}" for cost in curve.costs.values())
        lines[-1] += f"\n| {curve.name} | {sizes} {curve.size} | {costs} {curve.unit} | {curve.exponent:.2f} |"
    table.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    fig = new_figure(10, 5)
    ax = fig.subplots()
    for i, curve in enumerate(curves):
        sizes, costs = (np.array(list(part)) for part in (curve.costs, curve.costs.values()))
        style = "-o" if i < 6 else "--s"
        ax.plot(
            sizes / sizes[0], costs / costs[0], style, color=hex_color(i), label=f"{curve.name} ({curve.exponent:.2f})"
        )
    ax.plot([1, 25], [1, 25], color="black", linewidth=0.8, label="linear")
    style_axes(ax, "Cost against size, both as multiples of the smallest", "size", "cost")
    ax.set(xscale="log", yscale="log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize=8, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    save_figure(fig, plot)


def main() -> None:
    """Measure all curves; exit with 1 where one is worse than linear."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    logging.disable(logging.WARNING)
    os.environ["TQDM_DISABLE"] = "1"
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    curves = {
        "scan": Curve("scan of images and labels", "images", "s"),
        "warm": Curve("warm start: the scan's cache checked and read", "images", "s"),
        "start": Curve("dataset made, epoch shuffled", "images", "s"),
        "samples": Curve("200 training samples", "images in the dataset", "s"),
        "pickle": Curve("what a spawned worker is sent", "images", "KB"),
        "memory": Curve("memory that a worker gains by reading all labels", "images", "MB"),
        "images": Curve("validation, 50 detections an image", "detections", "s"),
        "crowds": Curve("validation, 50 images", "detections", "s"),
        "nms": Curve("NMS of one image", "candidates", "s"),
        "check": Curve("compare.py finds that no run is missing", "runs", "s"),
        "report": Curve("compare.py writes its report", "runs", "s"),
    }
    steps = ((datasets, IMAGES), (validations, DETECTIONS), (suppression, CANDIDATES), (comparisons, RUNS))
    for measure, sizes in steps:
        for size in sizes:
            measure(size, curves)
    root = Path(__file__).parents[1]
    write(list(curves.values()), root / "benchmarks" / "growth.md", root / "docs" / "growth.png")
    for curve in curves.values():
        costs = ", ".join(f"{cost:.3g}" for cost in curve.costs.values())
        print(f"{curve.name}: {costs} {curve.unit}, {curve.exponent:.2f}")
    worse = [curve.name for curve in curves.values() if curve.exponent > LIMIT]
    if worse:
        raise SystemExit(f"worse than linear: {', '.join(worse)}")


if __name__ == "__main__":
    main()
