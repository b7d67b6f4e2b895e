"""Training of the runs that a results file lacks, each in a folder that one process at a time claims."""

import platform
import subprocess
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

import ultralytics
from ultralytics.comparison.details import measure_details
from ultralytics.comparison.ledger import CODE, Ledger, Record, Records
from ultralytics.comparison.variants import RANKED_BY, Place, Run, dataset_name
from ultralytics.engine.model import YOLO
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import CheckpointError, YOLOError
from ultralytics.utils.files import atomic_write, load_yaml, read_csv

MEASURED_WITH = ("classes", "iou", "conf", "max_det", "agnostic_nms")  # options of a run that its validations follow


@dataclass(frozen=True)
class Failure:
    """A run that could not be trained, and why."""

    run: Run
    reason: str

    def __str__(self) -> str:
        return f"{self.run}: {self.reason}"


def train_missing(
    runs: Sequence[Run],
    ledger: Ledger,
    settings: Mapping[str, Any],
    dropped: Callable[[Records], Container[Place]] = lambda records: (),
) -> list[Failure]:
    """Train every run that the ledger lacks and no other process is training; returns those that failed.

    A killed run is resumed from its last.pt; an error in one run does not keep the others from being trained.
    `dropped(records)`: variants of which no further run is begun, by `Run.place`.
    """
    failures, claimed_elsewhere = [], list(runs)
    for second_pass in (False, True):  # another process may have died or been stopped since the first pass
        pending, claimed_elsewhere = claimed_elsewhere, []
        for run in pending:
            try:
                records = ledger.read()
                if records.of(run) is None:
                    if run.place in dropped(records):
                        LOGGER.info(f"{run}: not trained, its variant is dropped")
                    else:
                        claim_and_finish(run, ledger, settings)
            except Timeout:  # noqa: PERF203 (a run takes minutes)
                claimed_elsewhere.append(run)
                if second_pass:
                    LOGGER.info(f"{run}: another process is training it, skipped")
            except Exception as exc:  # a custom block may raise anything
                expected = isinstance(exc, YOLOError)
                failures.append(Failure(run, str(exc) if expected else f"{type(exc).__name__}: {exc}"))
                LOGGER.error(str(failures[-1]), exc_info=not expected)
    return failures


def claim_and_finish(run: Run, ledger: Ledger, settings: Mapping[str, Any]) -> None:
    """Finish a run unless another process has done so meanwhile; Timeout while another process is training it."""
    folder = Path(settings["project"]) / run.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        claim = FileLock(folder / ".claim.lock").acquire(timeout=0)  # the system releases it when a process dies
    except Timeout:  # is an OSError, too
        raise
    except OSError as exc:
        raise YOLOError(f"{folder} cannot be written: {exc.strerror or exc}; give another project=") from exc
    with claim:
        if not ledger.has(run):
            finish(run, folder, ledger, settings)


def finish(run: Run, folder: Path, ledger: Ledger, settings: Mapping[str, Any]) -> None:
    """Train from the start or resume, then keep the curve, and last of all write the line."""
    if (run.key, run.seed) in ledger.read().by_run:
        LOGGER.info(f"{run}: a layer or the loss was edited since it was trained, so it is trained again")
    LOGGER.info(f"{run}: in {folder}")
    last, data, device = folder / "weights" / "last.pt", run.options.data, settings.get("device")
    trained_on = load_yaml(folder / "args.yaml").get("data") if (folder / "args.yaml").exists() else None
    if trained_on and dataset_name(Path(trained_on)) != run.data:  # folds of one size have the same key
        raise YOLOError(f"{folder} is a run on {dataset_name(Path(trained_on))}: give another project=")
    state = status(last)  # "finished": killed between the last epoch and the line
    if state == "interrupted":
        LOGGER.info(f"resuming {last}")
        YOLO(last).train(resume=True, data=data, device=device, workers=run.options.workers)
    elif state == "new":
        own = {**run.variant.own, "data": data, "pretrained": run.variant.pretrained or False, "seed": run.seed}
        YOLO(run.variant.model).train(**{**settings, **own, "name": folder.name, "exist_ok": True})
    table = folder / "results.csv"
    atomic_write(ledger.curves / f"{run.name}.csv", lambda file: file.write(table.read_bytes()))
    details = ledger.curves / f"{run.name}.json"
    own = {name: getattr(run.options, name) for name in MEASURED_WITH if name in run.options.given}
    measure_details(last, details, data=data, device=device, workers=run.options.workers, **own)
    record = measure(run, folder)
    ledger.append(record)
    LOGGER.info(f"{run}: mAP50-95 {record.map:.4f}, {record.seconds:.0f} s")


def status(last: Path) -> str:
    """Status of a run by its last.pt: "new", "interrupted" or "finished"."""
    if not last.exists():
        return "new"
    try:
        return "finished" if load_checkpoint(last).training is None else "interrupted"
    except CheckpointError as exc:
        LOGGER.warning(f"{exc}: the run starts again")
        return "new"


def measure(run: Run, folder: Path) -> Record:
    """The record of a finished run, from its folder."""
    rows = read_csv(folder / "results.csv")
    last, best = rows[-1], max(rows, key=lambda row: float(row[RANKED_BY] or 0))  # epochs may lack a validation
    trained = YOLO(folder / "weights" / "last.pt")
    args = trained.ckpt.args
    _, parameters, _, gflops = trained.model.info(verbose=False, imgsz=args["imgsz"])
    weights = run.variant.pretrained or ""
    if Path(weights).is_absolute():  # which says nothing on another machine
        weights = Path(weights).name
    return Record(
        name=run.variant.label,
        model=Path(run.variant.model).name,
        weights=weights and Path(weights).as_posix(),
        data=run.data,
        imgsz=str(args["imgsz"]),
        **{name: args[name] for name in ("epochs", "batch", "nbs", "optimizer", "lr0")},
        own=" ".join(f"{name}={value}" for name, value in run.variant.own.items()),
        seed=run.seed,
        precision=float(last["metrics/precision(B)"]),
        recall=float(last["metrics/recall(B)"]),
        map50=float(last["metrics/mAP50(B)"]),
        map=float(last[RANKED_BY]),
        best_map=float(best[RANKED_BY]),
        best_epoch=int(best["epoch"]),
        seconds=float(last["time"]),
        parameters=parameters,
        gflops=gflops,
        device=f"{args['device'] or 'auto'} {torch.get_num_threads()} threads {platform.machine()}",
        version=f"{version()}{CODE}{run.sources}",
        date=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
        key=run.key,
    )


def version() -> str:
    """Version of this tree, its commit if it is a git repository ("+": with uncommitted changes), and of torch."""
    outputs = []
    for words in (("describe", "--always"), ("status", "--porcelain", ".")):
        command = ["git", "-C", str(Path(ultralytics.__file__).parent), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
            outputs.append(done.stdout.strip())
        except (OSError, subprocess.SubprocessError):  # no git, or no repository
            outputs.append("")
    commit, changes = outputs
    if commit and changes:
        commit += "+"
    return " ".join(filter(None, (ultralytics.__version__, commit, f"torch {torch.__version__}")))
