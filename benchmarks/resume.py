"""Kill training runs at random moments, resume them, and compare them bit for bit with runs that were left alone.

usage: python benchmarks/resume.py [REFERENCE]        the folder with data/bccd, default ../shared

About 5 minutes on two CPU cores; what it finds goes to stdout, and the exit code is 1 if anything differs. Half of the
kills hit a file that is half written: the runs write each of theirs in two halves, with a pause in between.
"""

import csv
import io
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, BinaryIO

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from tqdm import tqdm  # noqa: E402

from ultralytics import YOLO  # noqa: E402
from ultralytics.engine import loggers as table  # noqa: E402
from ultralytics.utils import checkpoint, files  # noqa: E402
from ultralytics.utils.checkpoint import load_checkpoint  # noqa: E402

PAUSE = 0.15  # seconds that a file stays half written
KILLS = 7  # of each run
PATIENCE = 120.0  # seconds until a child that shows no sign of life is given up
RUNS = {
    "workers 0": {"workers": 0},
    "workers 2": {"workers": 2},
    "batch 4, nbs 64": {"workers": 0, "nbs": 64},  # gradients are pending at the end of an epoch
}
SETTINGS = {"model": "yolov8n-DynamicConv.yaml", "epochs": 16, "imgsz": 64, "batch": 4, "nbs": 4, "optimizer": "AdamW"}
ALWAYS = {"device": "cpu", "plots": False, "verbose": False}
# Where there is a server that forks, children need not load the libraries again, which takes them longer than training.
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
CHILDREN = multiprocessing.get_context("forkserver" if FORKS else "spawn")
if FORKS:
    CHILDREN.set_forkserver_preload(["torch", "torch._dynamo", "torchvision", "cv2"])


def train(options: dict[str, Any], slowly: bool) -> None:
    """A run, or the rest of one, in a process of its own, which is going to be killed if it writes `slowly`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # a server's workers would not see their run end
    tqdm.set_lock(threading.RLock())  # its own is a semaphore, of which a killed process leaves the name behind
    if slowly:
        checkpoint.atomic_write = table.atomic_write = in_halves
    network = options.pop("model", None) or options["resume"]
    YOLO(network).train(**options)


def in_halves(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Like `atomic_write`, and slow."""
    whole = io.BytesIO()
    write(whole)

    def write_slowly(file: BinaryIO) -> None:
        data = whole.getvalue()
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(PAUSE)
        file.write(data[len(data) // 2 :])

    files.atomic_write(path, write_slowly)


def start(options: Mapping[str, Any], slowly: bool = False) -> BaseProcess:
    """`train` with these options in a process of its own."""
    child = CHILDREN.Process(target=train, args=(dict(options), slowly))
    child.start()
    return child


def run(options: Mapping[str, Any]) -> None:
    """`train` from start to end, in a process like those that are killed; raises if it fails."""
    child = start(options)
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the run failed (exit code {child.exitcode})")


def half_written(folder: Path) -> list[Path]:
    """Files of a run folder that are being written."""
    return [*folder.glob(".*.tmp"), *(folder / "weights").glob(".*.tmp")]


def wait(child: BaseProcess, sign: Callable[[], Any]) -> None:
    """Return when there is a sign; raise where the child ends first, or shows none for long."""
    deadline = time.monotonic() + PATIENCE
    while not sign():
        if not child.is_alive() or time.monotonic() > deadline:
            child.kill()
            child.join()
            raise RuntimeError(f"the run ended (exit code {child.exitcode}) before it could be killed")
        time.sleep(0.005)


def kill_again_and_again(
    options: dict[str, Any], kills: int, longest: float, rng: random.Random, started: bool = False
) -> Iterator[str]:
    """A run that is killed and resumed so often, and then goes on to its end; tells what was hit.

    The moments are up to `longest` seconds after its set-up, the first of them, if it shall have `started`, after the
    first epoch; every second one waits for a half-written file.
    """
    folder = Path(options["project"]) / options["name"]
    last = folder / "weights" / "last.pt"
    for i in range(kills):
        before = last.stat().st_mtime_ns if last.exists() else 0
        ready = (folder / "args.yaml").stat().st_mtime_ns if before else 0
        child = start({"resume": str(last)} if before else options, slowly=True)
        if before:  # a resumed run writes its options when it is set up
            wait(child, lambda ready=ready: (folder / "args.yaml").stat().st_mtime_ns > ready)
        else:
            wait(child, last.exists)
            if started:
                new = last.stat().st_mtime_ns
                wait(child, lambda new=new: last.stat().st_mtime_ns > new)
        time.sleep(rng.uniform(0, longest))
        if i % 2:
            wait(child, lambda: half_written(folder))
        child.kill()  # SIGKILL
        child.join()
        broken = ", ".join(path.name.split(".")[1] for path in half_written(folder))
        saved = load_checkpoint(last)  # raises where the file is damaged
        yield f"killed after epoch {saved.epoch + 1}" + (f", half-written: {broken}" if broken else "")
    run({"resume": str(last)})


def differences(a: Path, b: Path) -> list[str]:
    """What two run folders differ in: tensors of the weights, rows of results.csv but for the time, leftovers."""
    found = [f"{path.name} was left" for path in half_written(b)]
    for name in ("last.pt", "best.pt"):
        first, second = (load_checkpoint(folder / "weights" / name).state_dict for folder in (a, b))
        if names := [key for key in first if not torch.equal(first[key], second[key])]:
            found.append(f"{len(names)} tensors of {name} differ, such as {names[0]}")
    for one, other in zip_longest(rows(a), rows(b), fillvalue={}):
        cells = {k: (one.get(k), other.get(k)) for k in one | other if one.get(k) != other.get(k)}
        if cells:
            found.append(f"results.csv of epoch {(one | other)['epoch']}: {cells}")
    return found


def rows(folder: Path) -> list[dict[str, str]]:
    """Rows of results.csv without the time they took."""
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k != "time"} for row in csv.DictReader(file)]


def copy_data(source: Path, target: Path, train: int = 22, val: int = 8) -> Path:
    """The YAML of the first few images of a dataset, copied."""
    for split, count in (("train", train), ("val", val)):
        for image in sorted((source / "images" / split).iterdir())[:count]:
            for kind, name in (("images", image.name), ("labels", f"{image.stem}.txt")):
                (target / kind / split).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / kind / split / name, target / kind / split / name)
    shutil.copyfile(source / "data.yaml", target / "data.yaml")
    return target / "data.yaml"


def main(reference: Path) -> None:
    """Kill, resume, compare, print; exit code 1 if anything differs."""
    rng, good = random.Random(0), True
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "runs"
        data = copy_data(reference / "data" / "bccd", Path(folder) / "data")
        for title, how in RUNS.items():
            options = SETTINGS | ALWAYS | how | {"data": str(data), "project": str(project)}
            whole, killed = (f"{title} {kind}" for kind in ("whole", "killed"))
            started = time.monotonic()
            run(options | {"name": whole})
            epoch = (time.monotonic() - started) / SETTINGS["epochs"]
            for hit in kill_again_and_again(options | {"name": killed}, KILLS, 2 * epoch, rng):
                print(f"{title}: {hit}", flush=True)
            found = differences(project / whole, project / killed)
            good &= not found
            verdict = "; ".join(found) or "equal bit for bit, results.csv too"
            print(f"{title}: after {KILLS} kills {verdict}", flush=True)
    sys.exit(not good)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared")
