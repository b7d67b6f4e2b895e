"""Several processes under torchrun on one CPU: killed at random moments, started by two calls that meet, and as good.

usage: python benchmarks/distributed.py [KILLS] [REFERENCE] [TASK ...]

10 kills of each task; the folder with data/bccd, default ../shared; with tasks, of detect, segment and classify, only
their rows of kills. An hour on two CPU cores; writes the first table of benchmarks/distributed.md, with tasks prints
rows alone. The exit code is 1 if something is not as it should be.
"""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.resume import differences  # noqa: E402
from ultralytics.utils.files import read_csv  # noqa: E402

EPOCHS = 6
LIMIT = 30.0  # seconds in which all processes end after one was killed
SCRIPT = """
import json, os, sys
from pathlib import Path
from ultralytics import YOLO
model, folder, options = sys.argv[1:]
Path(folder, "pid " + os.environ.get("RANK", "of none")).write_text(str(os.getpid()))
YOLO(model).train(**json.loads(options))
Path(folder, "after the run " + os.environ.get("RANK", "of none")).touch()
"""
MODEL = "yolov8n-DynamicConv.yaml"
SHORT = {"epochs": EPOCHS, "imgsz": 64, "batch": 4, "nbs": 12, "fraction": 24}  # gradients of three batches make a step
KILLED = {  # model and options of the runs that are killed, those of the built-in datasets with two loaders a process
    "detect": (MODEL, SHORT),
    "segment": ("yolov8n-DynamicConv-seg.yaml", SHORT | {"data": "shapes-seg.yaml", "workers": 2}),
    "classify": ("yolov8n-DynamicConv-cls.yaml", SHORT | {"data": "shapes-cls.yaml", "workers": 2, "fraction": 3}),
}
QUIET = {"optimizer": "AdamW", "workers": 0, "plots": False, "verbose": False, "device": "cpu"}
LEARN = {"epochs": 10, "imgsz": 160, "batch": 8, "nbs": 8, "lr0": 0.002, "fraction": 0.5, "val": False}
SEEDS = (0, 1, 2)
REPORT = Path(__file__).with_suffix(".md")


def torchrun(folder: Path, model: str, options: dict[str, object], *words: str) -> subprocess.Popen:
    """Start the script in a folder under torchrun with these words, or by itself without any."""
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    start = [sys.executable, *(["-m", "torch.distributed.run", *words] if words else [])]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    log = (folder / "log.txt").open("a", encoding="utf-8")
    given = options if "resume" in options else QUIET | {"project": str(folder), "name": "run"} | options
    return subprocess.Popen([*start, script, model, folder, json.dumps(given)], env=environment, stdout=log, stderr=log)


def end(*runs: subprocess.Popen) -> bool:
    """Whether all end well."""
    return [run.wait(3600) for run in runs] == [0] * len(runs)


def free_port() -> int:
    """Number of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def kill(folder: Path, model: str, options: dict[str, object], rng: random.Random) -> tuple[str, float]:
    """Kill a process of a new run at a random moment, and resume: what was hit, and seconds until all had ended."""
    run, last = torchrun(folder, model, options, "--nproc-per-node=2"), folder / "run" / "weights" / "last.pt"
    table, epochs, victim = folder / "run" / "results.csv", rng.randrange(EPOCHS - 1), rng.randrange(2)
    while not last.exists() or (epochs and not (table.exists() and len(read_csv(table)) >= epochs)):
        if run.poll() is not None:
            raise RuntimeError(f"the run ended before it could be killed, see {folder / 'log.txt'}")
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.5))
    os.kill(int((folder / f"pid {victim}").read_text()), signal.SIGKILL)
    killed = time.monotonic()
    run.wait(600)
    seconds = time.monotonic() - killed
    epoch = torch.load(last, weights_only=True)["epoch"] + 1
    if not end(torchrun(folder, str(last), {"resume": True}, "--nproc-per-node=2")):
        raise RuntimeError(f"the run could not be resumed, see {folder / 'log.txt'}")
    return f"process {victim} killed after epoch {epoch}", seconds


def kill_runs(folder: Path, task: str, kills: int, data: str) -> Iterator[tuple[str, bool, str]]:
    """Kill runs of a task and compare them with one left alone: what was hit, whether all is well, what was found."""
    (model, options), rng, whole = KILLED[task], random.Random(0), folder / f"whole {task}"
    options = {"data": data} | options
    if not end(torchrun(whole, model, options, "--nproc-per-node=2")):
        raise RuntimeError(f"the run failed, see {whole / 'log.txt'}")
    for i in range(kills):
        own = folder / f"{task} kill {i}"
        hit, seconds = kill(own, model, options, rng)
        unlike = differences(whole / "run", own / "run")
        found = f"all ended in {seconds:.1f} s, {'; '.join(unlike) or 'resumed to the bit'}"
        yield f"{task}: {hit}", not unlike and seconds <= LIMIT, found


def learn(folder: Path, data: str, *words: str) -> list[float]:
    """mAP50-95 after the last epoch, with norms that learn, of every seed."""
    found = []
    for seed in SEEDS:
        own = folder / f"{len(words)} seed {seed}"
        if not end(torchrun(own, "yolov8n.yaml", LEARN | {"data": data, "seed": seed}, *words)):
            raise RuntimeError(f"the run failed, see {own / 'log.txt'}")
        found.append(float(read_csv(own / "run" / "results.csv")[-1]["metrics/mAP50-95(B)"]))
    return found


def within_noise(one: Sequence[float], two: Sequence[float]) -> tuple[bool, str]:
    """Whether the means of two groups of seeds differ by less than two standard errors of their difference."""
    error = np.sqrt((np.var(one, ddof=1) + np.var(two, ddof=1)) / len(one))
    difference = np.mean(two) - np.mean(one)
    values = "; ".join(", ".join(f"{v:.4f}" for v in group) for group in (one, two))
    return bool(abs(difference) <= 2 * error), f"mAP50-95 {values}: {difference:+.4f}, standard error {error:.4f}"


def main(kills: int, reference: Path, tasks: Sequence[str]) -> int:
    """Run all of it, or the kills of some tasks; the number of what is not as it should be."""
    data, wrong = str(reference / "data" / "bccd" / "data.yaml"), 0
    short = SHORT | {"data": data}
    lines = [
        "# Several processes on one machine",
        "",
        f"Written by `python benchmarks/distributed.py {kills}`, on CPUs with gloo, beside other load: {MODEL} at 64 "
        f"px, {EPOCHS} epochs of 24 images, the other tasks likewise with two loader processes each; for the last row "
        f"yolov8n at {LEARN['imgsz']} px, {LEARN['epochs']} epochs of half of BCCD, batch {LEARN['batch']}, seeds "
        f"{', '.join(map(str, SEEDS))}, norms that learn from the images of their own process.",
        "",
        "| what | found | |",
        "|---|---|---|",
    ]
    further = REPORT.read_text(encoding="utf-8").partition("\n## ")

    def report(what: str, good: bool, found: str) -> None:
        nonlocal wrong
        wrong += not good
        lines.append(f"| {what} | {found} | {'as it should be' if good else 'WRONG'} |")
        print(lines[-1], flush=True)
        if not tasks:
            REPORT.write_text("\n".join((*lines, "".join(further[1:]))), encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for task in tasks or KILLED:
            for row in kill_runs(folder, task, kills, data):
                report(*row)
        if tasks:
            return wrong
        whole = folder / "whole detect"
        rendezvous = ("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-id=1")
        rendezvous += (f"--rdzv-endpoint=127.0.0.1:{free_port()}",)
        good = end(*(torchrun(folder / "two", MODEL, short, *rendezvous) for _ in range(2)))
        unlike = differences(whole / "run", folder / "two" / "run")
        report(
            "two calls of torchrun that meet", good and not unlike, "; ".join(unlike) or "the same weights, to the bit"
        )
        good = end(torchrun(folder / "script", MODEL, short | {"device": "cpu,cpu"}))
        unlike = differences(whole / "run", folder / "script" / "run")
        after = [path.name for path in (folder / "script").glob("after the run *")]
        good = good and not unlike and after == ["after the run of none"]
        report("device=cpu,cpu", good, "; ".join(unlike) or f"the same weights, to the bit; {', '.join(after)}")
        one, two = learn(folder, data), learn(folder, data, "--nproc-per-node=2")
        report("one process and two, one seed after the other", *within_noise(one, two))
    return wrong


if __name__ == "__main__":
    count, reference, *tasks = [*sys.argv[1:], *("10", ROOT.parent / "shared")[len(sys.argv) - 1 :]]
    sys.exit(bool(main(int(count), Path(reference), tasks)))
