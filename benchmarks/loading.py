"""Processor time of one training sample, by what it is spent on, and beside the public package.

usage: python benchmarks/loading.py DATA [--peer PYTHON] [--out benchmarks/loading.md]

DATA is a folder with bccd/ and coco_mini/, PYTHON that of a virtual environment with the public package. One thread,
all augmentation, batches of 16; processor time, not the clock's, so that other programs disturb less. Rounds of the two
sides alternate. Parts are exclusive: what a function spends in one of another part counts there.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from statistics import median
from time import process_time

from stages import loading

SETS = (("coco_mini", 640, False), ("bccd", 320, False), ("bccd", 320, True))  # the last as one too large to be kept
ROUNDS = 5


def parts() -> dict[str, list[tuple[object, str]]]:
    """Functions to watch, as owner and name, by what they do."""
    import cv2

    from ultralytics.data import augment, dataset, images
    from ultralytics.data.cache import loading
    from ultralytics.data.cache.ring import DecodeBuffer
    from ultralytics.data.cache.whole import RamCache

    return {
        "JPEG decoding (cv2.imdecode)": [(cv2, "imdecode")],
        "file and header (Pillow)": [(loading, "read_image")],
        "resizing to imgsz (cv2.resize)": [(images, "resize")],
        "decoded images kept": [(kept, name) for kept in (RamCache, DecodeBuffer) for name in ("get", "put")],
        "drawing four images (cv2.resize)": [(augment, "resize_into"), (augment, "warp_into"), (augment, "draw")],
        "colors: BGR to HSV and back (cv2.cvtColor)": [(cv2, "cvtColor")],
        "colors: tables, planes": [(augment, "hsv")],
        "mirroring": [(augment, "flip")],
        "labels out of the store": [(dataset.YOLODataset, "_with_labels")],
        "labels of a mosaic joined": [(augment, "mosaic4")],
        "labels and matrix of the perspective": [(augment, "random_perspective")],
        "collation": [(dataset.YOLODataset, "collate")],
        "keys, draws and the rest": [(dataset.YOLODataset, "__getitem__")],
    }


class Watch:
    """Processor time spent in watched functions, less what they spend in other watched ones."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.inner = [0.0]

    def over(self, part: str, function: Callable) -> Callable:
        """`function`, watched."""

        @wraps(function)
        def watched(*args: object, **kwargs: object) -> object:
            self.inner.append(0.0)
            start = process_time()
            try:
                return function(*args, **kwargs)
            finally:
                whole = process_time() - start
                self.spent[part] += whole - self.inner.pop()
                self.inner[-1] += whole

        return watched


def rounds(data: Path, dataset: str, imgsz: int, large: bool) -> Callable[[], float]:
    """Function that loads all samples of a dataset once and returns the milliseconds of one."""
    work = loading(data, dataset, imgsz, cached=False, large=large)

    def run() -> float:
        start = process_time()
        count = work()
        return 1e3 * (process_time() - start) / count

    return run


def answer(data: Path) -> None:
    """Answer each line, a dataset and its size, with the milliseconds of one round: run with the Python of a side."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    prepared: dict[str, Callable[[], float]] = {}
    answers, sys.stdout = sys.stdout, sys.stderr  # where both packages may log
    for line in sys.stdin:
        if line not in prepared:
            prepared[line] = rounds(data, *json.loads(line))
            prepared[line]()
        print(prepared[line](), file=answers, flush=True)


def by_part(data: Path, dataset: str, imgsz: int, large: bool) -> dict[str, float]:
    """Milliseconds of a sample in each part, medians of rounds."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    watch = Watch()
    for part, functions in parts().items():
        for owner, name in functions:
            setattr(owner, name, watch.over(part, getattr(owner, name)))
    run, found = loading(data, dataset, imgsz, cached=False, large=large), []
    run()
    for _ in range(ROUNDS):
        watch.spent.clear()
        count = run()
        found.append({part: 1e3 * watch.spent[part] / count for part in parts()})
    return {part: median(row[part] for row in found) for part in found[0]}


def against(data: Path, pythons: list[tuple[str, dict[str, str]]]) -> list[list[float]]:
    """Milliseconds of a sample of each dataset, by side, in turns: A B A B."""
    command = [str(Path(__file__).resolve()), str(data), "--answer"]
    how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    sides = [
        subprocess.Popen([python, *command], cwd=tempfile.mkdtemp(), env=environment, **how)
        for python, environment in pythons
    ]
    table = []
    for request in SETS:
        found = []
        for _ in range(ROUNDS + 1):
            for side in sides:
                side.stdin.write(json.dumps(request) + "\n")
                side.stdin.flush()
                found.append(float(side.stdout.readline()))
        table.append([median(found[i :: len(sides)][1:]) for i in range(len(sides))])
    for side in sides:
        side.stdin.close()
        side.wait()
    return table


def main() -> None:
    """Measure, and print or write the tables."""
    import os

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--parts", help=argparse.SUPPRESS)
    given = parser.parse_args()
    data = given.data.resolve()
    if given.answer:
        return answer(data)
    if given.parts:
        return print(json.dumps(by_part(data, *json.loads(given.parts))))
    root = str(Path(__file__).resolve().parents[1])
    ours, theirs = (os.environ | {"YOLO_OFFLINE": "true", "PYTHONPATH": path} for path in (root, ""))
    columns = []
    for request in SETS:  # a process each: functions stay watched
        command = [sys.executable, __file__, str(data), "--parts", json.dumps(request)]
        done = subprocess.run(command, env=ours, check=True, capture_output=True, text=True)
        columns.append(json.loads(done.stdout.splitlines()[-1]))
    names = [f"{dataset} {imgsz}{', not kept' if large else ''}" for dataset, imgsz, large in SETS]
    rows = ["| part, ms of processor time | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    rows += [f"| {part} | " + " | ".join(f"{column[part]:.2f}" for column in columns) + " |" for part in columns[0]]
    rows += ["| **all** | " + " | ".join(f"{sum(column.values()):.2f}" for column in columns) + " |", ""]
    pythons = [(sys.executable, ours)] + ([(given.peer, theirs)] if given.peer else [])
    header = ["a sample", "ours", "public package", "ratio"][: 1 + len(pythons) + (len(pythons) > 1)]
    rows += ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name, times in zip(names, against(data, pythons), strict=True):
        cells = [f"{value:.2f} ms" for value in times]
        cells += [f"{times[1] / times[0]:.2f}"] if given.peer else []
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    text = "\n".join(rows) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
