"""Kill training runs at random moments, resume them, and compare them bit for bit with uninterrupted runs.

usage: python benchmarks/resume.py [REFERENCE]        the folder with data/bccd, default ../shared

About 5 minutes on two CPU cores; prints the differences, and the exit code is 1 if there is one. Half of the kills hit
a half-written file: the runs write each of their files in two halves, with a pause in between.
"""

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
from ultralytics.utils import checkpoint, files  # noqa: E402
from ultralytics.utils.checkpoint import load_checkpoint  # noqa: E402
from ultralytics.utils.files import atomic_write, read_csv  # noqa: E402

PAUSE = 0.15  # seconds that a file stays half-written
KILLS = 7  # of each run
PATIENCE = 120.0  # seconds to wait for a sign of a child process
RUNS = {
    "workers 0": {"workers": 0},
    "workers 2": {"workers": 2},
    "batch 4, nbs 64": {"workers": 0, "nbs": 64},  # accumulated gradients are pending at the end of an epoch
}
SETTINGS = {"model": "yolov8n-DynamicConv.yaml", "epochs": 16, "imgsz": 64, "batch": 4, "nbs": 4, "optimizer": "AdamW"}
ALWAYS = {"device": "cpu", "plots": False, "verbose": False}
# Children of a fork server need not import the libraries again, which takes longer than the training.
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
CHILDREN = multiprocessing.get_context("forkserver" if FORKS else "spawn")
if FORKS:
    CHILDREN.set_forkserver_preload(["torch", "torch._dynamo", "torchvision", "cv2"])


def train(options: dict[str, Any], slowly: bool) -> None:
    """Train or resume a run in this child process; `slowly`: with half-written files, to be killed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # workers of a fork server would outlive their run
    tqdm.set_lock(threading.RLock())  # the default is a semaphore, whose name a killed process leaves behind
    if slowly:
        checkpoint.atomic_write = files.atomic_write = in_halves  # checkpoints; results.csv and args.yaml
    model = options.pop("model", None) or options["resume"]
    YOLO(model).train(**options)


def in_halves(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """`atomic_write` with a pause in the middle of the file."""
    whole = io.BytesIO()
    write(whole)

    def write_slowly(file: BinaryIO) -> None:
        data = whole.getvalue()
        file.write(data[: len(data) // 2])
        file.flush()
        time.sleep(PAUSE)
        file.write(data[len(data) // 2 :])

    atomic_write(path, write_slowly)


def start(options: Mapping[str, Any], slowly: bool = False) -> BaseProcess:
    """Start `train` with these options in a child process."""
    child = CHILDREN.Process(target=train, args=(dict(options), slowly))
    child.start()
    return child


def run(options: Mapping[str, Any]) -> None:
    """Train to the end in a child process like those that are killed; raises if it fails."""
    child = start(options)
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the run failed (exit code {child.exitcode})")


def half_written(folder: Path) -> list[Path]:
    """Temporary files of a run folder, which are being written or were left behind."""
    return [*folder.glob(".*.tmp"), *(folder / "weights").glob(".*.tmp")]


def wait(child: BaseProcess, sign: Callable[[], Any]) -> None:
    """Return once `sign()` is true; raise if the child ends before, or after PATIENCE seconds."""
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
    """Kill and resume a run this many times, then resume it to its end; yields what each kill hit.

    A kill comes up to `longest` seconds after the setup (`started`: the first one after the first epoch); every second
    one waits for a half-written file.
    """
    folder = Path(options["project"]) / options["name"]
    last = folder / "weights" / "last.pt"
    for i in range(kills):
        before = last.stat().st_mtime_ns if last.exists() else 0
        ready = (folder / "args.yaml").stat().st_mtime_ns if before else 0
        child = start({"resume": str(last)} if before else options, slowly=True)
        if before:  # a resumed run writes its options at the end of the setup
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
    """Differences of two run folders: tensors of the weights, rows of results.csv without the time, leftover files."""
    found = [f"{path.name} was left behind" for path in half_written(b)]
    for name in ("last.pt", "best.pt"):
        first, second = (load_checkpoint(folder / "weights" / name).state_dict for folder in (a, b))
        if names := [key for key in first if not torch.equal(first[key], second[key])]:
            found.append(f"{len(names)} tensors of {name} differ, such as {names[0]}")
    tables = (read_csv(folder / "results.csv") for folder in (a, b))
    for one, other in zip_longest(*tables, fillvalue={}):
        names = [name for name in one | other if name != "time" and one.get(name) != other.get(name)]
        if names:
            cells = {name: (one.get(name), other.get(name)) for name in names}
            found.append(f"results.csv of epoch {(one | other)['epoch']}: {cells}")
    return found


def copy_data(source: Path, target: Path, train: int = 22, val: int = 8) -> Path:
    """Copy the first few images of a dataset; returns the YAML."""
    for split, count in (("train", train), ("val", val)):
        for image in sorted((source / "images" / split).iterdir())[:count]:
            for kind, name in (("images", image.name), ("labels", f"{image.stem}.txt")):
                (target / kind / split).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / kind / split / name, target / kind / split / name)
    shutil.copyfile(source / "data.yaml", target / "data.yaml")
    return target / "data.yaml"


def main(reference: Path) -> None:
    """Kill, resume, compare and print; exit code 1 if there is a difference."""
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
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__.strip())
        sys.exit()
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared")
