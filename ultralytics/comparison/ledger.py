"""The results file: one line per finished run, appended as a whole, so that several processes can share it."""

import csv
import io
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from ultralytics.comparison.statistics import DROP_BELOW
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, YOLOError

if TYPE_CHECKING:
    from ultralytics.comparison.variants import Cell, Run


CODE = " code "  # what stands in `version` before the digest of the code


@dataclass(frozen=True)
class Record:
    """A finished run.

    `precision` to `map` (mAP50-95) are of the EMA weights after the last epoch, not of the best epoch.
    """

    name: str
    model: str
    weights: str
    data: str
    imgsz: str
    epochs: int
    batch: int
    nbs: int
    optimizer: str
    lr0: float
    own: str  # options that only this variant has
    seed: int
    precision: float
    recall: float
    map50: float
    map: float
    best_map: float
    best_epoch: int
    seconds: float  # of training and validation
    parameters: int
    gflops: float  # of one image at `imgsz`
    device: str  # with the number of threads, on which `seconds` depends
    version: str
    date: str
    key: str  # see `variants.Run`

    @property
    def sources(self) -> str:
        """Digest of the code it was trained with, the last word of `version`; empty in records of earlier versions."""
        return self.version.partition(CODE)[2]


COLUMN_NAMES = {"precision": "P", "recall": "R", "map50": "mAP50", "map": "mAP50-95", "best_map": "best_mAP50-95"}
COLUMNS = [COLUMN_NAMES.get(field.name, field.name) for field in fields(Record)]
DIGITS = 6


class Records(list[Record]):
    """Records in the order of their lines."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        super().__init__(records)
        self.by_run: dict[tuple[str, int], dict[str, Record]] = {}  # key and seed -> digest of the code -> record
        for record in self:
            self.by_run.setdefault((record.key, record.seed), {}).setdefault(record.sources, record)

    def of(self, run: "Run") -> Record | None:
        """Record of a run: of the code as it is now, or one that does not know its code."""
        own = self.by_run.get((run.key, run.seed), {})
        return own.get(run.sources) or own.get("")


def dropped_variants(runs: Sequence["Run"], drop_after: int | None, records: Records) -> set["Cell"]:
    """Variants that are dropped on a dataset, by DROP_RULE for their first `drop_after` seeds; none without it."""
    scores: dict[Cell, dict[int, float]] = {}
    for run in runs if drop_after else ():
        own = scores.setdefault(run.cell, {})
        if record := records.of(run):
            own[run.seed] = record.map
    first = list(dict.fromkeys(run.seed for run in runs))[:drop_after]
    base = {data: own for (data, _), own in reversed(scores.items())}  # of each dataset the first variant's
    dropped = set()
    for (data, label), own in scores.items():
        known = all(seed in own and seed in base[data] for seed in first)
        if known and all(own[seed] < DROP_BELOW * base[data][seed] for seed in first):
            dropped.add((data, label))
    return dropped


def run_name(label: str, seed: int, key: str, sources: str = "") -> str:
    """File name that shows the label of a run, and that no other run has; older ones do not know their `sources`."""
    readable = re.sub(r"[^\w.+-]", "_", label)
    return "-".join(filter(None, (readable, f"seed{seed}", key, sources)))


class Ledger:
    """Records in a CSV file, which need not exist yet. Raises ConfigError where the file is another table."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._last: tuple[tuple[int, int], Records] | None = None  # size and time of the file, and what was in it
        self.curves = self.path.with_suffix("")  # folder with the results.csv of every run: `study` beside study.csv

    def read(self) -> Records:
        """All complete lines, with a warning for each of the others. Where a run has several, the first counts.

        A file that has not changed is not read again: of a thousand runs each asks for all lines.
        """
        if not self.path.exists():
            return Records()
        stat = self.path.stat()
        state = stat.st_size, stat.st_mtime_ns
        if self._last is None or self._last[0] != state:
            self._last = state, self._read()
        return self._last[1]

    def _read(self) -> Records:
        records: dict[tuple[str, int, str], Record] = {}
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            if header != COLUMNS:
                raise ConfigError(
                    f"{self.path}: its first line is {','.join(header)[:60]!r} and not {','.join(COLUMNS)[:60]!r}…: "
                    "give another file as results="
                )
            for row in rows:
                try:
                    if len(row) != len(COLUMNS):
                        raise ValueError(f"{len(row)} of {len(COLUMNS)} columns")
                    values = [field.type(text) for field, text in zip(fields(Record), row, strict=True)]
                    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
                        raise ValueError("a number is not finite")
                except ValueError as exc:
                    LOGGER.warning(f"{self.path}, line {rows.line_num}: not a complete record ({exc}): skipped")
                    continue
                record = Record(*values)
                records.setdefault((record.key, record.seed, record.sources), record)  # what no two runs share
        return Records(records.values())

    def check_data(self, runs: Iterable["Run"]) -> None:
        """Raise ConfigError where a key is that of another dataset: alone, folds of one size have the same key."""
        known = {record.key: record.data for record in self.read()}
        for run in runs:
            if (other := known.get(run.key, run.data)) != run.data:
                raise ConfigError(
                    f"{self.path} has runs on {other}, which have the classes and the numbers of images of {run.data} "
                    f"and cannot be told apart: give folds in one command, data=[{other}.yaml,{run.data}.yaml], or "
                    "another results= and project="
                )

    def curve_file(self, record: Record) -> Path:
        """File with the epochs of a run; its details are beside it, a .json."""
        return self.curves / f"{run_name(record.name, record.seed, record.key, record.sources)}.csv"

    def append(self, record: Record) -> None:
        """Add a line, which is on the disk on return; lines of other processes are neither lost nor broken.

        A run that has one gets no other: two processes may have measured it one after the other.
        """
        line = io.StringIO()
        writer = csv.writer(line, lineterminator="\n")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")):
                if record.sources in self.read().by_run.get((record.key, record.seed), ()):
                    return
                with self.path.open("ab+") as file:
                    if file.tell() == 0:
                        writer.writerow(COLUMNS)
                    else:
                        file.seek(-1, os.SEEK_END)
                        if file.read(1) != b"\n":  # a killed process left half a line
                            line.write("\n")
                    writer.writerow([f"{v:.{DIGITS}g}" if isinstance(v, float) else v for v in astuple(record)])
                    file.write(line.getvalue().encode())
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as exc:
            raise YOLOError(f"{self.path} cannot be written: {exc.strerror or exc}; give another results=") from exc
