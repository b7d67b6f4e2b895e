"""Training of the runs that a results file lacks, each in a folder that one process at a time holds the lock of."""

import platform
import subprocess
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

import ultralytics
from ultralytics.comparison.details import Details, measure_details, write_details
from ultralytics.comparison.ledger import CODE, Ledger, Record, dropped_variants
from ultralytics.comparison.variants import RANKED_BY, Run, Variant
from ultralytics.data.utils import dataset_name
from ultralytics.engine.model import YOLO
from ultralytics.engine.setup import PATIENCE
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import LOGGER
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import CheckpointError, DeviceError, YOLOError
from ultralytics.utils.files import atomic_write, load_yaml, read_csv
from ultralytics.utils.torch_utils import select_device

MEASURED_WITH = ("classes", "iou", "conf", "max_det", "agnostic_nms")  # options of a run that its validations follow


@dataclass(frozen=True)
class Finished:
    """A finished run, for the results file and the files beside it."""

    record: Record
    curve: bytes  # its results.csv
    details: Details


class ComparedTrainer(BaseTrainer):
    """Trainer whose batch is that of all variants: where a GPU has no room for it, the run fails and says so."""

    halves_batch = False


@dataclass(frozen=True)
class Failure:
    """A run that could not be trained, and why."""

    run: Run
    reason: str
    trace: str = ""  # of an error that no sentence explains

    @classmethod
    def of(cls, run: Run, exc: Exception) -> "Failure":
        """Failure by an error."""
        if isinstance(exc, YOLOError):
            return cls(run, str(exc))
        return cls(run, f"{type(exc).__name__}: {exc}", "".join(traceback.format_exception(exc)))

    def __str__(self) -> str:
        return f"{self.run}: {self.reason}"


Outcome = Finished | Failure | None  # None: another process is training it
# From runs, settings and the seconds to wait for each run's lock to the outcomes, as they come.
Attempts = Callable[[Iterable[Run], Mapping[str, Any], float], Iterator[tuple[Run, Outcome]]]


def attempts_here(
    runs: Iterable[Run], settings: Mapping[str, Any], patience: float = 0
) -> Iterator[tuple[Run, Outcome]]:
    """Outcomes of runs, one after another, in this process."""
    for run in runs:
        yield run, attempt(run, settings, patience)


def train_missing(
    runs: Sequence[Run],
    ledger: Ledger,
    settings: Mapping[str, Any],
    chosen: Sequence[Variant] | None = None,
    drop_after: int | None = None,
    attempts: Attempts = attempts_here,
) -> list[Failure]:
    """Train the runs, of the `chosen` variants or of all, that the ledger lacks; returns those that failed.

    What another process is training is left to it, a killed run is resumed, and an error in one run does not keep the
    others from being trained. Of variants that `drop_after` seeds decide against, no further run is begun.
    """

    def missing(stage: Iterable[Run]) -> Iterator[Run]:
        for run in stage:
            records = ledger.read()
            if records.of(run) is None and run.cell in dropped_variants(runs, drop_after, records):
                LOGGER.info(f"{run}: not trained, its variant is dropped")
            elif records.of(run) is None:
                if (run.key, run.seed) in records.by_run:
                    LOGGER.info(f"{run}: a layer or the loss was edited since it was trained, so it is trained again")
                yield run

    failures: list[Failure] = []
    deciding = list(dict.fromkeys(run.seed for run in runs))[: drop_after or 0]
    wanted = [run for run in runs if chosen is None or run.variant in chosen]
    first, others = ([run for run in wanted if (run.seed in deciding) == decides] for decides in (True, False))
    claimed: list[Run] = []  # by other processes, which may have died or been stopped once the rest is done
    for stage in (first, others, claimed):
        with closing(attempts(missing(stage), settings, PATIENCE if stage is claimed else 0)) as outcomes:
            for run, outcome in outcomes:
                if outcome is None and stage is not claimed:
                    claimed.append(run)
                elif outcome is None:
                    LOGGER.info(f"{run}: another process is training it, skipped")
                elif failure := outcome if isinstance(outcome, Failure) else keep(run, outcome, ledger):
                    failures.append(failure)
                    LOGGER.error("\n".join(filter(None, (str(failure), failure.trace))))
    return failures


def keep(run: Run, finished: Finished, ledger: Ledger) -> Failure | None:
    """Write the curve and the details of a run, and last of all its line; a failure where they cannot be written."""
    record, curve = finished.record, ledger.curve_file(finished.record)
    try:
        atomic_write(curve, lambda file: file.write(finished.curve))
        write_details(curve.with_suffix(".json"), finished.details)
        ledger.append(record)
    except YOLOError as exc:
        return Failure.of(run, exc)
    LOGGER.info(f"{run}: mAP50-95 {record.map:.4f}, {record.seconds:.0f} s")


def attempt(run: Run, settings: Mapping[str, Any], patience: float = 0) -> Outcome:
    """Train a run to its end; None where another process holds the lock of its folder for so many seconds."""
    folder = Path(settings["project"]) / run.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".claim.lock").acquire(timeout=patience)  # the system releases it when a process dies
    except Timeout:  # is an OSError, too
        return None
    except OSError as exc:
        reason = f"{folder} cannot be written: {exc.strerror or exc}; give another project="
        return Failure.of(run, YOLOError(reason))
    with lock:
        try:
            return finish(run, folder, settings)
        except Exception as exc:  # a custom block may raise anything
            return Failure.of(run, exc)


def finish(run: Run, folder: Path, settings: Mapping[str, Any]) -> Finished:
    """Train from the start or resume, and measure."""
    LOGGER.info(f"{run}: in {folder}")
    last, data, device = folder / "weights" / "last.pt", run.options.data, settings.get("device")
    trained_on = load_yaml(folder / "args.yaml").get("data") if (folder / "args.yaml").exists() else None
    other = trained_on and dataset_name(Path(trained_on).absolute())
    if other and other != run.data:  # folds of one size have the same key
        raise YOLOError(f"{folder} is a run on {other}: give another project=")
    state = status(last)  # "finished": killed between the last epoch and the line
    if state == "interrupted":
        LOGGER.info(f"resuming {last}")
        YOLO(last).train(ComparedTrainer, resume=True, data=data, device=device, workers=run.options.workers)
    elif state == "new":
        own = {**run.variant.own, "data": data, "pretrained": run.variant.pretrained or False, "seed": run.seed}
        YOLO(run.variant.model).train(ComparedTrainer, **{**settings, **own, "name": folder.name, "exist_ok": True})
    own = {name: getattr(run.options, name) for name in MEASURED_WITH if name in run.options.given}
    details = measure_details(last, data=data, device=device, workers=run.options.workers, **own)
    return Finished(measure(run, folder), (folder / "results.csv").read_bytes(), details)


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
        device=f"{args['device'] or 'auto'} {torch.get_num_threads()} threads {platform.machine()}{gpu_name(args)}",
        version=f"{version()}{CODE}{run.sources}",
        date=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%MZ"),
        key=run.key,
    )


def gpu_name(args: Mapping[str, Any]) -> str:
    """Name of the GPU that a run with these options was trained on, behind a comma; empty for the CPU."""
    try:
        device = select_device(args["device"])
    except DeviceError:  # the run is finished here by a machine that has no such GPU
        return ""
    return f", {torch.cuda.get_device_name(device)}" if device.type == "cuda" else ""


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
