"""Comparisons on several datasets, variants that are dropped, and the command that repeats all of it."""

import json
import shlex
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.comparison.conftest import DETAILS, RECORD
from ultralytics import YOLO
from ultralytics.cfg.command import parse_words
from ultralytics.comparison import latency, report, statistics, training
from ultralytics.comparison.details import read_details
from ultralytics.comparison.ledger import Ledger, Records, dropped_variants
from ultralytics.comparison.run import DEFAULTS, command_line, compare_variants
from ultralytics.comparison.variants import read_variants
from ultralytics.utils.ap import RECALL_POINTS
from ultralytics.utils.errors import ConfigError


def test_gray_images_are_other_data(planned, data):
    [color] = planned()
    data.write_text(data.read_text(encoding="utf-8") + "channels: 1\n", encoding="utf-8")
    [gray] = planned()
    data.write_text(data.read_text(encoding="utf-8").replace("channels: 1", "channels: 3"), encoding="utf-8")
    assert gray.key != color.key == planned()[0].key


def test_every_dataset_has_runs_of_its_own(planned, data, network):
    """Also two of the same names and numbers of images, as folds are, which a key of one alone does not tell apart."""
    fold = data.with_name("fold.yaml")
    fold.write_bytes(data.read_bytes())
    runs = planned(seeds=[0, 1], data=[str(data), str(fold)])
    assert [(run.seed, run.data) for run in runs] == [(0, "data"), (0, "fold"), (1, "data"), (1, "fold")]
    assert {run.options.data for run in runs} == {str(data), str(fold)}
    assert len({run.key for run in runs}) == 2 and runs[0].key == planned()[0].key
    with pytest.raises(ConfigError, match="two are called data, which the report could not tell apart"):
        planned(data=[str(data), str(data)])


def test_folds_in_commands_of_their_own_are_not_taken_for_each_other(planned, study, data, tmp_path):
    """Their keys are equal, as those of results of earlier versions must stay: one results file refuses the second."""
    fold = data.with_name("fold.yaml")
    fold.write_bytes(data.read_bytes())
    [run], [other], ledger = planned(), planned(data=str(fold)), Ledger(tmp_path / "study.csv")
    assert run.key == other.key and run.name == other.name
    ledger.append(replace(RECORD, data="data", key=run.key))
    ledger.check_data([run])
    settings = study | {"models": [run.variant.model], "data": str(fold), "results": str(ledger.path)}
    with pytest.raises(
        ConfigError, match=r"study\.csv has runs on data, .* data=\[data\.yaml,fold\.yaml\], or another"
    ):
        compare_variants(settings)
    ledger.check_data(planned(data=[str(data), str(fold)]))
    folder = tmp_path / "runs" / run.name
    folder.mkdir(parents=True)
    (folder / "args.yaml").write_text(f"data: {data}\n", encoding="utf-8")
    [failure] = training.train_missing([other], Ledger(tmp_path / "other.csv"), study)
    assert failure.reason == f"{folder} is a run on data: give another project="


def test_options_name_a_variant_that_has_no_label():
    models = ["a.yaml", {"model": "a.yaml", "imgsz": 960}, {"model": "a.yaml", "iou_loss": "wiou3", "lr0": 0.1}]
    assert [v.label for v in read_variants(models)] == ["a", "a imgsz=960", "a iou_loss=wiou3 lr0=0.1"]


@given(st.dictionaries(st.integers(0, 5), st.floats(0, 1)), st.dictionaries(st.integers(0, 5), st.floats(0, 1)))
def test_a_variant_is_hopeless_only_where_each_of_the_first_seeds_says_so(values, base):
    """The first variant, with which it is compared, never is."""
    for first in ([0], [0, 1], [2, 3, 4]):
        scores = {"first": base, "other": values}
        places = [(label, seed) for seed in (*first, 5) for label in scores]
        runs = [SimpleNamespace(cell=("data", label), seed=seed, key=label, sources="") for label, seed in places]
        finished = [(label, seed, own[seed]) for label, own in scores.items() for seed in own]
        records = Records(replace(RECORD, key=label, seed=seed, map=score) for label, seed, score in finished)
        known = all(seed in values and seed in base for seed in first)
        hopeless = known and all(values[seed] < 0.9 * base[seed] for seed in first)
        assert dropped_variants(runs, len(first), records) == ({("data", "other")} if hopeless else set())


def test_a_dropped_variant_gets_no_more_seeds_and_no_verdict(planned, network, tmp_path, monkeypatch, caplog):
    """On the dataset where it is hopeless, and whoever trains what is left."""
    caplog.set_level("INFO")
    monkeypatch.setattr(latency, "ROUNDS", 1)
    scores = {"base": 0.5, "good": 0.46, "bad": 0.44}
    entries = [{"label": label, "model": str(network), "lr0": 0.01 + i / 100} for i, label in enumerate(scores)]
    runs, ledger = planned(*entries, seeds=[3, 1, 2]), Ledger(tmp_path / "study.csv")

    def finish(run, folder, settings):
        end = scores[run.variant.label] + run.seed / 1000
        record = replace(RECORD, name=run.variant.label, seed=run.seed, map=end, key=run.key)
        return training.Finished(record, b"", DETAILS)

    monkeypatch.setattr(training, "finish", finish)
    for _ in range(2):  # the same again finds nothing to do
        assert training.train_missing(runs, ledger, {"project": str(tmp_path)}, drop_after=1) == []
        assert [(r.name, r.seed) for r in ledger.read() if r.name == "bad"] == [("bad", 3)]
        assert len(ledger.read()) == 7
        assert "bad on data, seed 1: not trained, its variant is dropped" in caplog.text
    text = report.write_report(runs, ledger, tmp_path, drop_after=1).read_text(encoding="utf-8")
    assert "| bad | 3 (1 2 dropped) | 0.4430 | 0.7500 | -0.0600 | dropped |" in text
    assert "| good | 3 1 2 |" in text and "Not there yet" not in text and statistics.DROP_RULE.format(1) in text
    assert dropped_variants(runs, None, ledger.read()) == set()
    assert dropped_variants(runs, 1, ledger.read()) == {("data", "bad")}
    text = report.write_report(runs, ledger, tmp_path).read_text(encoding="utf-8")
    assert "Not there yet: bad on data, seed 1; bad on data, seed 2." in text and "| one seed: unknown |" in text


@pytest.mark.parametrize("wrong", [0, -1, True, 0.5, "never"])
def test_a_wrong_number_of_seeds_to_drop_after(wrong):
    with pytest.raises(ConfigError, match=r"drop_after=.*expected a number of seeds of at least 1"):
        compare_variants({"models": ["yolov8n.yaml"], "drop_after": wrong})


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
VALUES = st.recursive(
    st.booleans() | st.integers(-9, 999) | st.floats(-1, 1) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=25)  # each reads default.yaml
@given(VALUES)
def test_the_command_gives_the_settings_back(value):
    words = shlex.split(command_line({"models": value, "seeds": [0, 1], "only": "a", "epochs": 3}))
    assert words[:2] == ["yolo", "compare"]
    assert parse_words(words[2:], own=DEFAULTS) == ({"epochs": 3}, {"models": value, "seeds": [0, 1]})


def test_details_are_those_of_a_validation(planned, study, tmp_path):
    ledger, [run] = Ledger(tmp_path / "study.csv"), planned(epochs=1)
    assert training.train_missing([run], ledger, study | {"epochs": 1}) == []
    found = read_details(ledger.curves / f"{run.name}.json")
    metrics = YOLO(f"{study['project']}/{run.name}/weights/last.pt").val(device="cpu", plots=False, verbose=False)
    assert found.f1 == pytest.approx(metrics.box.f1.mean(), abs=1e-6)
    assert found.map75 == pytest.approx(metrics.box.map75, abs=1e-6)
    curve = np.interp(RECALL_POINTS, metrics.box.px, metrics.box.prec_values.mean(0))
    assert found.precision == pytest.approx(curve, abs=1e-6)
    assert found.by_size == {s: metrics.further[f"metrics/mAP50-95-{s}(B)"] for s in ("small", "medium", "large")}
    assert "NaN" not in json.dumps(found.precision) and read_details(tmp_path / "none.json") is None
