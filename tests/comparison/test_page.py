"""The page of a comparison: whole by itself, with the numbers of the other reports, safe and valid."""

import contextlib
import csv
import json
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.comparison.conftest import RECORD
from ultralytics.comparison import latency, report, training
from ultralytics.comparison.details import Details, write_details
from ultralytics.comparison.ledger import Ledger
from ultralytics.comparison.run import compare_variants

ROOT = Path(__file__).parents[2]
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """A page that was read: tags with their attributes, cells of its tables, whether every tag is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.open = [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if {"th", "td"} & set(self.open):
            self.tables[-1][-1][-1] += text


def details(i):
    """Details that differ by `i`."""
    sizes = {"small": -1.0, "medium": 0.3 + i / 100, "large": 0.6}
    return Details(0.5 + i / 100, 0.25, sizes, tuple(np.linspace(1, i / 100, 101)))


def test_the_page_needs_nothing_else_and_is_valid(reported):
    runs, ledger, folder = reported
    for run in runs:
        write_details(ledger.curves / f"{run.name}.json", details(run.seed))
    report.write_report(runs, ledger, folder, command="python compare.py 'models=[a]'")
    text = (folder / "compare.html").read_text(encoding="utf-8")
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>") and "default-src 'none'" in text
    assert re.findall(r"\w+://[^\"' ]*", text) == ["http://www.w3.org/2000/svg"] * 5 and "@import" not in text
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    used = [v for _, attrs in page.tags for name, v in attrs.items() if name in ("href", "src", "xlink:href")]
    assert used and {name.removeprefix("#") for name in used + re.findall(r"url\(([^)]*)\)", text)} <= set(ids)
    svgs = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(svgs) == 5  # curves, ends, precision, sizes, cost
    for svg in svgs:
        root = ET.fromstring(svg)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root.get("viewBox").split()) == 4
        assert len(root.findall(".//{*}path")) > 10
    assert "python compare.py &#x27;models=[a]&#x27;" in text


def test_numbers_of_the_page_are_those_of_the_other_reports(reported):
    runs, ledger, folder = reported
    for run in runs:
        write_details(ledger.curves / f"{run.name}.json", details(run.seed))
    lines = report.write_report(runs, ledger, folder).read_text(encoding="utf-8").splitlines()
    table, records = Page((folder / "compare.html").read_text(encoding="utf-8")).tables
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    rows[2].insert(5, "") if len(rows[2]) < len(rows[0]) else None
    assert [[cell.strip() for cell in row] for row in (rows[0], *rows[2:])] == table
    with (folder / "compare.csv").open(encoding="utf-8", newline="") as file:
        for line, row in zip(csv.DictReader(file), table[1:], strict=True):
            shown = dict(zip(table[0], row, strict=True))
            for column in ("mAP50-95", "mAP50", "F1", "mAP75", "AP-medium", "AP-large"):
                assert f"{float(line[column]):.4f} ± {float(line[column + '_spread']):.4f}" == shown[column]
            assert shown["AP-small"] == "–" and line["AP-small"] == ""
            assert (shown["variant"], shown["verdict"]) == (line["name"], line["verdict"])
            assert shown["F1"] == "0.5100 ± 0.0100"
    maps = [row[records[0].index("mAP50-95")] for row in records[1:]]
    assert maps == [f"{record.map:.4f}" for v in ("first", "second") for record in ledger.read() if record.name == v]


def test_what_comes_from_users_is_text(planned, network, tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "ROUNDS", 1)
    label = "</table><script>alert('a & b')</script> 名"
    runs, ledger = planned({"label": label, "model": str(network)}), Ledger(tmp_path / "study.csv")
    ledger.append(replace(RECORD, name=label, key=runs[0].key, device="<b>cpu", version=f"1 code {runs[0].sources}"))
    report.write_report(runs, ledger, tmp_path, [training.Failure(runs[0], "<img src=x>")], command="<script>")
    page = Page((tmp_path / "compare.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.tags].count("script") == 1 and not {"img", "b"} & {tag for tag, _ in page.tags}
    assert page.tables[0][1][0] == page.tables[1][1][0] == label


def test_a_comparison_that_was_killed_ends_in_the_same_page(planned, network, data, tmp_path, monkeypatch):
    """Two networks, two losses, two datasets, two seeds; what a killed training leaves is tested where one trains."""
    monkeypatch.setattr(report, "plot_variants", lambda *_: None)
    times = dict.fromkeys(latency.BATCHES, 1.5)
    monkeypatch.setattr(report, "latencies", lambda n, *_: {(k, b): ms for k in n for b, ms in times.items()})
    other = data.with_name("other.yaml")
    other.write_bytes(data.read_bytes())
    wide = tmp_path / "wide.yaml"
    wide.write_text(network.read_text(encoding="utf-8").replace("[16, 3, 4]", "[24, 3, 4]"), encoding="utf-8")
    entries = [
        {"label": f"{n.stem} {loss}", "model": str(n), "iou_loss": loss}
        for n in (network, wide)
        for loss in ("ciou", "wiou3")
    ]
    runs = planned(*entries, seeds=[0, 1], data=[str(data), str(other)])
    assert len(runs) == 16 == len({run.name for run in runs})
    done = []

    def finish(run, folder, settings):
        if len(Ledger(folder.parent / "study.csv").read()) == stop:
            raise KeyboardInterrupt
        done.append(run)
        score = int(run.key, 16) % 1000 / 1000
        own = {"name": run.variant.label, "seed": run.seed, "data": run.data, "key": run.key}
        record = replace(RECORD, **own, map=score, version=f"1 code {run.sources}")
        curve = f"epoch,metrics/mAP50-95(B)\n1,{score}\n".encode()
        return training.Finished(record, curve, details(int(100 * score)))

    monkeypatch.setattr(training, "finish", finish)
    pages = []
    for stops in ((None,), (6, None)):
        folder = tmp_path / str(len(pages))
        for stop in stops:
            with contextlib.suppress(KeyboardInterrupt):
                training.train_missing(runs, Ledger(folder / "study.csv"), {"project": str(folder)})
            assert len(Ledger(folder / "study.csv").read()) == (16 if stop is None else stop)
        report.write_report(runs, Ledger(folder / "study.csv"), folder)
        pages.append((folder / "compare.html").read_bytes())
    assert len(done) == 32 and pages[0] == pages[1]
    tables = Page(pages[0].decode()).tables
    assert [row[0] for row in tables[0]] == [row[0] for row in tables[1]] == ["variant", *(e["label"] for e in entries)]


@pytest.mark.long
def test_a_process_that_is_killed_ends_in_the_same_page(network, study, data, tmp_path, monkeypatch):
    """compare.py itself, with SIGKILL in the midst of its fourth run of sixteen; all but times is compared."""
    monkeypatch.setattr(latency, "ROUNDS", 1)
    other = data.with_name("other.yaml")
    other.write_bytes(data.read_bytes())
    wide = tmp_path / "wide.yaml"
    wide.write_text(network.read_text(encoding="utf-8").replace("[16, 3, 4]", "[24, 3, 4]"), encoding="utf-8")
    models = [{"model": str(n), "iou_loss": loss} for n in (network, wide) for loss in ("ciou", "wiou3")]
    settings = study | {"models": models, "seeds": [0, 1], "data": [str(data), str(other)], "lr0": 0.01}
    pages = {}
    for name in ("whole", "killed"):
        folder = tmp_path / name
        own = settings | {"project": str(folder), "results": str(folder / "study.csv")}
        if name == "killed":
            words = [f"{key}={json.dumps(value)}" for key, value in own.items()]
            process = subprocess.Popen([sys.executable, str(ROOT / "compare.py"), *words], cwd=ROOT)
            while len(Ledger(folder / "study.csv").read()) < 3 or len(list(folder.glob("*/weights/last.pt"))) < 4:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
            process.wait()
            assert 3 <= len(Ledger(folder / "study.csv").read()) < 16
        compare_variants(own)
        text = (folder / "compare.html").read_text(encoding="utf-8")
        tables = []
        for header, *rows in Page(text).tables:
            kept = [i for i, title in enumerate(header) if not re.match("ms an image|training|seconds|date", title)]
            tables.append([[row[i] for i in kept] for row in (header, *rows)])
        charts = [svg for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL) if "draw_cost" not in svg]
        records = [replace(record, seconds=0.0, date="") for record in Ledger(folder / "study.csv").read()]
        pages[name] = tables, charts, sorted(map(str, records))
    assert len(pages["whole"][2]) == 16 and len(pages["whole"][1]) == 8
    assert pages["killed"] == pages["whole"]
