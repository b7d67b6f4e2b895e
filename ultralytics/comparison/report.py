"""compare.md, compare.csv and compare.png: what the results file says of the variants."""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ultralytics.comparison.chart import Trial, plot_variants
from ultralytics.comparison.latency import BATCHES, Times, latencies, machine
from ultralytics.comparison.ledger import Ledger, Record
from ultralytics.comparison.statistics import RULE, Difference, Summary, compare, summarize
from ultralytics.comparison.training import Failure, column
from ultralytics.comparison.variants import Run, Variant, run_name
from ultralytics.utils import LOGGER
from ultralytics.utils.charts.training import read_table
from ultralytics.utils.files import atomic_write

NOTHING = "–"
BAR = r"\|"  # that of a label, not of the table


@dataclass(frozen=True)
class Row:
    """A variant and its records, one a seed."""

    variant: Variant
    records: list[Record]

    @property
    def label(self) -> str:
        """Of the variant."""
        return self.variant.label

    def by_seed(self, metric: str) -> dict[int, float]:
        """A field of the records by their seed."""
        return {record.seed: getattr(record, metric) for record in self.records}

    def summary(self, metric: str) -> Summary | None:
        """Of a field of the records; None without records."""
        return summarize([getattr(record, metric) for record in self.records]) if self.records else None


def write_report(runs: Sequence[Run], ledger: Ledger, folder: Path, failures: Sequence[Failure] = ()) -> Path:
    """Write the report on `runs` into `folder`; the path of compare.md.

    Latency is measured once all runs are there but for the `failures`, as before other processes may be training.
    """
    rows = gather(runs, ledger.read())
    records = [record for row in rows for record in row.records]
    failed = {str(failure.run) for failure in failures}
    missing = [str(run) for run in runs if not _held(run, records) and str(run) not in failed]
    trained = {row.label for row in rows if row.records}
    times = {} if missing else _latencies([run for run in runs if run.variant.label in trained], ledger)
    base = rows[0]
    found = [(row, compare(row.by_seed("map"), base.by_seed("map")) if row is not base else None) for row in rows]
    _write(folder / "compare.csv", _csv(found, times))
    plot_variants([trial(row, ledger) for row in rows], folder / "compare.png")
    notes = _notes(records, times)
    notes += [f"Could not be trained: {'; '.join(map(str, failures))}."] if failures else []
    notes += [f"Not there yet: {'; '.join(missing)}."] if missing else []
    return _write(folder / "compare.md", _markdown(runs, found, times, notes))


def gather(runs: Sequence[Run], records: Sequence[Record]) -> list[Row]:
    """A row a variant, in their order, with the records of its runs."""
    held = {(record.key, record.seed): record for record in records}
    rows: dict[str, Row] = {}
    for run in runs:
        row = rows.setdefault(run.variant.label, Row(run.variant, []))
        if record := held.get((run.key, run.seed)):
            row.records.append(record)
    return list(rows.values())


def _latencies(runs: Sequence[Run], ledger: Ledger) -> Times:
    if not runs:
        return {}
    networks = {}
    for run in runs:
        imgsz = run.options.imgsz
        networks[run.variant.label] = run.variant.model, imgsz if isinstance(imgsz, list) else [imgsz, imgsz]
    return latencies(networks, runs[0].classes, ledger.curves / "latency.csv")


def trial(row: Row, ledger: Ledger) -> Trial:
    """What the chart shows of a variant: its curves, as far as they were kept, and its last values."""
    curves = []
    for record in row.records:
        path = ledger.curves / f"{run_name(record.name, record.seed, record.key)}.csv"
        if path.exists():
            table = read_table(path)
            curves.append(np.stack((table["epoch"], table[column("mAP50-95")])))
        else:
            LOGGER.warning(f"{path} is gone: this run has no curve in the chart")
    return Trial(row.label, curves, [record.map for record in row.records])


def _write(path: Path, text: str) -> Path:
    atomic_write(path, lambda file: file.write(text.encode()))
    return path


def _csv(found: Sequence[tuple[Row, Difference | None]], times: Times) -> str:
    """A line a variant, all numbers in full."""
    lines = []
    for row, difference in found:
        line = {
            "name": row.label,
            "model": Path(row.variant.model).name,
            "seeds": " ".join(str(r.seed) for r in row.records),
        }
        for field, name in (("map", "mAP50-95"), ("map50", "mAP50"), ("best_map", "best_mAP50-95")):
            line |= _columns(name, row.summary(field))
        line |= _columns("difference", difference and difference.summary)
        line["verdict"] = difference.verdict if difference else ""
        for field in ("parameters", "gflops"):
            line[field] = getattr(row.records[0], field) if row.records else ""
        line |= {f"ms_batch{batch}": times.get((row.label, batch), "") for batch in BATCHES}
        lines.append(line | _columns("seconds", row.summary("seconds")))
    text = io.StringIO()
    writer = csv.DictWriter(text, lines[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _columns(name: str, summary: Summary | None) -> dict[str, str]:
    mean, spread = (summary.mean, summary.spread) if summary else (math.nan, math.nan)
    return {k: "" if math.isnan(v) else f"{v:.6g}" for k, v in ((name, mean), (f"{name}_spread", spread))}


def _markdown(
    runs: Sequence[Run], found: Sequence[tuple[Row, Difference | None]], times: Times, notes: Sequence[str]
) -> str:
    heads = ["variant", "seeds", "mAP50-95", "mAP50", f"against {found[0][0].label}", "", "parameters"]
    heads += ["GFLOPs", *(f"ms an image, batch {batch}" for batch in BATCHES), "training, s"]
    lines = [heads, ["---"] * len(heads), *(_cells(row, difference, times) for row, difference in found)]
    table = "\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in lines)
    return "\n\n".join((f"# {_title(runs)}", table, *notes, "![training curves](compare.png)")) + "\n"


def _title(runs: Sequence[Run]) -> str:
    names = ("imgsz", "epochs", "batch", "nbs", "optimizer", "lr0")
    return f"{runs[0].data}: {', '.join(f'{name} {getattr(runs[0].options, name)}' for name in names)}"


def _cells(row: Row, difference: Difference | None, times: Times) -> list[str]:
    def text(field: str, digits: int) -> str:
        summary = row.summary(field)
        return summary.text(digits) if summary else NOTHING

    cells = [row.label, " ".join(str(r.seed) for r in row.records) or NOTHING, text("map", 4), text("map50", 4)]
    cells += [difference.summary.text(4, "+"), difference.verdict] if difference else [NOTHING, ""]
    first = row.records[0] if row.records else None
    cells += [f"{first.parameters:,}", f"{first.gflops:.3f}"] if first else [NOTHING, NOTHING]
    cells += [f"{times[row.label, b]:.1f}" if (row.label, b) in times else NOTHING for b in BATCHES]
    return [*cells, text("seconds", 0)]


def _notes(records: Sequence[Record], times: Times) -> list[str]:
    """What a reader needs to know to trust the table."""
    notes = [
        "mAP is that of the averaged weights after the last epoch: to pick the best epoch by the validation images "
        "would favor variants whose curves jump. GFLOPs count 2 for a multiply-add of an image at imgsz, dynamic "
        "convolutions included. Training time is by the clock, whatever else the machine did.",
        RULE,
    ]
    if times:
        notes.append(f"Latency: fused, float32, medians of rounds in which every network runs once, on {machine()}.")
    for field, words in (("device", "Trained on"), ("version", "Versions")):
        if several := sorted({getattr(record, field) for record in records}):
            notes.append(f"{words}: {'; '.join(several)}.")
    if own := sorted({f"{record.name}: {record.own}" for record in records if record.own}):
        notes.append(f"Options that only one variant has: {'; '.join(own)}.")
    return notes


def _held(run: Run, records: Sequence[Record]) -> bool:
    return any((record.key, record.seed) == (run.key, run.seed) for record in records)
