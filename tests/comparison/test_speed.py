"""Speed of files: what is measured of each, and how it is asked for."""

import numpy as np
import pytest

from ultralytics import YOLO
from ultralytics.__main__ import main
from ultralytics.comparison import latency, speed
from ultralytics.utils.errors import ConfigError


@pytest.fixture
def file(network, tmp_path):
    """A network of a few layers as a file."""
    YOLO(network).save(tmp_path / "a.pt")
    return tmp_path / "a.pt"


def test_rounds_are_interleaved_and_the_first_is_warm_up(monkeypatch):
    monkeypatch.setattr(latency, "ROUNDS", 3)
    calls = []
    found = latency.interleaved({n: lambda n=n: calls.append(n) or [len(calls), 1.0] for n in "ab"})
    assert calls == list("ab" * 4)
    assert found["b"].tolist() == [[4, 1], [6, 1], [8, 1]]


def test_medians_and_percentiles_are_numpys_per_image(monkeypatch, file):
    seconds = np.array([[0.001, 0.01, 0.002], [0.002, 0.02, 0.004], [0.003, 0.03, 0.006], [0.1, 0.2, 0.3]])
    monkeypatch.setattr(speed, "interleaved", lambda passes: dict.fromkeys(passes, seconds))
    [row] = speed.measure_speed([str(file)], [4], {"imgsz": 64, "device": "cpu"})
    assert (row["file"], row["batch"]) == ("a.pt", 4)
    for i, stage in enumerate(speed.STAGES):
        assert row[f"{stage} median"] == pytest.approx(np.median(seconds[:, i]) * 250, abs=1e-3)
        assert row[f"{stage} p90"] == pytest.approx(np.percentile(seconds[:, i], 90) * 250, abs=1e-3)
    assert row["FPS"] == pytest.approx(4 / np.median(seconds.sum(1)), abs=0.1)


def test_the_command_measures_files_of_both_kinds(monkeypatch, file, capsys):
    monkeypatch.setattr(latency, "ROUNDS", 2)
    exported = YOLO(file).export(format="torchscript", imgsz=64, dynamic=True, device="cpu")
    capsys.readouterr()
    main(["speed", f"model={file},{exported}", "batch=1,2", "imgsz=64", "device=cpu"])
    said = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in said.splitlines() if line.startswith("| a.")]
    assert [row[:2] for row in rows] == [[name, b] for b in "12" for name in ("a.pt", "a.torchscript")]
    assert all(float(value) > 0 for row in rows for value in row[2:])
    assert ", torch" in said and "after a warm-up" in said


def test_what_is_wrong_is_said():
    with pytest.raises(ConfigError, match="nothing to measure"):
        speed.speed_report({}, {})
    with pytest.raises(ConfigError, match="batch=0: expected integers of at least 1"):
        speed.speed_report({"model": "a.pt", "batch": 0}, {})
