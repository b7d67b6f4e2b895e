"""train.py, val.py and detect.py as a user runs them, mistakes included."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.engine.runs import rows_of
from ultralytics import YOLO
from ultralytics.engine.trainer import BaseTrainer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(tmp_path, monkeypatch, capsys):
    """`script("train.py", "epochs=1")` in tmp_path: what it printed; the sentence it ended with, or None."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("YOLO_TRACEBACK", raising=False)

    def run(name: str, *words: str) -> tuple[str, str | None]:
        monkeypatch.setattr(sys, "argv", [name, *words])
        sentence = None
        try:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        except SystemExit as end:
            sentence = str(end.code)
        return capsys.readouterr().out, sentence

    return run


@pytest.fixture
def words(data: Path, network: Path) -> list[str]:
    """A short training run on the tiny network."""
    return [
        f"model={network}",
        f"data={data}",
        *["imgsz=64", "epochs=1", "batch=4", "nbs=4", "plots=False", "device=cpu"],
    ]


def test_train_val_detect(script, words, data):
    out, sentence = script("train.py", *words)
    assert sentence is None and Path("runs/train/exp/weights/best.pt").exists()
    out, sentence = script("val.py", "device=cpu", "plots=False")
    assert sentence is None and "mAP50-95" in out and Path("runs/train/exp/weights/best.pt").as_posix() in out
    source = data.parent / "images" / "val"
    out, sentence = script("detect.py", f"source={source}", "device=cpu")
    assert sentence is None and "4 images or frames, images in" in out
    assert len(list(Path("runs/detect/exp").glob("*.png"))) == 4


def test_val_says_what_the_task_measures(script, golden, dataset):
    weights, data = golden / "weights" / "classify.pt", dataset("sign_digits_cls")
    out, sentence = script("val.py", f"model={weights}", f"data={data}", "imgsz=64", "plots=False", "device=cpu")
    assert sentence is None and "accuracy_top1 0.6200, accuracy_top5 0.9900" in out


def test_resuming_needs_nothing_but_the_checkpoint(script, words, monkeypatch):
    def interrupt(trainer):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BaseTrainer, "final_eval", interrupt)
        assert script("train.py", *words)[1] == "interrupted"
    last = "resume=runs/train/exp/weights/last.pt"
    _, sentence = script("train.py", last, "device=cpu", "imgsz=96")
    assert sentence.startswith("ConfigError: imgsz=96 cannot be changed")
    (finished := Path("runs/train/later/weights")).mkdir(parents=True)
    YOLO("yolov8n.yaml").save(finished / "last.pt")  # newer, and holds weights only
    assert script("train.py", "resume=True", "device=cpu")[1] is None
    shutil.rmtree("runs/train/later")
    assert len(list(Path("runs/train").iterdir())) == 1
    _, sentence = script("train.py", "resume=True", "device=cpu")
    assert sentence.startswith("CheckpointError: none of the 1 last.pt below runs/train can be resumed")


def test_starting_from_weights(script, words, caplog):
    script("train.py", *words)
    _, sentence = script("train.py", *words, "pretrained=runs/train/exp/weights/best.pt")
    assert sentence is None and "Transferred" in caplog.text


def test_the_load_and_resume_lines_may_be_uncommented(script, words, tmp_path, caplog):
    script("train.py", *words)
    text = (ROOT / "train.py").read_text(encoding="utf-8")
    edited = tmp_path / "mine.py"
    edited.write_text(
        text.replace('# "load": "yolov8n.pt"', '"load": "runs/train/exp/weights/best.pt"'), encoding="utf-8"
    )
    caplog.clear()
    _, sentence = script(str(edited), *words)
    assert sentence is None and "Transferred 106/106 items" in caplog.text
    edited.write_text(text.replace('# "resume"', '"resume"'), encoding="utf-8")
    _, sentence = script(str(edited))
    assert sentence is not None and "holds weights only" in sentence


def test_the_resume_line_takes_up_a_run_with_its_own_settings(train, network, script, caplog):
    """The others of train.py, such as 150 epochs at 640 pixels, are not its."""
    model = YOLO(network)

    def stop(trainer):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(model, epochs=2, project="runs/train", callbacks={"on_fit_epoch_end": stop})
    text = (ROOT / "train.py").read_text(encoding="utf-8")
    edited = Path("mine.py")
    edited.write_text(text.replace('# "resume"', '"resume"'), encoding="utf-8")
    _, sentence = script(str(edited.absolute()))
    assert sentence is None and len(rows_of(Path("runs/train/exp"))) == 2


def test_settings_of_the_tutorial():
    settings = runpy.run_path(str(ROOT / "train.py"))["SETTINGS"]
    assert settings == {
        "model": "yolov8n-DynamicConv.yaml",
        "data": "shapes.yaml",
        "imgsz": 640,
        "epochs": 150,
        "batch": 4,
        "optimizer": "SGD",
        "amp": False,
        "cache": False,
        "workers": 0,
        "close_mosaic": 10,
        "single_cls": False,
        "device": "0",
        "project": "runs/train",
        "name": "exp",
    }


@pytest.mark.parametrize("name", ["train.py", "val.py", "detect.py", "compare.py"])
def test_help(script, name):
    out, sentence = script(name, "--help")
    assert sentence is None and f"python {name}" in out and "default.yaml" in out


def test_without_a_gpu_the_cpu_is_taken_and_said(script, words):
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    out, sentence = script("train.py", *words[:-1])
    assert (
        sentence is None
        and "Continuing with device=cpu" in out
        and "cpu" in out
        and ("driver" in out or "install" in out)
    )


def make_mistakes(folder: Path, network: Path, data: Path) -> None:
    """Files with something wrong in them."""
    text = network.read_text(encoding="utf-8")
    (folder / "tab.yaml").write_text("nc: 2\nbackbone:\n\t- [-1, 1, Conv, [16]]\n", encoding="utf-8")
    (folder / "unknown.yaml").write_text(text.replace("DynamicConv", "DynamikConv"), encoding="utf-8")
    (folder / "channels.yaml").write_text(text.replace("[32, 3, 2]", "[32, 3, 2, None, 3]"), encoding="utf-8")
    (folder / "nc.yaml").write_text(data.read_text(encoding="utf-8") + "nc: 3\n", encoding="utf-8")
    (folder / "gone.yaml").write_text("path: nowhere\ntrain: a\nval: b\nnames: [x]\n", encoding="utf-8")
    (folder / "broken.pt").write_bytes(b"not weights")
    (folder / "empty").mkdir()


MISTAKES = [
    ("train.py", "imgzs=64", "OptionNameError: .*imgzs.*imgsz"),
    ("train.py", "imgsz=big", "ConfigError: .*imgsz.*big.*integer"),
    ("train.py", "--imgsz 64", "ConfigError: imgsz has no value: write imgsz=value"),
    ("train.py", "data=nowhere.yaml", "DatasetError: .*nowhere.yaml"),
    ("train.py", "data=gone.yaml", "DatasetError: .*nowhere"),
    ("train.py", "data=nc.yaml", "DatasetError: .*nc.*3.*2"),
    ("train.py", "model=tab.yaml", "ConfigError: .*tab.yaml, line 3: .*tab"),
    ("train.py", "model=unknown.yaml", "ModelError: .*row 2 .*DynamikConv.*DynamicConv"),
    ("train.py", "model=channels.yaml", "ModelError: .*row"),
    ("train.py", "model=yolov8q.yaml", "ModelError: .*scale 'q'"),
    ("train.py", "model=yolov8n.pt", "CheckpointError: .*yolov8n.pt"),
    ("train.py", "model=yolov8n", "CheckpointError: .*yolov8n.yaml for a network"),
    ("train.py", "model=broken.pt", "CheckpointError: .*broken.pt"),
    ("train.py", "task=segment", "ConfigError: .*task"),
    ("train.py", "device=banana", "DeviceError: device='banana': expected"),
    ("train.py", "device=cpu,banana", "DeviceError: device='banana': expected"),
    ("train.py", "resume=True", "CheckpointError: there is no last.pt below runs/train"),
    ("train.py", "imgsz", "ConfigError: imgsz has no value"),
    ("train.py", "tracker=a.yaml", "ConfigError: .*tracker"),
    ("train.py", "resume=missing/last.pt", "CheckpointError: .*last.pt"),
    ("compare.py", "modells=[a.yaml]", "OptionNameError: .*modells"),
    ("compare.py", "model=[a.yaml,b.yaml]", r"ConfigError: model=.*: the networks .* given as models="),
    ("compare.py", "pretrained=a.pt", "ConfigError: pretrained=a.pt: .* given with their network"),
    ("compare.py", "resume=True", "ConfigError: resume=True: .* are resumed"),
    ("compare.py", "models=a.pt", "ConfigError: .*a.pt is no model YAML"),
    ("compare.py", "only=b", "ConfigError: only=b"),
    ("val.py", "split=val", "CheckpointError: .*run train.py first"),
    ("detect.py", "source=empty", "CheckpointError: .*run train.py first"),
]


@pytest.mark.parametrize(("name", "word", "pattern"), MISTAKES, ids=lambda value: value)
def test_a_mistake_is_one_sentence(script, words, tmp_path, network, data, name, word, pattern):
    make_mistakes(tmp_path, network, data)
    _, sentence = script(name, *(words if name == "train.py" else ["device=cpu"]), *word.split(" "))
    assert sentence is not None and "\n" not in sentence
    assert re.match(pattern, sentence), sentence


@pytest.mark.parametrize(
    ("source", "pattern"),
    [("nothing.jpg", "SourceError: .*nothing.jpg"), ("empty", "SourceError: .*empty"), ("broken.pt", "SourceError: ")],
)
def test_a_wrong_source(script, words, tmp_path, network, data, source, pattern):
    make_mistakes(tmp_path, network, data)
    script("train.py", *words)
    _, sentence = script("detect.py", "device=cpu", f"source={source}")
    assert sentence is not None and re.match(pattern, sentence) and "\n" not in sentence


def test_weights_of_another_nc(script, words, tmp_path):
    script("train.py", *words)
    other = tmp_path / "data" / "other.yaml"
    other.write_text("train: images/train\nval: images/val\nnames: [a, b, c]\n", encoding="utf-8")
    _, sentence = script("val.py", "device=cpu", f"data={other}")
    assert sentence is not None and "3 classes and the network 2" in sentence


def test_exit_code_and_traceback(tmp_path):
    environment = {k: v for k, v in os.environ.items() if k != "YOLO_TRACEBACK"}
    command = [sys.executable, str(ROOT / "train.py"), "imgzs=64"]
    plain = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert plain.returncode == 1 and plain.stderr.count("\n") == 1 and "Traceback" not in plain.stderr
    full = subprocess.run(
        command, cwd=tmp_path, env=environment | {"YOLO_TRACEBACK": "1"}, capture_output=True, text=True, check=False
    )
    assert full.returncode == 1 and "Traceback" in full.stderr


def test_detect_takes_a_pattern_and_a_video(script, words, tmp_path, data):
    script("train.py", *words)
    out, _ = script("detect.py", "device=cpu", f"source={data.parent / 'images' / 'train' / '0[0-2].png'}")
    assert "3 images or frames" in out
    video = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (64, 64))
    for value in range(5):
        video.write(np.full((64, 64, 3), 40 * value, np.uint8))
    video.release()
    out, sentence = script("detect.py", "device=cpu", "source=clip.mp4")
    assert sentence is None and "5 images or frames" in out
    assert (tmp_path / "runs" / "detect" / "exp2" / "clip.mp4").exists()
    shutil.rmtree(tmp_path / "runs")
