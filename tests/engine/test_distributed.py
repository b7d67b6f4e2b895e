"""Several processes train what one process would: the same samples, gradients, decisions and files."""

import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

import ultralytics
from tests.engine.processes import finish, start, train_runs, train_until_killed
from tests.engine.runs import assert_same_weights, untimed
from tests.tiny import NETWORK, draw_split
from tests.training import rectangle
from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.comparison.run import compare_variants
from ultralytics.engine import distributed
from ultralytics.engine.runtime import resolve_runtime
from ultralytics.engine.setup import step_memory
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import processes, torch_utils
from ultralytics.utils.errors import ConfigError, DeviceError, TrainingError
from ultralytics.utils.processes import share_of
from ultralytics.utils.torch_utils import select_device

ROOT = Path(ultralytics.__file__).parents[1]
HEADS = {"detect": "Detect, [nc]", "segment": "Segment, [nc, 8, 16]", "pose": "Pose, [nc, kpt_shape]"}
HEADS["obb"] = "OBB, [nc, 1]"
CLASSIFIER = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\n  - [-1, 1, DynamicConv, [16, 3, 2]]\nhead:\n"
ROUTER = "DynamicConv, [32, 3, 2, {standardize: True}]"  # its running statistics are of all processes
LOSSES = {"iou_loss": "wiou3", "cls_loss": "slide"}  # which take means over a batch


def write_task(folder: Path, task: str) -> dict[str, Any]:
    """Options of a short run of a task: eleven training images in batches of five leave one for the last."""
    folder.mkdir()
    if task == "classify":
        for split, number in (("train", 11), ("val", 9)):
            for i in range(number):
                path = folder / "data" / split / ("red" if i % 2 else "blue") / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.random.default_rng(i).integers(0, 255, (40, 48, 3), np.uint8))
        text, data = f"{CLASSIFIER}  - [-1, 1, Classify, [nc]]\n", folder / "data"
    else:

        def draw(rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
            corners, box = rectangle(rng)
            points = np.concatenate((corners[:3] / 64, np.full((3, 1), 2)), 1)
            return corners, {"detect": box, "pose": [*box, *points.ravel()]}.get(task, (corners / 64).ravel())

        draw_split(folder / "data", "train", 11, 0, 3, draw)
        draw_split(folder / "data", "val", 9, 1, 3, draw)
        data = folder / "data" / "data.yaml"
        names = "train: images/train\nval: images/val\nnames: [red, blue]\n"
        data.write_text(f"{names}kpt_shape: [3, 3]\nflip_idx: [1, 0, 2]\n", encoding="utf-8")
        text = "kpt_shape: [3, 3]" + NETWORK.replace("{head}", HEADS[task]).replace("DynamicConv, [32, 3, 2]", ROUTER)
    (folder / "dynamic.yaml").write_text(text, encoding="utf-8")
    plain = text.replace(ROUTER, "Conv, [32, 3, 2]").replace("DynamicConv", "Conv")
    (folder / "plain.yaml").write_text(plain, encoding="utf-8")
    shape = {"imgsz": 64, "batch": 5, "nbs": 5, "epochs": 2, "warmup_epochs": 0.0, "optimizer": "SGD"}
    fixed = {"workers": 0, "device": "cpu", "plots": False, "verbose": False, "val": False}
    return {"data": str(data), "project": str(folder / "runs"), "name": "exp"} | shape | fixed


def run_all(runs: dict[str, dict[str, Any]], folder: Path, *counts: int) -> list[dict[str, dict[str, Any]]]:
    """What the runs leave, trained by so many processes; the counts at the same time."""
    children, left = [], []
    for number in counts:
        (out := folder / f"of {number}").mkdir()
        own = {name: run | {"name": f"{name} of {number}"} for name, run in runs.items()}
        children += start(number, train_runs, own, out)
    assert finish(children) == [0] * sum(counts)
    for number in counts:
        files = {name: folder / f"of {number}" / f"{name}.pt" for name in runs}
        left.append({name: torch.load(file, weights_only=False) for name, file in files.items()})
    return left


def unlike(one: dict[str, Any], several: dict[str, Any]) -> float:
    """Largest difference between the weights of two runs, relative to the norm of each tensor."""
    assert one["steps"] == several["steps"] and one["weights"].keys() == several["weights"].keys()
    pairs = [(weight.double(), several["weights"][name].double()) for name, weight in one["weights"].items()]
    return max(float((a - b).norm() / a.norm()) if a.any() else float(b.abs().max()) for a, b in pairs)


def test_two_processes_learn_what_one_does(tmp_path):
    """Plain networks with a step a batch, dynamic ones with one in three."""
    runs = {}
    for task in ("detect", "classify"):
        options = write_task(tmp_path / task, task)
        runs[task] = options | {"model": str(tmp_path / task / "plain.yaml")}
        runs[f"{task}, dynamic"] = options | {"model": str(tmp_path / task / "dynamic.yaml"), "nbs": 15}
    of_one, of_two = run_all(runs, tmp_path, 1, 2)
    for name in runs:
        assert unlike(of_one[name], of_two[name]) <= 1e-5
    one, two = (Path(runs["detect"]["project"]) / f"detect of {n}" for n in (1, 2))
    kept = [sorted(p.name for p in run.rglob("*") if "events" not in p.name) for run in (one, two)]
    assert kept[0] == kept[1]  # one set of files, with the same numbers
    for row, other in zip(untimed(one), untimed(two), strict=True):
        assert [float(v or 0) for v in other.values()] == pytest.approx([float(v or 0) for v in row.values()], rel=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb", "classify"])
def test_two_and_three_processes_are_like_one_after_twenty_steps(tmp_path, task):
    """A step in each batch or in three of them, the last of one image; and what the same weights are found to be."""
    options, networks, runs = write_task(folder := tmp_path / task, task), ("plain", "dynamic"), {}
    for network, (accumulate, epochs) in itertools.product(networks, ((1, 7), (3, 20))):
        own = {"model": str(folder / f"{network}.yaml"), "nbs": 5 * accumulate, "epochs": epochs, "save": False}
        runs[f"{network}, step in {accumulate}"] = options | own
    learn = {"epochs": 15, "optimizer": "AdamW", "lr0": 0.01, "mosaic": 0.0, "name": "learned"}
    for network in networks:
        (model := YOLO(folder / f"{network}.yaml")).train(**options | learn)
        still = {"epochs": 1, "lr0": 0.0, "warmup_bias_lr": 0.0, "batch": 4}
        runs[f"{network}, measured"] = options | still | {"model": str(model.trainer.best)}
    one, *others = run_all(runs, tmp_path, 1, 2, 3)
    for several, (name, run) in itertools.product(others, one.items()):
        if name.endswith("measured"):
            assert several[name]["metrics"] == pytest.approx(run["metrics"], rel=1e-6) and any(run["metrics"].values())
        else:
            assert run["steps"] >= 20 and unlike(run, several[name]) <= 1e-5, name


@pytest.mark.long
def test_two_and_three_processes_measure_norms_and_images_as_one_does(tmp_path):
    """Losses with means over a batch; norms that are synchronized; each image measured once, to the last detection."""
    options = write_task(folder := tmp_path / "detect", "detect")
    learn = {"epochs": 15, "optimizer": "AdamW", "lr0": 0.01, "mosaic": 0.0, "name": "learned"}
    (model := YOLO(folder / "dynamic.yaml")).train(**options | learn)
    still = {"epochs": 1, "lr0": 0.0, "warmup_bias_lr": 0.0, "batch": 4}  # weights that find something stay as they are
    files = {"plots": True, "save_json": True, "save_txt": True}
    runs = {
        "losses": options | LOSSES | {"model": str(folder / "dynamic.yaml")},
        "norms": options | {"model": str(folder / "plain.yaml"), "sync_bn": True, "batch": 4, "nbs": 4},
        "images": options | still | files | {"model": str(model.trainer.best)},
    }
    one, *others = run_all(runs, tmp_path, 1, 2, 3)
    assert one["images"]["metrics"]["metrics/mAP50(B)"] > 0
    assert one["norms"]["weights"]["model.0.bn.running_mean"].any()
    for several in others:
        assert unlike(one["losses"], several["losses"]) <= 1e-5
        assert unlike(one["norms"], several["norms"]) <= 1e-4
        assert several["images"]["metrics"] == pytest.approx(one["images"]["metrics"], rel=1e-6)
        for name, parts in one["images"]["stats"].items():
            for part, other in zip(parts, several["images"]["stats"][name], strict=True):
                np.testing.assert_allclose(other, part, rtol=1e-5)
    alone, *runs = (Path(options["project"]) / f"images of {n}" for n in (1, 2, 3))
    assert_same_files(alone, *runs)


def assert_same_files(alone: Path, *runs: Path) -> None:
    """Files that list or draw all images of a validation, whoever has measured them."""
    rows, labels = json.loads((alone / "predictions.json").read_text()), sorted(alone.glob("labels/*.txt"))
    assert rows and labels
    for run in runs:
        assert (run / "errors.csv").read_text() == (alone / "errors.csv").read_text()
        assert sorted(path.name for path in run.glob("labels/*.txt")) == [path.name for path in labels]
        for row, other in zip(rows, json.loads((run / "predictions.json").read_text()), strict=True):
            assert other["file_name"] == row["file_name"] and other["bbox"] == pytest.approx(row["bbox"], abs=0.01)
        for name in ("errors.png", "routing.png"):
            drawn, other = (cv2.imread(str(folder / name)).astype(int) for folder in (alone, run))
            assert abs(drawn - other).mean() < 1


@pytest.mark.long
def test_a_run_whose_process_is_killed_ends_and_resumes_exactly(tmp_path, caplog):
    """With norms that learn and gradients that are pending; another number of processes goes on, too, and says so."""
    options = write_task(folder := tmp_path / "detect", "detect")
    options |= {"model": str(folder / "dynamic.yaml"), "nbs": 15, "epochs": 3, "frozen": False}
    whole = start(2, train_runs, {"whole": options | {"name": "whole"}}, tmp_path)
    assert finish(whole) == [0, 0]
    del options["frozen"]
    codes = finish(start(2, train_until_killed, options | {"name": "killed"}), seconds=200)
    assert codes == [1, -9]
    runs = Path(options["project"])
    shutil.copytree(runs / "killed", runs / "alone")
    last = runs / "killed" / "weights" / "last.pt"
    resumed = start(2, train_runs, {"resumed": {"model": str(last), "resume": True, "frozen": False}}, tmp_path)
    assert finish(resumed) == [0, 0]
    assert_same_weights(runs / "whole" / "weights" / "last.pt", last)
    assert untimed(runs / "whole") == untimed(runs / "killed")
    YOLO(runs / "alone" / "weights" / "last.pt").train(resume=True)
    assert "the run had 2 processes and continues with 1" in caplog.text
    assert len(untimed(runs / "alone")) == 3


SCRIPT = """
import os
import torch
from ultralytics import YOLO
from ultralytics.utils.errors import TrainingError
def fail(trainer):
    if os.environ["RANK"] == "1":
        raise (ValueError if trainer.args.name == "exp" else torch.OutOfMemoryError)("no luck with exp")
model = YOLO({model!r})
model.add_callback("on_train_epoch_end", fail)
try:
    model.train(**{options!r})
except TrainingError as exc:
    print("caught", exc)
model.train(**{options!r} | {{"name": "second"}})
"""


@pytest.mark.long
def test_device_runs_the_script_in_processes_and_says_why_one_failed(tmp_path):
    options = write_task(folder := tmp_path / "detect", "detect") | {"device": "cpu,cpu"}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(model=str(folder / "plain.yaml"), options=options), encoding="utf-8")
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 1
    # Of the script, and of two processes in the second call; in that one no batch is halved, as the others go on.
    assert found.stdout.count("caught process 1 of 2: ValueError: no luck with exp\n") == 3
    last = "process 1 of 2: TrainingError: CUDA out of memory at batch=5, imgsz=64: reduce one of them"
    assert found.stderr.rstrip().endswith(f"TrainingError: {last}")
    runs = folder / "runs"
    assert all((runs / name / "weights" / "last.pt").exists() for name in ("exp", "second"))
    assert not (runs / "exp2").exists()


@pytest.mark.long
def test_ctrl_c_ends_processes_as_it_ends_one(tmp_path):
    options = write_task(folder := tmp_path / "detect", "detect") | {"device": "cpu,cpu", "epochs": 500}
    words = [f"{name}={value}" for name, value in (options | {"model": folder / "plain.yaml"}).items()]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    run = subprocess.Popen([sys.executable, ROOT / "train.py", *words], **pipes)
    while not (folder / "runs" / "exp" / "results.csv").exists():
        assert run.poll() is None
        time.sleep(0.1)
    run.send_signal(signal.SIGINT)
    log, said = run.communicate(timeout=60)
    assert run.returncode == 1 and said.strip() == "interrupted"
    assert "interrupted in epoch " in log and f"resume={folder / 'runs' / 'exp' / 'weights' / 'last.pt'}" in log


def test_the_script_goes_on_with_what_the_processes_left(monkeypatch, tmp_path):
    """`launch` is replaced by a process that leaves the result of a run."""
    options = write_task(folder := tmp_path / "detect", "detect")
    (trained := YOLO(folder / "plain.yaml")).train(**options)

    def launch(processes):
        assert processes == 2
        (tmp_path / "0").write_bytes(pickle.dumps((trained.trainer.best, trained.metrics)))

    monkeypatch.setattr(distributed, "launch", launch)
    monkeypatch.setattr(distributed, "results", lambda: SimpleNamespace(name=str(tmp_path)))
    monkeypatch.setattr(distributed, "_calls", itertools.count())
    model = YOLO(folder / "plain.yaml")
    metrics = model.train(**options | {"device": ["cpu", "cpu"]})
    assert metrics.results_dict == trained.metrics.results_dict
    assert model.ckpt_path == trained.trainer.best and model.has_weights


def test_processes_of_a_second_call_meet_the_failure_of_the_first_one(monkeypatch, tmp_path):
    """They run the whole script: what it caught in the first call is raised there again, and not trained again."""

    def launch(processes):
        raise TrainingError("process 1 of 2: no luck")

    monkeypatch.setattr(distributed, "launch", launch)
    monkeypatch.setattr(distributed, "results", lambda: SimpleNamespace(name=str(tmp_path)))
    for folder in (None, str(tmp_path)):  # the script itself; a process of it
        monkeypatch.setattr(distributed, "_calls", itertools.count())
        if folder:
            monkeypatch.setenv(distributed.RESULTS, folder)
        with pytest.raises(TrainingError, match="process 1 of 2: no luck"):
            distributed.in_processes("cpu,cpu", True, lambda: pytest.fail("it runs again"))


def test_signals_and_the_environment_are_what_they_were(monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    with distributed.unchanged():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        monkeypatch.setenv("LEFT_BY_TORCHRUN", "1")
    assert signal.getsignal(signal.SIGINT) is before and "LEFT_BY_TORCHRUN" not in os.environ


def test_the_batch_that_fits_is_measured_without_the_other_processes(monkeypatch):
    """Their memory may run out earlier: a router that waited for them would wait forever."""
    pair = {"is_initialized": True, "get_rank": 0, "get_world_size": 2}
    for name, value in pair.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda *_: pytest.fail("it waits for another process"))
    for name in ("reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 7)
    text = NETWORK.replace("{head}", HEADS["detect"]).replace("DynamicConv, [32, 3, 2]", ROUTER)
    model = DetectionModel(yaml.safe_load(text), verbose=False)
    assert step_memory(model, 2, 32, resolve_runtime(get_options(), torch.device("cpu"))) == 7


def test_an_error_of_the_first_process_lets_the_others_go_on(monkeypatch):
    waited = []
    monkeypatch.setattr(torch_utils, "process_rank", lambda: (0, 2))
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waited.append(True))
    with pytest.raises(OSError, match="the disk is full"), torch_utils.torch_distributed_zero_first(0):
        raise OSError("the disk is full")
    assert waited == [True]


@pytest.mark.parametrize(
    ("device", "options", "error", "reason"),
    [
        ("0,1", {}, DeviceError, "device=0: "),  # what one GPU that is not there says
        ("cpu,cpu", {"save": False}, ConfigError, "save=False: the processes of device=cpu,cpu leave nothing"),
        ("cpu,gpu", {}, DeviceError, "expected an index such as 0"),
    ],
)
def test_mistakes_are_told_before_any_process_starts(monkeypatch, tmp_path, device, options, error, reason):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(distributed, "launch", lambda processes: pytest.fail("processes were started"))
    options = write_task(tmp_path / "detect", "detect") | {"device": device} | options
    with pytest.raises(error, match=reason):
        YOLO(tmp_path / "detect" / "plain.yaml").train(**options)


def test_a_gpu_is_named_once(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)
    distributed.check_devices("0,1")
    with pytest.raises(DeviceError, match="device=1,1: 1 is named twice"):
        distributed.check_devices("1,1")


@pytest.mark.parametrize("device", ["0", None, "0,1"])
def test_processes_of_torchrun_take_a_gpu_each(monkeypatch, device):
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_arch_list", list)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for rank in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert select_device(device) == torch.device("cuda", rank)


def test_parameters_that_no_loss_depends_on_are_named_once_and_stay(monkeypatch, caplog):
    """Two processes that have the same gradients."""
    monkeypatch.setattr(processes, "process_rank", lambda: (0, 2))
    monkeypatch.setattr(processes, "mean_over_processes", lambda value: value)
    model = torch.nn.ModuleDict({"model": torch.nn.ModuleList([torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)])})
    for _ in range(2):
        model["model"][0](torch.ones(1, 2)).sum().backward()
        found = processes.average_gradients(model)
    assert set(found) == {"model.0.weight", "model.0.bias"} and found["model.0.weight"].tolist() == [[2, 2]]
    assert model["model"][1].weight.grad is None
    assert caplog.text.count("which stay as they are: row 1: weight, bias") == 1


def test_a_comparison_trains_on_one_device(tmp_path):
    with pytest.raises(ConfigError, match="a comparison trains on one device"):
        compare_variants({"models": ["yolov8n.yaml"], "device": "0,1", "project": str(tmp_path)})


@given(images=st.integers(0, 40), processes=st.integers(1, 9))
def test_shares_are_the_whole_batch_and_differ_by_one_at_most(images, processes):
    shares = [list(range(images))[share_of(images, rank, processes)] for rank in range(processes)]
    assert [i for share in shares for i in share] == list(range(images))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
