"""The results file: one line a finished run, appended whole, so that several processes may share it."""

import csv
import io
import math
import os
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from filelock import FileLock

from ultralytics.utils import LOGGER
from ultralytics.utils.errors import ConfigError, YOLOError


@dataclass(frozen=True)
class Record:
    """A finished run.

    `precision` to `map` (mAP50-95): the averaged weights after the last epoch, not the best epoch's. `seconds` of
    training and validation. `gflops` of one image at `imgsz`. `own`: options that only this variant has. `device`: with
    the number of threads, on which `seconds` depends. `key`: see `variants.Run`.
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
    own: str
    seed: int
    precision: float
    recall: float
    map50: float
    map: float
    best_map: float
    best_epoch: int
    seconds: float
    parameters: int
    gflops: float
    device: str
    version: str
    date: str
    key: str


COLUMN_NAMES = {"precision": "P", "recall": "R", "map50": "mAP50", "map": "mAP50-95", "best_map": "best_mAP50-95"}
COLUMNS = [COLUMN_NAMES.get(field.name, field.name) for field in fields(Record)]
DIGITS = 6


class Ledger:
    """Records in a CSV file, which need not be there yet. Raises ConfigError where the file is another table."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def curves(self) -> Path:
        """Folder with the table of every run's epochs: `study` beside study.csv."""
        return self.path.with_suffix("")

    def read(self) -> list[Record]:
        """All whole lines; each of the others is named in a warning. Of a run that is there twice the first counts."""
        if not self.path.exists():
            return []
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            self._check(next(rows, []))
            found: dict[tuple[str, int], Record] = {}
            for record in self._records(rows):
                found.setdefault((record.key, record.seed), record)
        return list(found.values())

    def _check(self, header: list[str]) -> None:
        if header != COLUMNS:
            raise ConfigError(
                f"{self.path}: its first line is {','.join(header)[:60]!r} and not {','.join(COLUMNS)[:60]!r}…: "
                "give another file as results="
            )

    def _records(self, rows: Iterator[list[str]]) -> Iterator[Record]:
        for row in rows:
            try:
                yield _parse(row)
            except ValueError as exc:  # noqa: PERF203 (a file has a few lines)
                LOGGER.warning(f"{self.path}, line {rows.line_num}: not a whole record ({exc}): passed over")

    def append(self, record: Record) -> None:
        """Add a line, on the disk when this returns; nobody else's is lost or broken."""
        line = io.StringIO()
        writer = csv.writer(line, lineterminator="\n")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")), self.path.open("ab+") as file:
                if file.tell() == 0:
                    writer.writerow(COLUMNS)
                elif not _ends_a_line(file):
                    line.write("\n")  # behind what a killed process left
                writer.writerow([f"{v:.{DIGITS}g}" if isinstance(v, float) else v for v in astuple(record)])
                file.write(line.getvalue().encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise YOLOError(f"{self.path} cannot be written: {exc.strerror or exc}; give another results=") from exc


def _ends_a_line(file: io.BufferedRandom) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _parse(row: list[str]) -> Record:
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} of {len(COLUMNS)} columns")
    values = [field.type(text) for field, text in zip(fields(Record), row, strict=True)]
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise ValueError("a number is not finite")
    return Record(*values)
