"""Exported files that other programs read, and files of networks without names."""

import json
import threading

import pytest
import torch

from ultralytics import YOLO
from ultralytics.engine import exporter
from ultralytics.utils.errors import CheckpointError


def test_no_axis_is_summed_over_in_the_graph_of_a_head(detector, tmp_path, monkeypatch):
    """pnnx loses the axes of a ReduceSum, and the output of its network is of another shape."""
    onnx = pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    kinds = {node.op_type for node in onnx.load(detector.export(format="onnx", imgsz=64, simplify=False)).graph.node}
    assert "Conv" in kinds and "ReduceSum" not in kinds


def test_the_device_of_a_torchscript_file_is_no_key_of_its_own(detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extra = {"config.txt": ""}
    torch.jit.load(detector.export(format="torchscript", imgsz=64), _extra_files=extra)
    config = json.loads(extra["config.txt"])
    assert "device" not in config and config["args"]["device"] == "cpu"


@pytest.mark.public("exports::export_torchscript_missing_names")
@pytest.mark.parametrize("names", [None, {}])
def test_a_network_without_names_is_exported_with_numbered_ones(detector, tmp_path, monkeypatch, names):
    monkeypatch.chdir(tmp_path)
    detector.model.names = names
    path = detector.export(format="torchscript", imgsz=64)
    assert YOLO(path).names == {0: "class0", 1: "class1", 2: "class2"}


def test_a_file_that_its_runtime_rejects_is_not_said_to_be_missing(detector, tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(exporter.WRITERS, "onnx", lambda *_: b"no graph")
    with pytest.raises(
        CheckpointError, match=r"tiny.onnx cannot be read: .*; export it with another opset or format"
    ) as told:
        detector.export(format="onnx", imgsz=64)
    assert "there is no" not in str(told.value)


@pytest.mark.public("exports::torch2onnx_serializes_concurrent_exports")
def test_exports_of_several_threads_follow_each_other(detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    running, most = [], []

    def write(*_):
        running.append(1)
        most.append(len(running))
        threading.Event().wait(0.05)
        running.pop()
        return b""

    threads = [threading.Thread(target=exporter.trace, args=(tmp_path / "a", write)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_an_export_runs_its_events(detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    for event in ("on_export_start", "on_export_end"):
        detector.add_callback(event, lambda run, event=event: seen.append((event, run.args.format)))
    detector.export(format="torchscript", imgsz=64)
    assert seen == [("on_export_start", "torchscript"), ("on_export_end", "torchscript")]
