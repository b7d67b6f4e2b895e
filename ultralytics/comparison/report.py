"""The report: compare.md, compare.csv, compare.png and compare.html, a summary of the results file by variant."""

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from ultralytics.comparison.chart import Trial, plot_variants
from ultralytics.comparison.details import Details, read_details
from ultralytics.comparison.latency import BATCHES, Times, latencies, machine
from ultralytics.comparison.ledger import Ledger, Record, Records, dropped_variants
from ultralytics.comparison.page import write_page
from ultralytics.comparison.statistics import DROP_RULE, RULE, Difference, Summary, compare
from ultralytics.comparison.training import Failure
from ultralytics.comparison.variants import RANKED_BY, Cell, Run, Variant
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import DeviceError
from ultralytics.utils.files import atomic_write, read_csv, write_csv
from ultralytics.utils.paper.sizes import SIZES
from ultralytics.utils.torch_utils import select_device

DETAILS = ("F1", "mAP75", *(f"AP-{size}" for size in SIZES))
CSV_COLUMNS = (
    *("name", "model", "seeds", "mAP50-95", "mAP50-95_spread", "mAP50", "mAP50_spread"),
    *("best_mAP50-95", "best_mAP50-95_spread", "difference", "difference_spread", "verdict"),
    *("parameters", "gflops", *(f"ms_batch{batch}" for batch in BATCHES), "seconds", "seconds_spread"),
    *("data", *(f"{name}{end}" for name in DETAILS for end in ("", "_spread"))),
)
SUMMARIZED = {"map": "mAP50-95", "map50": "mAP50", "best_map": "best_mAP50-95", "seconds": "seconds"}
NO_VALUE = "–"
BAR = r"\|"  # a bar in a cell, not one of the table


@dataclass
class Row:
    """A variant on a dataset, its records, one per seed, and its difference from the first variant, which has none."""

    variant: Variant
    records: list[Record] = field(default_factory=list)
    details: list[Details] = field(default_factory=list)  # of those records that have them
    difference: Difference | None = None
    dropped: list[int] = field(default_factory=list)  # seeds that are not trained, see DROP_RULE
    times: dict[int, float] = field(default_factory=dict)  # ms an image by batch size, once measured

    def summary(self, name: str) -> Summary | None:
        """Mean and spread of a field of the records or one of DETAILS; None where it is unknown.

        So is the AP of a size that no object has.
        """
        if name in DETAILS:
            size = name.removeprefix("AP-")
            values = [d.by_size[size] if size in SIZES else getattr(d, name.lower()) for d in self.details]
        else:
            values = [getattr(record, name) for record in self.records]
        return Summary(values) if values and min(values) >= 0 else None


Groups = dict[str, list[Row]]  # by dataset


def write_report(
    runs: Sequence[Run],
    ledger: Ledger,
    folder: Path,
    failures: Sequence[Failure] = (),
    drop_after: int | None = None,
    command: str = "",
) -> Path:
    """Write the report on `runs` into `folder`; returns the path of compare.md.

    Latency is measured once all runs but the `failures` and the dropped ones are there: until then other processes may
    be training. The page names `command`, which repeats the comparison.
    """
    records = ledger.read()
    dropped = dropped_variants(runs, drop_after, records)
    groups, missing = collect(runs, records, dropped, [failure.run for failure in failures], ledger)
    try:
        device = select_device(runs[0].options.device)
    except DeviceError:  # the runs were trained elsewhere
        device = torch.device("cpu")
    if not missing:
        measure_latency(runs, groups, ledger, device)
    trials = {data: [trial(row, ledger) for row in rows] for data, rows in groups.items()}
    write_csv(
        folder / "compare.csv", [csv_row(data, row) for data, rows in groups.items() for row in rows], CSV_COLUMNS
    )
    plot_variants(list(trials.values()), folder / "compare.png")
    names = ("imgsz", "epochs", "batch", "nbs", "optimizer", "lr0")
    title = f"{', '.join(groups)}: {', '.join(f'{name} {getattr(runs[0].options, name)}' for name in names)}"
    tables = {data: table(rows) for data, rows in groups.items()}
    paragraphs = notes(list(groups.values()), drop_after, machine(device))
    if failures:
        paragraphs.append(f"Could not be trained: {'; '.join(map(str, failures))}.")
    if missing:
        paragraphs.append(f"Not there yet: {'; '.join(map(str, missing))}.")
    text = markdown(title, tables, paragraphs)
    atomic_write(folder / "compare.md", lambda file: file.write(text.encode()))
    used = [record for rows in groups.values() for row in rows for record in row.records]
    write_page(folder / "compare.html", title, tables, trials, paragraphs, used, command)
    return folder / "compare.md"


def collect(
    runs: Sequence[Run], records: Records, dropped: Set[Cell], failed: Sequence[Run], ledger: Ledger
) -> tuple[Groups, list[Run]]:
    """Rows of every dataset, with their differences, and the runs that are neither there nor failed nor dropped."""
    rows: dict[Cell, Row] = {}
    missing = []
    for run in runs:
        row = rows.setdefault(run.cell, Row(run.variant))
        if record := records.of(run):
            row.records.append(record)
            if details := read_details(ledger.curve_file(record).with_suffix(".json")):
                row.details.append(details)
        elif run.cell in dropped:
            row.dropped.append(run.seed)
        elif run not in failed:
            missing.append(run)
    groups: Groups = {}
    for (data, _), row in rows.items():
        groups.setdefault(data, []).append(row)
    for base, *others in groups.values():
        scores = {record.seed: record.map for record in base.records}
        for row in others:
            row.difference = compare({record.seed: record.map for record in row.records}, scores)
            if row.dropped:
                row.difference = Difference(row.difference.summary, "dropped")
    return groups, missing


def measure_latency(runs: Sequence[Run], groups: Groups, ledger: Ledger, device: torch.device) -> None:
    """Fill in `times` of the rows that have records; the number of classes decides what a network computes."""
    for data, rows in groups.items():
        own = {run.variant.label: run for run in runs if run.data == data}
        networks = {}  # model YAML and (height, width) by label
        for row in rows:
            if row.records:
                imgsz = own[row.variant.label].options.imgsz
                networks[row.variant.label] = row.variant.model, imgsz if isinstance(imgsz, list) else [imgsz, imgsz]
        classes = next(iter(own.values())).classes
        times: Times = latencies(networks, classes, ledger.curves / "latency.csv", device) if networks else {}
        for row in rows:
            row.times = {batch: times[row.variant.label, batch] for batch in BATCHES if row.records}


def trial(row: Row, ledger: Ledger) -> Trial:
    """Curves of a variant, as far as their files exist, its final scores and costs, for the charts."""
    curves = []
    for record in row.records:
        path = ledger.curve_file(record)
        if path.exists():
            epochs = read_csv(path)
            scores = [float(epoch[RANKED_BY] or "nan") for epoch in epochs]  # empty: not validated
            curves.append(np.array([[float(epoch["epoch"]) for epoch in epochs], scores]))  # (2, epochs)
        else:
            LOGGER.warning(f"{path} is missing: this run has no curve in the chart")
    gflops = row.records[0].gflops if row.records else None
    ends = [record.map for record in row.records]
    return Trial(row.variant.label, curves, ends, row.details, gflops, row.times.get(BATCHES[0]))


def csv_row(data: str, row: Row) -> dict[str, object]:
    """A line of compare.csv: figures with six digits, empty where there is none."""
    first = row.records[0] if row.records else None
    cells: dict[str, object] = {
        "name": row.variant.label,
        "model": Path(row.variant.model).name,
        "seeds": " ".join(str(record.seed) for record in row.records),
        "verdict": row.difference.verdict if row.difference else "",
        "parameters": first.parameters if first else "",
        "gflops": first.gflops if first else "",
        **{f"ms_batch{batch}": row.times.get(batch, "") for batch in BATCHES},
        "data": data,
    }
    summaries = {name: row.summary(metric) for metric, name in SUMMARIZED.items()}
    summaries |= {name: row.summary(name) for name in DETAILS}
    summaries["difference"] = row.difference.summary if row.difference else None
    for name, summary in summaries.items():
        mean, spread = (summary.mean, summary.spread) if summary else (math.nan, math.nan)
        for column, value in ((name, mean), (f"{name}_spread", spread)):
            cells[column] = "" if math.isnan(value) else f"{value:.6g}"
    return cells


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Table of a dataset, a header and a line for every variant, for compare.md and the page."""
    details = DETAILS if any(row.details for row in rows) else ()
    header = ["variant", "seeds", "mAP50-95", "mAP50", f"against {rows[0].variant.label}", "verdict", *details]
    header += ["parameters", "GFLOPs", *(f"ms an image, batch {batch}" for batch in BATCHES), "training, s"]
    lines = [header]
    for row in rows:
        seeds = " ".join(str(record.seed) for record in row.records) or NO_VALUE
        seeds += f" ({' '.join(map(str, row.dropped))} dropped)" if row.dropped else ""
        first, difference = (row.records[0] if row.records else None), row.difference
        lines.append([
            row.variant.label,
            seeds,
            *(s.text(4) if (s := row.summary(metric)) else NO_VALUE for metric in ("map", "map50")),
            *((difference.summary.text(4, "+"), difference.verdict) if difference else (NO_VALUE, "")),
            *(s.text(4) if (s := row.summary(name)) else NO_VALUE for name in details),
            *((f"{first.parameters:,}", f"{first.gflops:.3f}") if first else (NO_VALUE, NO_VALUE)),
            *(f"{row.times[batch]:.1f}" if batch in row.times else NO_VALUE for batch in BATCHES),
            row.summary("seconds").text(0) if first else NO_VALUE,
        ])  # fmt: skip
    return lines


def notes(groups: Sequence[Sequence[Row]], drop_after: int | None, machine: str) -> list[str]:
    """Conditions that a reader needs to trust the tables, a paragraph each; `machine`: where latency was measured."""
    rows = [row for group in groups for row in group]
    paragraphs = [
        "mAP is that of the EMA weights after the last epoch: to pick the best epoch by the validation images "
        "would favor variants whose curves jump. GFLOPs count 2 for a multiply-add of an image at imgsz, dynamic "
        "convolutions included. Training time is by the clock, whatever else the machine did.",
        RULE,
    ]
    if drop_after:
        paragraphs.append(DROP_RULE.format(drop_after))
    if any(row.details for row in rows):
        paragraphs.append(
            "F1 (at the confidence where it is highest), mAP75, AP by size (COCO's AP50-95 of objects up to 32², up to "
            "96² and above, in pixels of the original image) and precision over recall are measured on last.pt as it "
            "is saved, in float16; all are means over the classes."
        )
    if any(row.times for row in rows):
        paragraphs.append(f"Latency: fused, float32, medians of rounds in which every network runs once, on {machine}.")
    records = [record for row in rows for record in row.records]
    for name, title in (("device", "Trained on"), ("version", "Versions")):
        if values := sorted({getattr(record, name) for record in records}):
            paragraphs.append(f"{title}: {'; '.join(values)}.")
    if own := sorted({f"{record.name}: {record.own}" for record in records if record.own}):
        paragraphs.append(f"Options that only one variant has: {'; '.join(own)}.")
    return paragraphs


def markdown(title: str, tables: dict[str, list[list[str]]], paragraphs: Sequence[str]) -> str:
    """compare.md: the tables, with a heading each where there are several, and the paragraphs."""
    parts = [f"# {title}"]
    for data, (header, *lines) in tables.items():
        parts += [f"## {data}"] if len(tables) > 1 else []
        cells = [header, ["---"] * len(header), *lines]
        parts.append("\n".join(f"| {' | '.join(cell.replace('|', BAR) for cell in line)} |" for line in cells))
    return "".join(f"{part}\n\n" for part in (*parts, *paragraphs)) + "![training curves](compare.png)\n"
