"""The map of rooms in CONTRIBUTING.md is true: its arrows are the imports, its walk adds a task, its files exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nn.conftest import Tree
from tests.tiny import NETWORK, draw_split
from tests.training import rectangle

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`.*?`) \| .*? \| (.*?) \|$", TEXT, re.MULTILINE)
MAP = {
    room: allowed.split(", ") for names, allowed in ROWS for room in re.findall(r"`(?:ultralytics/)?([\w.]+)/?`", names)
}
LEAF = "engine/results.py"
LOOPS = ("train.py", "val.py", "predict.py")  # of a task's room: classes of engine's loops, under published names


def imported(file: Path) -> Iterator[str]:
    """Modules of ours that a file imports, as "utils/ops.py" or, of a package, "models/yolo"."""
    package = [*file.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "ultralytics" and len(parts) > 1:
                path = Path(*parts)
                while not (ROOT / path).is_dir() and not (ROOT / path).with_suffix(".py").is_file():
                    path = path.parent
                found = path if (ROOT / path).is_dir() else path.with_suffix(".py")
                yield found.relative_to("ultralytics").as_posix()


def test_every_room_is_on_the_map():
    folders = {path.name for path in (ROOT / "ultralytics").iterdir() if (path / "__init__.py").exists()}
    scripts = {path.name for path in ROOT.glob("*.py")}
    assert set(MAP) == folders | scripts


@pytest.mark.parametrize("room", MAP)
def test_a_room_imports_what_the_map_allows(room):
    here = ROOT / room if room.endswith(".py") else ROOT / "ultralytics" / room
    files = [here] if here.is_file() else sorted(here.rglob("*.py"))
    assert files
    for file in files:
        for module in imported(file):
            target = module.split("/")[0]
            leaf = LEAF if module == LEAF and LEAF in MAP[room] else target
            if room == "models" and file.name in LOOPS and target == "engine":
                continue
            # The scripts' `from ultralytics import YOLO` names no room.
            assert target in (room, ".") or leaf in MAP[room], f"{file.relative_to(ROOT)} imports {module}"


def test_the_leaf_imports_no_loop():
    assert {module.split("/")[0] for module in imported(ROOT / "ultralytics" / LEAF)} <= {"utils", "engine"}
    loops = {m for m in imported(ROOT / "ultralytics" / LEAF) if m.startswith("engine/")}
    assert loops == {"engine/containers.py"}


def test_files_and_names_of_the_text_exist():
    for path in set(re.findall(r"`((?:data|engine|nn|utils|cfg|models|comparison|tests)/[\w./]*)`", TEXT)):
        if "count" not in path:
            assert (ROOT / "ultralytics" / path).exists() or (ROOT / path).exists(), path
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "ultralytics").rglob("*.py"))
    for name in (
        "train",
        "train_one_epoch",
        "save",
        "resume_point",
        "label_format",
        "components",
        "parse_model",
        "augment",
    ):
        assert f"def {name}(" in code and f"`{name}" in TEXT
    for name in ("Schedule", "Metric", "LogSink", "Task", "Options", "DetectTask"):
        assert f"class {name}" in code and name in TEXT


COUNT_TASK = '''
"""Detections, of which results tell the number."""

from typing import ClassVar

from ultralytics.models.yolo.detect.task import DetectTask


class CountTask(DetectTask):
    """Boxes, counted."""

    name = "count"
    default_settings: ClassVar = {"model": "yolov8n-count.yaml", "data": "shapes.yaml"}

    def to_result(self, pred, input_shape, frame, model):
        """Detections, with their number."""
        result = super().to_result(pred, input_shape, frame, model)
        result.number = len(pred)
        return result
'''


def test_the_walk_adds_a_task(tmp_path):
    tree = Tree(tmp_path)
    package = tmp_path / "ultralytics"
    tree.append("modules/head.py", '\n\nclass Count(Detect):\n    """Boxes to count."""\n\n    task = "count"\n')
    tree.replace("modules/__init__.py", "from .head import ", "from .head import Count, ")
    tree.append("modules/__init__.py", '\n__all__ += ["Count"]\n')
    tree.replace("tasks.py", "from .modules import (\n", "from .modules import (\n    Count,\n")
    yaml = NETWORK.replace("{head}", "Count, [nc]")
    (package / "cfg" / "models" / "v8" / "yolov8-count.yaml").write_text(yaml, encoding="utf-8")
    tree.replace("../cfg/options.py", 'TASKS = ("detect", ', 'TASKS = ("detect", "count", ')
    room = package / "models" / "yolo" / "count"
    room.mkdir()
    (room / "__init__.py").write_text("", encoding="utf-8")
    (room / "task.py").write_text(COUNT_TASK, encoding="utf-8")
    tree.replace("../models/yolo/__init__.py", "TASK_CLASSES = {", 'TASK_CLASSES = {"count": "CountTask",')
    for split in ("train", "val"):
        draw_split(tmp_path / "data", split, 4, 0, 3, rectangle)
    data = "train: images/train\nval: images/val\nnames: [red, blue]\n"
    (tmp_path / "data" / "data.yaml").write_text(data, encoding="utf-8")
    code = """
from ultralytics import YOLO
model = YOLO("yolov8-count.yaml")
model.train(data="data/data.yaml", epochs=1, imgsz=64, batch=4, device="cpu", workers=0, plots=False)
(result,) = YOLO(model.trainer.best).predict("data/images/val/00.png", conf=0.001)
print("counted", result.number >= 0, model.task)
"""
    done = tree.run(code)
    assert "counted True count" in done.stdout, done.stdout + done.stderr
