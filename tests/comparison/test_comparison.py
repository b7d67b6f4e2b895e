"""compare.py: equal conditions, nothing trained twice, no line lost, and differences a textbook would agree with."""

import csv
import runpy
import subprocess
import sys
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from tests.comparison.conftest import DETAILS, RECORD
from tests.engine.runs import assert_same_weights, untimed
from ultralytics import YOLO
from ultralytics.comparison import latency, report, sources, statistics, training
from ultralytics.comparison.ledger import COLUMNS, Ledger, Records, run_name
from ultralytics.comparison.variants import choose, plan_runs, read_variants
from ultralytics.engine.loggers import ResultsTable
from ultralytics.utils.errors import CheckpointError, ConfigError
from ultralytics.utils.files import load_yaml, parse_value

ROOT = Path(__file__).parents[2]


def test_entries():
    names = ["a.yaml", {"label": "b", "model": "a.yaml", "lr0": 0.002}]
    assert [(v.label, v.model, v.own) for v in read_variants(names)] == [
        ("a", "a.yaml", {}),
        ("b", "a.yaml", {"lr0": 0.002}),
    ]
    assert [v.label for v in read_variants({"x": "a.yaml", "y": {"model": "a.yaml"}})] == ["x", "y"]
    assert [v.label for v in choose(read_variants({"x": "a.yaml", "y": "b.yaml"}), "y")] == ["y"]


@pytest.mark.parametrize(
    ("models", "error", "words"),
    [
        ([], ConfigError, "expected a list of networks"),
        (["a.yaml", "b/a.yaml"], ConfigError, "two have the label a"),
        ([{"label": "x"}], ConfigError, "names no network"),
        (["a.pt"], ConfigError, "a.pt is no model YAML"),
        (["a.yaml+gone.pt"], CheckpointError, "gone.pt, which does not exist"),
        ([{"model": "a.yaml", "seed": 3}], ConfigError, "has a seed of its own"),
        ([{"model": "a.yaml", "lr00": 3}], ConfigError, "a.yaml.*lr00"),
    ],
)
def test_wrong_entries(models, error, words):
    with pytest.raises(error, match=words):
        read_variants(models)


def test_wrong_seeds_and_labels(planned):
    with pytest.raises(ConfigError, match=r"seeds=.*integers"):
        planned(seeds=["a"])
    with pytest.raises(ConfigError, match=r"data=\[\]: expected the path of a dataset YAML"):
        planned(data=[])
    with pytest.raises(ConfigError, match="only=b: none of the models has that label, the nearest: a"):
        choose(read_variants("a.yaml"), "b")


def test_what_makes_another_run(planned, network, data, tmp_path):
    """The key changes with all that the result depends on and with nothing else."""
    [run] = planned()
    for same in ({"workers": 2}, {"device": "0"}, {"project": "elsewhere"}, {"plots": True}):
        assert planned(**same)[0].key == run.key
    for other in ({"imgsz": 96}, {"epochs": 3}, {"lr0": 0.02}, {"mosaic": 0.0}, {"optimizer": "Adam"}, {"nbs": 8}):
        assert planned(**other)[0].key != run.key
    keys = {planned({"label": "a", "model": str(network), "lr0": 0.02})[0].key, run.key}
    network.write_text(network.read_text(encoding="utf-8").replace("[32, 3, 2]", "[48, 3, 2]"), encoding="utf-8")
    keys.add(planned()[0].key)
    (data.parent / "images" / "val" / "00.png").unlink()
    keys.add(planned()[0].key)
    YOLO(network).save(tmp_path / "start.pt")
    keys.add(planned(f"{network}+{tmp_path / 'start.pt'}")[0].key)
    assert len(keys) == 5


def test_options_of_other_tasks_make_another_run_where_they_are_given(planned):
    [run] = planned(task="detect")
    assert planned(mask_ratio=4, pose=12.0)[0].key == run.key
    for other in ({"mask_ratio": 2}, {"overlap_mask": False}, {"copy_paste": 0.5}, {"angle": 2.0}):
        assert planned(**other)[0].key != run.key


def test_losses_are_variants(study, network):
    models = parse_value(f"{{ciou: {network}, wiou: {{model: {network}, iou_loss: wiou3}}}}")
    variants = read_variants(models)
    assert [(v.label, v.own) for v in variants] == [("ciou", {}), ("wiou", {"iou_loss": "wiou3"})]
    plain, wise = plan_runs(variants, [0], study)
    assert (plain.key, wise.options.iou_loss) == ("48a8f132", "wiou3") and wise.key != plain.key
    with pytest.raises(ConfigError, match="iou_loss=wiou: expected"):
        plan_runs(read_variants({"a": {"model": str(network), "iou_loss": "wiou"}}), [0], study)


def test_classifiers_have_no_boxes_to_rank_by(planned):
    with pytest.raises(ConfigError, match=r"yolov8n-cls\.yaml is for classify; compare\.py ranks by the mAP of boxes"):
        planned("yolov8n-cls.yaml")


def test_runs_of_today_are_found_tomorrow(planned):
    """Where this fails, every results file has to be made anew: an option of CONDITIONS got another name or default."""
    assert planned()[0].key == "48a8f132"


def test_runs_are_seed_by_seed(planned, network, data):
    runs = planned({"label": "a", "model": str(network)}, {"label": "b", "model": str(network)}, seeds=[5, 3])
    assert [str(run) for run in runs] == [f"{v} on data, seed {s}" for s in (5, 3) for v in "ab"]
    assert len({run.name for run in runs}) == 4 and len({run.key for run in runs}) == 1
    assert {run.data for run in runs} == {data.parent.name}
    file = data.with_name("shapes-hard.yaml")
    file.write_bytes(data.read_bytes())
    assert planned(data=str(file))[0].data == "shapes-hard"
    assert run_name("8 experts/new", 1, "ab") == "8_experts_new-seed1-ab"


def test_the_file_gives_back_what_was_written(tmp_path):
    ledger = Ledger(tmp_path / "new" / "study.csv")
    assert ledger.read() == []
    records = [RECORD, replace(RECORD, name='a, "quoted" 名', seed=1), replace(RECORD, map=0.6)]
    for record in records:
        ledger.append(record)
    assert ledger.read() == records[:2]  # of a run that is there twice the first
    assert ledger.path.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)


def test_broken_lines_are_named_and_harm_no_other(tmp_path, caplog):
    ledger = Ledger(tmp_path / "study.csv")
    ledger.append(RECORD)
    with ledger.path.open("a") as file:
        file.write(ledger.path.read_text().splitlines()[1].replace("0.75", "nan") + "\nnet,net.ya")
    ledger.append(replace(RECORD, seed=1))
    assert [record.seed for record in ledger.read()] == [0, 1]
    assert "line 3: not a complete record (a number is not finite)" in caplog.text
    assert "line 4: not a complete record (2 of 25 columns)" in caplog.text


def test_another_table_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("epoch,time\n1,2\n")
    with pytest.raises(ConfigError, match="its first line is 'epoch,time'"):
        Ledger(tmp_path / "other.csv").read()


APPEND = """
import sys
from dataclasses import replace
from ultralytics.comparison.ledger import Ledger, Record
for seed in range(int(sys.argv[2]), int(sys.argv[2]) + 40):
    Ledger(sys.argv[1]).append(replace(Record(*{record!r}), seed=seed))
"""
HOLD = """
import sys
from filelock import FileLock
lock = FileLock(sys.argv[1]).acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_two_processes_append_to_one_file(tmp_path):
    path, code = tmp_path / "study.csv", APPEND.format(record=astuple(RECORD))
    commands = [[sys.executable, "-c", code, str(path), str(start)] for start in (0, 40)]
    children = [subprocess.Popen(command, cwd=ROOT) for command in commands]
    assert [child.wait() for child in children] == [0, 0]
    assert sorted(record.seed for record in Ledger(path).read()) == list(range(80))


def test_a_run_is_trained_once_and_measured_after_its_last_epoch(planned, study, tmp_path):
    ledger, [run] = Ledger(tmp_path / "study.csv"), planned()
    assert training.train_missing([run], ledger, study) == []
    [record] = ledger.read()
    folder = Path(study["project"]) / run.name
    rows = untimed(folder)
    scores = [float(row["metrics/mAP50-95(B)"]) for row in rows]
    assert (record.map, record.best_map) == (scores[-1], max(scores)) and record.best_epoch == 1 + int(
        np.argmax(scores)
    )
    assert (record.name, record.data, record.imgsz, record.epochs, record.key) == ("tiny", "data", "64", 2, run.key)
    trained = YOLO(folder / "weights" / "last.pt").model
    assert (record.parameters, record.gflops) == (
        sum(p.numel() for p in trained.parameters()), pytest.approx(trained.info(verbose=False, imgsz=64)[3], rel=1e-5)
    )  # fmt: skip
    kept = ledger.curves / f"{run.name}.csv"
    assert kept.read_bytes() == (folder / "results.csv").read_bytes()
    before = kept.stat().st_mtime_ns
    assert training.train_missing([run], ledger, study) == []
    assert len(ledger.read()) == 1 and kept.stat().st_mtime_ns == before
    assert str(tmp_path) not in ledger.path.read_text(encoding="utf-8")


def test_weights_and_options_of_one_variant(planned, network, study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    YOLO(network).save("start.pt")
    warm = {"label": "warm", "model": str(network), "pretrained": "start.pt", "lr0": 0.002}
    runs, ledger = planned(str(network), warm, epochs=1), Ledger(tmp_path / "study.csv")
    assert training.train_missing(runs, ledger, study | {"epochs": 1}) == []
    cold, warm = ledger.read()
    assert (cold.weights, cold.own, cold.lr0) == ("", "", 0.01)
    assert (warm.weights, warm.own, warm.lr0) == ("start.pt", "lr0=0.002", 0.002)
    options = [load_yaml(Path(study["project"]) / run.name / "args.yaml") for run in runs]
    assert [(o["pretrained"], o["lr0"]) for o in options] == [(False, 0.01), ("start.pt", 0.002)]


def test_a_killed_run_goes_on_and_equals_one_left_alone(planned, study, tmp_path, monkeypatch):
    ledger, [run] = Ledger(tmp_path / "study.csv"), planned(epochs=3)
    settings = study | {"epochs": 3}
    assert training.train_missing([run], ledger, settings | {"project": str(tmp_path / "whole")}) == []

    def die_in_epoch_2(table, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        add(table, row)

    add = ResultsTable.add
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ResultsTable, "add", die_in_epoch_2)
        training.train_missing([run], Ledger(tmp_path / "other.csv"), settings)
    folder = Path(study["project"]) / run.name
    assert training.status(folder / "weights" / "last.pt") == "interrupted"
    assert training.train_missing([run], Ledger(tmp_path / "other.csv"), settings) == []
    assert_same_weights(folder / "weights" / "last.pt", tmp_path / "whole" / run.name / "weights" / "last.pt")
    assert len(Ledger(tmp_path / "other.csv").read()) == 1


def test_a_run_whose_line_was_not_written_is_not_trained_again(planned, study, tmp_path, monkeypatch):
    ledger, [run] = Ledger(tmp_path / "study.csv"), planned(epochs=1)
    settings = study | {"epochs": 1}
    training.train_missing([run], ledger, settings)
    written = ledger.read()
    ledger.path.unlink()
    monkeypatch.setattr(YOLO, "train", None)
    assert training.train_missing([run], ledger, settings) == []
    assert replace(ledger.read()[0], date=written[0].date) == written[0]


def test_damaged_weights_are_trained_anew(planned, study, tmp_path, caplog):
    ledger, [run] = Ledger(tmp_path / "study.csv"), planned(epochs=1)
    last = Path(study["project"]) / run.name / "weights" / "last.pt"
    last.parent.mkdir(parents=True)
    last.write_bytes(b"half")
    assert training.train_missing([run], ledger, study | {"epochs": 1}) == []
    assert "the run starts again" in caplog.text and len(ledger.read()) == 1


def test_what_another_process_is_at_is_left_to_it(planned, study, tmp_path, monkeypatch):
    [run] = planned()
    folder = Path(study["project"]) / run.name
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", HOLD, str(folder / ".claim.lock")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    monkeypatch.setattr(YOLO, "train", None)
    monkeypatch.setattr(training, "PATIENCE", 0.1)
    assert training.train_missing([run], Ledger(tmp_path / "study.csv"), study) == []
    assert not (tmp_path / "study.csv").exists()
    child.communicate()


def test_a_mistake_in_one_does_not_stop_the_others(planned, network, study, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(network.read_text(encoding="utf-8").replace("DynamicConv", "DynamikConv"), encoding="utf-8")
    runs = planned(str(wrong), str(network), epochs=1)
    ledger = Ledger(tmp_path / "study.csv")
    [failure] = training.train_missing(runs, ledger, study | {"epochs": 1})
    assert str(failure).startswith("wrong on data, seed 0: ") and "DynamikConv" in failure.reason
    assert [record.name for record in ledger.read()] == ["tiny"]


def test_whatever_goes_wrong_in_one_costs_the_others_nothing(planned, network, tmp_path, monkeypatch, caplog):
    """Errors of a block or of torch, too: the others are trained, measured and reported on."""

    def finish(run, folder, settings):
        if run.variant.label == "wrong":
            raise RuntimeError("out of memory")
        return training.Finished(replace(RECORD, name=run.variant.label, seed=run.seed, key=run.key), b"", DETAILS)

    monkeypatch.setattr(training, "finish", finish)
    monkeypatch.setattr(latency, "ROUNDS", 1)
    entries = [{"label": "wrong", "model": str(network), "lr0": 0.1}, {"label": "a | b", "model": str(network)}]
    runs, ledger = planned(*entries), Ledger(tmp_path / "study.csv")
    failures = training.train_missing(runs, ledger, {"project": str(tmp_path)})
    assert [str(failure) for failure in failures] == ["wrong on data, seed 0: RuntimeError: out of memory"]
    assert "Traceback" in caplog.text  # not a mistake that a sentence explains
    text = report.write_report(runs, ledger, tmp_path, failures).read_text(encoding="utf-8")
    assert (
        "Could not be trained: wrong on data, seed 0: RuntimeError: out of memory." in text
        and "Not there yet" not in text
    )
    row = next(line for line in text.splitlines() if line.startswith(r"| a \| b | 0 |"))
    ms = [float(cell) for cell in row.split(" | ")[-3:-1]]
    assert len(ms) == 2 and min(ms) > 0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=40),
)
def test_differences_against_scipy(pairs):
    mine, base = (dict(enumerate(values)) for values in zip(*pairs, strict=True))
    found = statistics.compare({**mine, 99: 1.0}, {**base, 98: 0.0})
    differences = np.subtract(list(mine.values()), list(base.values()))
    assert found.summary.mean == pytest.approx(differences.mean(), abs=1e-12)
    assert found.summary.spread == pytest.approx(differences.std(ddof=1), abs=1e-12)
    error = stats.sem(differences)
    if error < 1e-9 or len(pairs) > 31:
        return
    t, p = stats.ttest_rel(list(mine.values()), list(base.values()))
    same_sign = abs(np.sign(differences).sum()) == len(differences)
    if min(abs(abs(t) - 2), abs(p - 0.05)) > 1e-3:
        clear = same_sign and p < 0.05 and abs(t) >= 2
        assert (found.verdict in ("better", "worse")) == clear
        assert (found.verdict == "within noise") == (not same_sign or abs(t) < 2)


def test_verdicts():
    def verdict(*differences):
        return statistics.compare(dict(enumerate(differences)), dict.fromkeys(range(9), 0.0)).verdict

    assert verdict(0.01, 0.011, 0.012) == "better"
    assert verdict(-0.01, -0.011, -0.012) == "worse"
    assert verdict(0.002, 0.006, 0.009) == "perhaps better"  # t = 2.8, under the 4.3 of three seeds
    assert verdict(0.01, 0.02, -0.001) == "within noise"
    assert verdict(0.001, 0.001, 0.03) == "within noise"  # all above, but mostly one seed's doing
    assert verdict(0.5) == "one seed: unknown"
    assert statistics.compare({0: 1.0}, {1: 1.0}) is None


def test_t_quantiles():
    np.testing.assert_allclose(statistics.T975, stats.t.ppf(0.975, np.arange(1, 31)), atol=6e-5)


def test_the_report(reported):
    runs, ledger, folder = reported
    text = report.write_report(runs, ledger, folder).read_text(encoding="utf-8")
    difference = np.array((0.03, 0.025, 0.03))
    assert f"| {difference.mean():+.4f} ± {difference.std(ddof=1):.4f} | better |" in text
    assert "| first | 0 1 2 | 0.5100 ± 0.0100 | 0.7500 ± 0.0000 | – |" in text and "Not there yet" not in text
    with (folder / "compare.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert float(second["difference"]) == pytest.approx(difference.mean(), rel=1e-5) and first["difference"] == ""
    assert float(second["mAP50-95_spread"]) == pytest.approx(np.std((0.53, 0.545, 0.54), ddof=1), rel=1e-5)
    assert float(first["ms_batch1"]) > 0 and float(second["ms_batch8"]) > 0
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_latency_is_measured_once(reported, monkeypatch):
    runs, ledger, folder = reported
    report.write_report(runs, ledger, folder)
    before = (folder / "compare.csv").read_bytes()
    monkeypatch.setattr(latency, "measure_interleaved", None)
    report.write_report(runs, ledger, folder)
    assert (folder / "compare.csv").read_bytes() == before


def test_a_report_before_all_runs_are_there(reported, planned, network, caplog):
    _, ledger, folder = reported
    entries = [{"label": "first", "model": str(network)}, {"label": "third", "model": str(network), "lr0": 0.03}]
    runs = planned(*entries, seeds=[0, 1, 2, 3])
    (ledger.curves / f"{runs[0].name}.csv").unlink()
    text = report.write_report(runs, ledger, folder).read_text(encoding="utf-8")
    assert "| third | – | – | – | – |" in text and "third on data, seed 3" in text.partition("Not there yet")[2]
    assert "this run has no curve" in caplog.text and not (ledger.curves / "latency.csv").exists()


def test_the_script(network, study, tmp_path, monkeypatch, capsys):
    words = [f"{name}={value}" for name, value in study.items()]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(latency, "ROUNDS", 1)
    monkeypatch.setattr(sys, "argv", ["compare.py", f"models={{a: {network}}}", "seeds=[0]", "results=s.csv", *words])
    runpy.run_path(str(ROOT / "compare.py"), run_name="__main__")
    assert "| a | 0 |" in capsys.readouterr().out and len(Ledger("s.csv").read()) == 1
    assert (Path(study["project"]) / "compare.png").exists()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "seeds=[0,1]", "train=False"])
    runpy.run_path(str(ROOT / "compare.py"), run_name="__main__")
    assert "Not there yet: a on data, seed 1." in capsys.readouterr().out and len(Ledger("s.csv").read()) == 1


def test_results_of_an_edited_block_are_not_its_own(planned, tmp_path):
    [run], ledger = planned(), Ledger(tmp_path / "results.csv")
    mine = replace(RECORD, key=run.key, version=f"0.1.0 abc123 torch 2 code {run.sources}")
    assert mine.sources == run.sources and not RECORD.sources
    before = replace(mine, version="0.1.0 code 00000000", map=0.1)
    ledger.append(before)
    assert ledger.read().of(run) is None
    for _ in range(2):  # a line each
        ledger.append(mine)
    assert ledger.read().of(run) == mine and len(ledger.read()) == 2
    assert (
        Records([before, replace(mine, version="0.1.0 torch 2")]).of(run).version == "0.1.0 torch 2"
    )  # of an earlier release
    assert run.name.endswith(f"-{run.key}-{run.sources}")


def test_what_counts_as_the_code_of_a_network(planned, network, monkeypatch):
    """Code of the layers that it has, nested ones too, and of the loss; not comments, nor blocks of other networks."""
    code = "class A:\n    def f(self):\n        return {}\n"
    assert sources.digest([code.format(1)]) != sources.digest([code.format(2)])
    same = '"""A file."""\n' + code.format("(1)  # one").replace("A:\n", 'A:\n    """A class."""\n\n')
    assert sources.digest([same, "x = 1"]) == sources.digest(["x=1", code.format(1)])
    [run] = planned()
    texts, read = [], sources.code_of
    monkeypatch.setattr(sources, "code_of", lambda cls: texts.append(cls) or read(cls))
    assert sources.sources(str(network), run.options) == run.sources
    assert {"DynamicConv", "Conv", "Detect", "DFL"} <= {cls.__name__ for cls in texts}
    assert not {"Pose", "DetectionModel"} & {cls.__name__ for cls in texts}
    monkeypatch.setattr(sources, "code_of", lambda cls: read(cls) + ("\nedited = 1" if cls.__name__ == "DFL" else ""))
    assert sources.sources(str(network), run.options) != run.sources
    monkeypatch.undo()
    assert planned(iou_loss="giou")[0].sources != run.sources  # which needs other functions
    network.write_text(network.read_text(encoding="utf-8").replace("DynamicConv", "Conv"), encoding="utf-8")
    assert sources.sources(str(network), run.options) != run.sources
    before = sources.sources(str(network), run.options)
    other = network.with_name("loss.py")
    other.write_text("loss = 1", encoding="utf-8")
    monkeypatch.setattr(sources.end_to_end, "__file__", str(other))
    assert sources.sources(str(network), run.options) == before  # Detect has one set of branches
    network.write_text(network.read_text(encoding="utf-8").replace("Detect", "v10Detect"), encoding="utf-8")
    edited = sources.sources(str(network), run.options)
    monkeypatch.undo()
    assert sources.sources(str(network), run.options) != edited
