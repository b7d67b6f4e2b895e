"""Importing is cheap and has no side effects."""

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import ultralytics
from ultralytics.utils import refused

NEVER = {"timm", "torchvision", "matplotlib", "pandas", "scipy", "tensorboard", "onnx", "faster_coco_eval", "tkinter"}


def imported_by(code, folder):
    """Top-level modules that a new process has after running some code, in an empty folder."""
    tell = "\nimport json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(Path(ultralytics.__file__).parents[1])!r})\n{code}{tell}",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not list(folder.iterdir())
    return set(json.loads(out.stdout.splitlines()[-1]))


@pytest.mark.parametrize("code", ["import ultralytics; ultralytics.__version__", "import ultralytics.utils"])
def test_the_package_alone(tmp_path, code):
    assert not imported_by(code, tmp_path) & {*NEVER, "torch", "cv2", "numpy", "yaml", "tqdm"}


@pytest.mark.public("cli::cli_imports_defer_torchvision")
@pytest.mark.parametrize(
    "code",
    ["", "YOLO('yolov8n.yaml'); YOLO('yolov8n-DynamicConv.yaml'); YOLO('yolov8n-cls.yaml')"],
    ids=["import", "build"],
)
def test_the_class(tmp_path, code):
    assert not imported_by(f"from ultralytics import YOLO; {code}", tmp_path) & NEVER


def test_a_prediction_on_a_cpu_imports_neither_torchvision_nor_what_trains(tmp_path):
    code = "import numpy as np; YOLO('yolov8n.yaml')(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)"
    late = (
        "; assert not {'torch._dynamo', 'ultralytics.engine.trainer', 'ultralytics.engine.validator'} & {*sys.modules}"
    )
    assert not imported_by(f"from ultralytics import YOLO; {code}{late}", tmp_path) & NEVER


def test_names_of_the_package():
    assert ultralytics.YOLO.__name__ == "YOLO"
    with pytest.raises(AttributeError, match="has no attribute 'YOLOv9'"):
        ultralytics.YOLOv9  # noqa: B018
    with pytest.raises(ImportError, match=r"ultralytics\.RTDETR is not in this tree: only YOLOv8 is here"):
        ultralytics.RTDETR  # noqa: B018


def test_one_finder_comes_last_and_only_answers_for_this_package():
    assert sys.meta_path.count(refused.Finder) == 1
    importlib.reload(ultralytics)
    assert sys.meta_path.count(refused.Finder) == 1
    assert refused.Finder.find_spec("solutions") is refused.Finder.find_spec("ultralytics.nowhere") is None
    with pytest.raises(refused.RefusedImportError, match=r"ultralytics\.solutions is not in this tree: count, draw"):
        importlib.import_module("ultralytics.solutions.heatmap")


def test_what_is_imported_is_in_the_requirements():
    """What another package happens to bring along may be gone with its next release."""
    root = Path(ultralytics.__file__).parents[1]
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    required = {line.partition(">=")[0] for line in lines}
    known_as = {"cv2": "opencv-python", "yaml": "pyyaml", "PIL": "pillow"}
    for file in (root / "ultralytics").rglob("*.py"):
        statements = ast.parse(file.read_text(encoding="utf-8")).body  # not those in functions, which are extras
        names = [alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names]
        names += [node.module for node in statements if isinstance(node, ast.ImportFrom) and not node.level]
        outside = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"ultralytics"}
        assert {known_as.get(name, name) for name in outside} <= required, file
