"""Exported networks of every task find what their weights do; of detection: tests/engine/test_backends.py."""

import shutil

import pytest
import torch

from tests.close import PIXELS
from ultralytics import YOLO

CASES = {  # data, size, least number of finds in two pictures
    "segment": ("nuclei_seg", 192, 10),
    "pose": ("glue_tubes_pose", 224, 2),
    "obb": ("nuclei_obb", 192, 10),
    "classify": ("sign_digits_cls", 64, 0),
}


def assert_same(found, expected):
    """Boxes and points but for rounding, pixels of masks to one in ten thousand, all else to 1e-3."""
    assert len(found) == len(expected)
    for name in ("boxes", "obb", "keypoints", "probs"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours is None) == (theirs is None)
        if ours is not None:
            torch.testing.assert_close(ours.data, theirs.data, **PIXELS)
    for name in ("boxes", "obb", "keypoints"):
        if getattr(expected, name) is not None:
            torch.testing.assert_close(getattr(found, name).conf, getattr(expected, name).conf, atol=1e-3, rtol=0)
    if expected.masks is not None:
        assert (found.masks.data != expected.masks.data).float().mean() < 1e-4


@pytest.mark.parametrize("task", CASES)
@pytest.mark.parametrize(
    ("kind", "dynamic"),
    [
        pytest.param("onnx", True, marks=pytest.mark.public("exports::export_onnx_matrix")),
        pytest.param("torchscript", False, marks=pytest.mark.public("exports::export_torchscript_matrix")),
    ],
)
def test_exported_networks_find_the_same(golden, dataset, tmp_path, task, kind, dynamic):
    if kind == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    name, size, least = CASES[task]
    weights = YOLO(shutil.copyfile(golden / "weights" / f"{task}.pt", tmp_path / "best.pt"))
    files = sorted(str(file) for file in dataset(name).rglob("*val/**/*.jpg"))[:2]
    assert len(files) == 2
    exported = YOLO(
        weights.export(format=kind, imgsz=size, dynamic=dynamic, **{"simplify": False} if kind == "onnx" else {})
    )
    assert exported.task == task and exported.names == weights.names
    for at in (size, size + 32) if dynamic else (size,):
        shape = {"imgsz": at, "batch": 2, "verbose": False} | ({} if dynamic else {"rect": False})
        expected = weights(files, **shape)
        found = exported(files, **{n: v for n, v in shape.items() if n != "rect"})
        assert sum(map(len, expected)) >= least
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
