"""Fixtures for tests of compare.py."""

from dataclasses import replace

import pytest

from tests.training import data, network, settings, train
from ultralytics.comparison import latency
from ultralytics.comparison.details import Details
from ultralytics.comparison.ledger import Ledger, Record
from ultralytics.comparison.variants import plan_runs, read_variants
from ultralytics.utils.ap import RECALL_POINTS
from ultralytics.utils.paper.sizes import SIZES

__all__ = ["data", "network", "settings", "train"]
RECORD = Record(
    "net", "net.yaml", "", "bccd", "64", 2, 4, 4, "SGD", 0.01, "", 0, 0.5, 0.25, 0.75, 0.5, 0.625, 1, 12.5, 1000, 0.5,
    "cpu 1 threads", "0.1.0", "2026-01-01", "0123abcd",
)  # fmt: skip
DETAILS = Details(0.5, 0.25, dict.fromkeys(SIZES, 0.5), (0.5,) * len(RECALL_POINTS))


@pytest.fixture
def study(settings):
    """Settings of runs on the tiny data, without the names that compare.py gives."""
    return {**settings, "patience": 0, "verbose": False}


@pytest.fixture
def planned(network, study):
    """`planned(*entries, seeds=…)`: the runs of these entries."""

    def plan(*entries, seeds=(0,), **changes):
        return plan_runs(read_variants(list(entries or [str(network)])), seeds, study | changes)

    return plan


@pytest.fixture
def reported(planned, network, tmp_path, monkeypatch):
    """Runs of two variants and three seeds with hand-made results, and their report's folder."""
    monkeypatch.setattr(latency, "ROUNDS", 1)
    entries = [{"label": "first", "model": str(network)}, {"label": "second", "model": str(network), "lr0": 0.02}]
    runs = planned(*entries, seeds=[0, 1, 2])
    ledger = Ledger(tmp_path / "study.csv")
    scores = {"first": (0.50, 0.52, 0.51), "second": (0.53, 0.545, 0.54)}
    for run in runs:
        end = scores[run.variant.label][run.seed]
        ledger.append(
            replace(
                RECORD, name=run.variant.label, seed=run.seed, map=end, key=run.key, version=f"1 code {run.sources}"
            )
        )
        curve = "".join(f"{epoch},{end * epoch / 4}\n" for epoch in range(1, 5))
        ledger.curves.mkdir(exist_ok=True)
        (ledger.curves / f"{run.name}.csv").write_text("epoch,metrics/mAP50-95(B)\n" + curve)
    return runs, ledger, tmp_path / "report"
