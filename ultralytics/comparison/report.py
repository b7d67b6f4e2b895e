"""The report: compare.md, compare.csv and compare.png, a summary of the results file by variant."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ultralytics.comparison.chart import Trial, plot_variants
from ultralytics.comparison.latency import BATCHES, Times, latencies, machine
from ultralytics.comparison.ledger import Ledger, Record, find
from ultralytics.comparison.statistics import RULE, Difference, Summary, compare, summarize
from ultralytics.comparison.training import Failure
from ultralytics.comparison.variants import RANKED_BY, Run, Variant, run_name
from ultralytics.utils import LOGGER
from ultralytics.utils.files import atomic_write, read_csv, write_csv

CSV_COLUMNS = (
    *("name", "model", "seeds", "mAP50-95", "mAP50-95_spread", "mAP50", "mAP50_spread"),
    *("best_mAP50-95", "best_mAP50-95_spread", "difference", "difference_spread", "verdict"),
    *("parameters", "gflops", *(f"ms_batch{batch}" for batch in BATCHES), "seconds", "seconds_spread"),
)
SUMMARIZED = {"map": "mAP50-95", "map50": "mAP50", "best_map": "best_mAP50-95", "seconds": "seconds"}
NO_VALUE = "–"
BAR = r"\|"  # a bar in a cell, not one of the table


@dataclass
class Row:
    """A variant, its records, one per seed, and its difference from the first variant, which has none itself."""

    variant: Variant
    records: list[Record] = field(default_factory=list)
    difference: Difference | None = None

    def summary(self, metric: str) -> Summary | None:
        """Mean and spread of a field of the records; None without records."""
        return summarize([getattr(record, metric) for record in self.records]) if self.records else None


def write_report(runs: Sequence[Run], ledger: Ledger, folder: Path, failures: Sequence[Failure] = ()) -> Path:
    """Write the report on `runs` into `folder`; returns the path of compare.md.

    Latency is measured once all runs but the `failures` are there: until then other processes may be training.
    """
    records = ledger.read()
    rows: dict[str, Row] = {}
    networks = {}  # those with records: model YAML and (height, width) by label
    missing = []
    failed = {str(failure.run) for failure in failures}
    for run in runs:
        label, imgsz = run.variant.label, run.options.imgsz
        row = rows.setdefault(label, Row(run.variant))
        if record := find(records, run):
            row.records.append(record)
            networks[label] = run.variant.model, imgsz if isinstance(imgsz, list) else [imgsz, imgsz]
        elif str(run) not in failed:
            missing.append(str(run))
    base, *others = rows.values()
    scores = {record.seed: record.map for record in base.records}
    for row in others:
        row.difference = compare({record.seed: record.map for record in row.records}, scores)
    times = {}
    if networks and not missing:
        times = latencies(networks, runs[0].classes, ledger.curves / "latency.csv")
    write_csv(folder / "compare.csv", [csv_row(row, times) for row in rows.values()], CSV_COLUMNS)
    plot_variants([trial(row, ledger) for row in rows.values()], folder / "compare.png")
    text = markdown(runs, list(rows.values()), times)
    text += f"Could not be trained: {'; '.join(map(str, failures))}.\n\n" if failures else ""
    text += f"Not there yet: {'; '.join(missing)}.\n\n" if missing else ""
    text += "![training curves](compare.png)\n"
    atomic_write(folder / "compare.md", lambda file: file.write(text.encode()))
    return folder / "compare.md"


def trial(row: Row, ledger: Ledger) -> Trial:
    """Curves of a variant, as far as their files exist, and its final scores, for the chart."""
    curves = []
    for record in row.records:
        path = ledger.curves / f"{run_name(record.name, record.seed, record.key, record.sources)}.csv"
        if path.exists():
            epochs = read_csv(path)
            scores = [float(epoch[RANKED_BY] or "nan") for epoch in epochs]  # empty: not validated
            curves.append(np.array([[float(epoch["epoch"]) for epoch in epochs], scores]))  # (2, epochs)
        else:
            LOGGER.warning(f"{path} is missing: this run has no curve in the chart")
    return Trial(row.variant.label, curves, [record.map for record in row.records])


def csv_row(row: Row, times: Times) -> dict[str, object]:
    """A line of compare.csv: figures with six digits, empty where there is none."""
    first = row.records[0] if row.records else None
    cells: dict[str, object] = {
        "name": row.variant.label,
        "model": Path(row.variant.model).name,
        "seeds": " ".join(str(record.seed) for record in row.records),
        "verdict": row.difference.verdict if row.difference else "",
        "parameters": first.parameters if first else "",
        "gflops": first.gflops if first else "",
        **{f"ms_batch{batch}": times.get((row.variant.label, batch), "") for batch in BATCHES},
    }
    summaries = {name: row.summary(metric) for metric, name in SUMMARIZED.items()}
    summaries["difference"] = row.difference.summary if row.difference else None
    for name, summary in summaries.items():
        mean, spread = (summary.mean, summary.spread) if summary else (math.nan, math.nan)
        for column, value in ((name, mean), (f"{name}_spread", spread)):
            cells[column] = "" if math.isnan(value) else f"{value:.6g}"
    return cells


def markdown(runs: Sequence[Run], rows: Sequence[Row], times: Times) -> str:
    """Title, table, and what a reader needs to know to trust the table."""
    header = ["variant", "seeds", "mAP50-95", "mAP50", f"against {rows[0].variant.label}", "", "parameters"]
    header += ["GFLOPs", *(f"ms an image, batch {batch}" for batch in BATCHES), "training, s"]
    lines = [header, ["---"] * len(header)]
    for row in rows:
        label = row.variant.label
        ms = [f"{times[label, batch]:.1f}" if (label, batch) in times else NO_VALUE for batch in BATCHES]
        against = [row.difference.summary.text(4, "+"), row.difference.verdict] if row.difference else [NO_VALUE, ""]
        if row.records:
            first = row.records[0]
            seeds = " ".join(str(record.seed) for record in row.records)
            cells = [label, seeds, row.summary("map").text(4), row.summary("map50").text(4), *against]
            cells += [f"{first.parameters:,}", f"{first.gflops:.3f}", *ms, row.summary("seconds").text(0)]
        else:
            cells = [label, *[NO_VALUE] * 3, *against, *[NO_VALUE] * 2, *ms, NO_VALUE]
        lines.append(cells)
    names = ("imgsz", "epochs", "batch", "nbs", "optimizer", "lr0")
    paragraphs = [
        f"# {runs[0].data}: {', '.join(f'{name} {getattr(runs[0].options, name)}' for name in names)}",
        "\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in lines),
        "mAP is that of the EMA weights after the last epoch: to pick the best epoch by the validation images "
        "would favor variants whose curves jump. GFLOPs count 2 for a multiply-add of an image at imgsz, dynamic "
        "convolutions included. Training time is by the clock, whatever else the machine did.",
        RULE,
    ]
    if times:
        paragraphs.append(
            f"Latency: fused, float32, medians of rounds in which every network runs once, on {machine()}."
        )
    records = [record for row in rows for record in row.records]
    for name, title in (("device", "Trained on"), ("version", "Versions")):
        if values := sorted({getattr(record, name) for record in records}):
            paragraphs.append(f"{title}: {'; '.join(values)}.")
    if own := sorted({f"{record.name}: {record.own}" for record in records if record.own}):
        paragraphs.append(f"Options that only one variant has: {'; '.join(own)}.")
    return "".join(f"{paragraph}\n\n" for paragraph in paragraphs)
