"""Trains what a results file does not hold yet, each run in a folder that one process at a time works in."""

import csv
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

import ultralytics
from ultralytics.comparison.ledger import Ledger, Record
from ultralytics.comparison.variants import Run
from ultralytics.engine.model import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import CheckpointError, YOLOError
from ultralytics.utils.files import atomic_write

METRICS = ("precision", "recall", "mAP50", "mAP50-95")


@dataclass(frozen=True)
class Failure:
    """A run that could not be trained, and why."""

    run: Run
    reason: str

    def __str__(self) -> str:
        return f"{self.run}: {self.reason}"


def train_missing(runs: Sequence[Run], ledger: Ledger, settings: Mapping[str, Any]) -> list[Failure]:
    """Train every run that the ledger does not hold and no other process is at; returns what could not be trained.

    A run that was killed goes on from its last.pt; a mistake in one does not keep the others from being trained.
    """
    failures, elsewhere = [], list(runs)
    for last_look in (False, True):  # what another process was at may have been left by it in the meantime
        before, elsewhere = elsewhere, []
        for run in before:
            try:
                if not is_held(run, ledger):
                    claim_and_finish(run, ledger, settings)
            except Timeout:  # noqa: PERF203 (a run takes minutes)
                elsewhere.append(run)
                if last_look:
                    LOGGER.info(f"{run}: another process is at it")
            except Exception as exc:  # a block of somebody's own may raise anything
                expected = isinstance(exc, YOLOError)
                failures.append(Failure(run, str(exc) if expected else f"{type(exc).__name__}: {exc}"))
                LOGGER.error(str(failures[-1]), exc_info=not expected)
    return failures


def claim_and_finish(run: Run, ledger: Ledger, settings: Mapping[str, Any]) -> None:
    """Finish a run unless another process has meanwhile; Timeout while that is at it."""
    folder = Path(settings["project"]) / run.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim = FileLock(folder / ".claim.lock").acquire(timeout=0)
    except Timeout:
        raise
    except OSError as exc:
        raise YOLOError(f"{folder} cannot be written: {exc.strerror or exc}; give another project=") from exc
    with claim:
        if not is_held(run, ledger):
            finish(run, folder, ledger, settings)


def is_held(run: Run, ledger: Ledger) -> bool:
    """Whether the ledger has a line of this run."""
    return any((record.key, record.seed) == (run.key, run.seed) for record in ledger.read())


def finish(run: Run, folder: Path, ledger: Ledger, settings: Mapping[str, Any]) -> None:
    """Train to the end, keep the curve, and then write the line."""
    LOGGER.info(f"{run}: in {folder}")
    train(run, folder, settings)
    table = folder / "results.csv"
    atomic_write(ledger.curves / f"{run.name}.csv", lambda file: file.write(table.read_bytes()))
    record = measure(run, folder)
    ledger.append(record)
    LOGGER.info(f"{run}: mAP50-95 {record.map:.4f}, {record.seconds:.0f} s")


def train(run: Run, folder: Path, settings: Mapping[str, Any]) -> None:
    """Train from the start, go on with a killed run, or do nothing where only the line was not written any more."""
    last = folder / "weights" / "last.pt"
    state = stage(last)
    own = {"data": settings["data"], "device": settings.get("device"), "workers": run.options.workers}
    if state == "begun":
        LOGGER.info(f"going on with {last}")
        YOLO(last).train(resume=True, **own)
    elif state == "new":
        options = {**settings, **run.variant.own, "pretrained": run.variant.pretrained or False, "seed": run.seed}
        YOLO(run.variant.model).train(**options | {"name": folder.name, "exist_ok": True})


def stage(last: Path) -> str:
    """How far a run got by its last.pt: "new", "begun" or "over"."""
    if not last.exists():
        return "new"
    try:
        return "over" if load_checkpoint(last).training is None else "begun"
    except CheckpointError as exc:
        LOGGER.warning(f"{exc}: the run starts again")
        return "new"


def measure(run: Run, folder: Path) -> Record:
    """The record of a run that is over, from what its folder holds."""
    rows = read_rows(folder / "results.csv")
    last, best = rows[-1], max(rows, key=lambda row: float(row[column("mAP50-95")] or 0))
    trained = YOLO(folder / "weights" / "last.pt")
    args = trained.ckpt.args
    _, parameters, _, gflops = trained.model.info(verbose=False, imgsz=args["imgsz"])
    return Record(
        name=run.variant.label,
        model=Path(run.variant.model).name,
        weights=_without_machine(run.variant.pretrained),
        data=run.data,
        imgsz=str(args["imgsz"]),
        **{name: args[name] for name in ("epochs", "batch", "nbs", "optimizer", "lr0")},
        own=" ".join(f"{name}={value}" for name, value in run.variant.own.items()),
        seed=run.seed,
        **dict(zip(("precision", "recall", "map50", "map"), (float(last[column(m)]) for m in METRICS), strict=True)),
        best_map=float(best[column("mAP50-95")]),
        best_epoch=int(best["epoch"]),
        seconds=float(last["time"]),
        parameters=parameters,
        gflops=gflops,
        device=f"{args['device'] or 'auto'} {torch.get_num_threads()} threads {platform.machine()}",
        version=version(),
        date=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
        key=run.key,
    )


def read_rows(table: Path) -> list[dict[str, str]]:
    """Rows of a results.csv, one an epoch."""
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def column(metric: str) -> str:
    """Name of a metric of boxes in results.csv."""
    return f"metrics/{metric}(B)"


def _without_machine(path: str | None) -> str:
    """A path as others can read it: as given if it is relative, else the file's name."""
    return "" if path is None else Path(path).name if Path(path).is_absolute() else Path(path).as_posix()


def version() -> str:
    """Of this tree, with the commit where git knows it ("+": the code differs from it), and of torch."""
    commit = _git("describe", "--always")
    changed = "+" if commit and _git("status", "--porcelain", ".") else ""
    return " ".join(filter(None, (ultralytics.__version__, commit + changed, f"torch {torch.__version__}")))


def _git(*words: str) -> str:
    """What git says of the folder of this package; nothing where there is no git or no repository."""
    command = ["git", "-C", str(Path(ultralytics.__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
