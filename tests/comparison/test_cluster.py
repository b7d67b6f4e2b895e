"""Runs as tasks of a Ray cluster: the same results file whatever dies meanwhile, and sentences for what is missing."""

import csv
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.comparison.conftest import DETAILS, RECORD
from ultralytics.comparison import cluster, training
from ultralytics.comparison.ledger import Ledger
from ultralytics.comparison.run import compare_variants
from ultralytics.utils.errors import ConfigError, DependencyError

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys
from pathlib import Path
from ultralytics.comparison.run import compare_variants
from ultralytics.utils.loss import register_loss

@register_loss("mine")
def mine(pairs):
    # Where a file asks for it, the first process that is past the first epoch of such a run is killed.
    tables = [path.read_text() for path in Path("runs").glob("mine-*/results.csv")]
    if Path("kill").exists() and max((table.count("\\n") for table in tables), default=0) > 1:
        Path("kill").rename("killed")
        Path("killed").write_text(max(tables, key=len))
        os.kill(os.getpid(), signal.SIGKILL)
    return 1 - pairs.iou**2

@register_loss("bad")
def bad(pairs):
    raise RuntimeError("a bad loss")

SETTINGS = {settings}

if __name__ == "__main__":
    compare_variants(SETTINGS | {{"ray": sys.argv[1] if sys.argv[1:] else None}})
"""


def test_without_ray_one_sentence_says_how_to_get_it(planned, network, study, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match=r'^ray cannot be imported .*: run `pip install "\.\[ray\]"`'):
        compare_variants(study | {"models": [str(network)], "ray": True, "results": "s.csv"})
    with socket.socket() as free:  # nobody listens there
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False))
        with pytest.raises(ConfigError, match=rf"ray={address}: no Ray cluster can be reached there: .*refused"):
            next(cluster.attempts_on_ray(address, planned(), study))
    with pytest.raises(ConfigError, match=r"ray=3: expected True, or the address of a Ray cluster"):
        compare_variants(study | {"models": [str(network)], "ray": 3})


def test_what_a_run_takes_of_a_machine(monkeypatch, caplog):
    monkeypatch.setattr(cluster.torch, "get_num_threads", lambda: 4)
    machines = [{"CPU": 4.0}, {"CPU": 2.0, "GPU": 8.0}]
    assert cluster.share_of_run(machines, 0, 2) == ("0", {"GPU": 1, "CPU": 2})
    assert cluster.share_of_run(machines, "cuda:3", 0) == ("0", {"GPU": 1, "CPU": 1})
    assert cluster.share_of_run(machines, None, 0) == ("0", {"GPU": 1, "CPU": 1})
    assert cluster.share_of_run(machines, "cpu", 9) == ("cpu", {"CPU": 4})
    assert cluster.share_of_run(machines[:1], None, 9) == ("cpu", {"CPU": 4}) and not caplog.text
    assert cluster.share_of_run(machines[:1], "0", 9) == ("cpu", {"CPU": 4})
    assert "device=0: no machine of the Ray cluster has a GPU. Continuing with device=cpu." in caplog.text
    with pytest.raises(
        ConfigError, match=r"a run takes 1 GPU and 3 CPU, which no machine of the cluster has: .*workers"
    ):
        cluster.share_of_run(machines, 0, 3)  # no machine has both
    with pytest.raises(ConfigError, match=r"a run takes 4 CPU, which no machine of the cluster has: .*OMP_NUM_THREADS"):
        cluster.share_of_run(machines[1:], "cpu", 0)


def test_a_cluster_begins_no_run_that_one_process_would_not(planned, network, tmp_path):
    """It takes all runs at once: those of further seeds only after those that decide whether they are trained."""
    scores, begun = {"base": 0.5, "good": 0.46, "bad": 0.44}, []
    entries = [{"label": label, "model": str(network), "lr0": 0.01 + i / 100} for i, label in enumerate(scores)]
    runs, ledger = planned(*entries, seeds=[3, 1, 2]), Ledger(tmp_path / "study.csv")

    def attempts(runs, settings, patience):
        runs = list(runs)
        begun.append([(run.variant.label, run.seed) for run in runs])
        for run in reversed(runs):
            end = scores[run.variant.label]
            record = replace(RECORD, name=run.variant.label, seed=run.seed, map=end, key=run.key)
            here = patience or run.variant.label != "good"  # at first, another process is training the good ones
            yield run, training.Finished(record, b"", DETAILS) if here else None

    assert training.train_missing(runs, ledger, {}, drop_after=1, attempts=attempts) == []
    assert begun[0] == [("base", 3), ("good", 3), ("bad", 3)]
    assert sorted(begun[1]) == [("base", 1), ("base", 2), ("good", 1), ("good", 2)]
    assert sorted(begun[2]) == [("good", 1), ("good", 2), ("good", 3)]
    assert len(ledger.read()) == 7


def test_a_machine_must_have_the_same_folder_and_the_same_code(planned, study, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_in_task", False)
    monkeypatch.setattr(sys, "path", sys.path)
    [run], context = planned(), {"dir": str(tmp_path / "gone"), "sys_path": []}
    assert "has no folder" in cluster.attempt_as_task(run, study, 0, context).reason
    context["dir"] = str(Path.cwd())
    other = replace(run, sources="00000000")
    assert "has other code of the layers or the loss" in cluster.attempt_as_task(other, study, 0, context).reason
    with pytest.raises(ConfigError, match='under `if __name__ == "__main__":`'):
        next(cluster.attempts_on_ray(True, [run], study))


@contextmanager
def two_machines():
    """Address of a Ray cluster of two nodes on this machine, each with one CPU."""
    from ray.cluster_utils import Cluster

    found = Cluster()
    try:
        for _ in range(2):
            found.add_node(num_cpus=1, include_dashboard=False, object_store_memory=80 * 2**20)
        yield found.address
    finally:
        found.shutdown()


@pytest.mark.long
def test_a_cluster_leaves_what_one_process_leaves(network, study, tmp_path, monkeypatch):
    """With a loss that the script registers, a run that is killed midway and one that always fails."""
    pytest.importorskip("ray", reason='this test needs Ray: pip install ".[ray]"')
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    models = {"plain": str(network)} | {name: {"model": str(network), "iou_loss": name} for name in ("mine", "bad")}
    settings = study | {"models": models, "seeds": [0, 1], "epochs": 4, "project": "runs", "results": "s.csv"}

    def compare(folder, *words):
        folder.mkdir(exist_ok=True)
        (folder / "script.py").write_text(SCRIPT.format(settings=settings), encoding="utf-8")
        command = [sys.executable, "script.py", *words]
        done = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=400)
        assert done.returncode == 1 and "2 of 6 runs could not be trained" in done.stderr, done.stderr
        assert "bad on data, seed 0: RuntimeError: a bad loss" in done.stderr
        curves = {path.name: untimed(path) for path in (folder / "s").glob("*-seed*.csv")}
        details = {path.name: path.read_bytes() for path in (folder / "s").glob("*.json")}
        return done, sorted(untimed(folder / "s.csv"), key=str), curves, details

    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "kill").touch()
    with two_machines() as address:
        done, *left = compare(tmp_path / "cluster", address)
    assert "6 runs on a Ray cluster, machines: 2, each run with 1 CPU" in done.stdout + done.stderr
    killed = (tmp_path / "cluster" / "killed").read_text(encoding="utf-8")
    assert any(path.read_text(encoding="utf-8").startswith(killed) for path in tmp_path.glob("cluster/s/mine-*.csv"))
    assert [len(part) for part in left] == [4, 4, 4]
    assert left == list(compare(tmp_path / "alone")[1:])


def untimed(path):
    """Rows of a table without times."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("time", "seconds", "date")} for row in csv.DictReader(file)]
