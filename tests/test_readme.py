"""What the READMEs say is so, the Chinese one says the same, and their code runs."""

import ast
import contextlib
import io
import json
import re
import subprocess
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from tests.nn.conftest import Tree
from ultralytics import YOLO
from ultralytics.cfg import parse_overrides
from ultralytics.nn.tasks import ClassificationModel, DetectionModel
from ultralytics.utils.errors import ConfigError, ModelError
from ultralytics.utils.files import load_yaml

ROOT = Path(__file__).parents[1]
PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        *("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "docs/models.md", "docs/blocks.md"),
        *("benchmarks/study.md", "benchmarks/study-blocks.md", "benchmarks/blocks.md"),
    )
}
ENGLISH, CHINESE, CONTRIBUTING, MODELS, BLOCKS, STUDY, *_ = PAGES.values()
TEST_COMMAND = 'python -m pip install -e ".[dev]" && python -m pytest'
HEADINGS = {
    "YOLOv8, as a source tree to edit": "一份供你修改的 YOLOv8 源码",
    "Two commands": "两条命令",
    "One GPU, several, several machines": "一块 GPU、多块 GPU、多台机器",
    "Train on your own data": "训练自己的数据",
    "Add a block": "加入自己的模块",
    "Where do I change …": "想改什么，看哪里",
    "Compare variants": "对比实验",
    "Tasks": "任务",
    "DynamicConv and export": "DynamicConv 与导出",
    "What differs from the public package": "与官方 ultralytics 包的区别",
    "The study in five lines": "五行看完这项研究",
    "Credits": "致谢",
}


def blocks(text: str) -> list[str]:
    """Contents of all code blocks, without the indentation that those of a list have."""
    found = re.findall(r"^( *)```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def without_comments(text: str) -> list[str]:
    """Code of a README without its comments, which are in the reader's language."""
    return [re.sub(r" *#.*", "", block).replace(" ", "") for block in blocks(text)]


def block_with(words: str) -> str:
    """The code block of the README that has these words."""
    (found,) = [block for block in blocks(ENGLISH) if words in block]
    return found


def without_blocks(text: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(text: str) -> list[str]:
    """Headings without their level; comments in code are none."""
    return re.findall(r"^#+ (.*)$", without_blocks(text), re.MULTILINE)


def section(text: str, heading: str) -> str:
    """The text below a heading."""
    return text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def table_rows(text: str) -> list[list[str]]:
    """Cells of all rows of the tables of a text, their headers left out."""
    tables = re.findall(r"^\|[-| ]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row[1:-1].split("|")] for table in tables for row in table.splitlines()]


# Both languages ------------------------------------------------------------------------------------------------------


def test_both_have_the_same_commands_examples_numbers_and_images():
    assert without_comments(ENGLISH) == without_comments(CHINESE)
    images = [re.findall(r"!\[.*\]\((.*)\)", text) for text in (ENGLISH, CHINESE)]
    assert images[0] == images[1] and all((ROOT / image).is_file() for image in images[0])
    numbers = [[sorted(re.findall(r"\d\.\d+", part)) for part in text.split("\n## ")] for text in (ENGLISH, CHINESE)]
    assert numbers[0] == numbers[1] and sum(map(len, numbers[0])) > 30


def test_both_have_the_same_headings_in_the_same_order_and_are_short():
    assert headings(ENGLISH) == list(HEADINGS)
    assert headings(CHINESE) == list(HEADINGS.values())
    assert max(len(text.splitlines()) for text in (ENGLISH, CHINESE)) < 260


def test_both_quote_the_same_code():
    """Code between backquotes is the same; words of the reader's language, as in the rows of label files, are not."""
    for heading, same in HEADINGS.items():
        parts = (section(ENGLISH, heading), section(CHINESE, same))
        english, chinese = (set(re.findall(r"`[^`\n]+`", without_blocks(part))) for part in parts)
        assert not {code for code in english - chinese if not code.startswith("`class ")}, heading


def test_full_width_punctuation(tmp_path, caplog):
    """What the Chinese README warns of: a colon is an error, a comma joins two classes, each named by line."""
    assert "全角冒号 `：` 会报错" in CHINESE and "全角逗号 `，` 则会把两个类别当成一个（两者都会指出行号）" in CHINESE
    file = tmp_path / "data.yaml"
    file.write_text("path: .\nnames: [红，白]\n", encoding="utf-8")
    assert len(load_yaml(file)["names"]) == 1
    assert f"{file}, line 2: the full-width comma ， is a letter to YAML: write ," in caplog.text
    for text in ("path：.\ntrain: a\n", "path：.\n"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(
            ConfigError, match=r"data\.yaml, line 1: .*the full-width colon ： is a letter to YAML: write :"
        ):
            load_yaml(file)
    caplog.clear()
    file.write_text("names: ['红，白', \"黑：\", 蓝]  # 红，白\npath: a，b\n", encoding="utf-8")  # text as it is meant
    assert load_yaml(file) == {"names": ["红，白", "黑：", "蓝"], "path": "a，b"} and not caplog.text


def test_links_lead_somewhere():
    for name, text in PAGES.items():
        for target in re.findall(r"\]\((?!http)(.*?)\)", text):
            path, _, anchor = target.partition("#")
            assert not path or ((ROOT / name).parent / path).exists(), f"{name}: {target}"
            assert not anchor or anchor in {heading.lower().replace(" ", "-") for heading in headings(text)}, target


def test_nothing_of_a_reference_dataset_is_in_the_repository():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    images = [name for name in listed if name.endswith((".jpg", ".jpeg", ".png", ".mp4", ".pt", ".safetensors"))]
    assert {Path(name).parent.as_posix() for name in images} <= {"docs", "ultralytics/assets"}


# Commands, and where things are --------------------------------------------------------------------------------------


def test_the_gate_runs_the_test_command():
    assert TEST_COMMAND in ENGLISH and TEST_COMMAND in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert TEST_COMMAND in CONTRIBUTING


def test_every_option_of_the_commands_is_one():
    for line in re.findall(r"^(?:python.* && )?python (?:train|val|detect)\.py(.*)$", ENGLISH, re.MULTILINE):
        parse_overrides(line.split())


def places(text: str, heading: str) -> list[tuple[list[str], list[str]]]:
    """Rows of the table "Where do I change …": the files, and the names to look for in them."""
    rows = []
    for _, files, notes in table_rows(section(text, heading)):
        quoted = re.findall(r"`([^`]+)`", files + notes)
        paths = [q for q in quoted if re.fullmatch(r"[\w/]+\.(py|yaml)", q)]
        rows.append((paths, [q for q in quoted if re.fullmatch(r"[A-Za-z]\w+(\.\w+)?", q)]))
    return rows


def defined(path: Path) -> set[str]:
    """Classes, functions, methods (also as Class.method) and values of a Python file, or the keys of a YAML."""
    if path.suffix == ".yaml":
        return set(load_yaml(path))
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def test_where_to_change_something():
    rows = places(ENGLISH, "Where do I change …")
    assert rows == places(CHINESE, HEADINGS["Where do I change …"]) and len(rows) >= 10
    for paths, names in rows:
        assert paths and names
        there = set().union(*(defined(ROOT / "ultralytics" / path) for path in paths))
        assert not (set(names) - there - {"forward"}), f"{paths} have no {set(names) - there}"


# Tables --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "row", [row for row in table_rows(MODELS) if re.match(r"\d[\d.]* M", row[1])], ids=lambda row: row[0]
)
def test_the_model_table(row):
    name, *cells = row
    counts = json.loads((ROOT / "tests" / "nn" / "counts.json").read_text(encoding="utf-8"))["counts"]
    for scale, cell in zip("nsmlx", cells, strict=True):
        parameters, gflops = counts.get(name, {}).get(scale) or measured(name, scale)
        assert cell == f"{parameters / 1e6:.2f} M, {gflops:.1f}"


def measured(name: str, scale: str) -> tuple[int, float]:
    """Parameters and GFLOPs of a network that the reference does not have."""
    model = DetectionModel(name.replace("yolov8", f"yolov8{scale}") + ".yaml", verbose=False)
    _, parameters, _, gflops = model.info(verbose=False)
    return parameters, gflops


def test_every_model_is_in_the_table():
    shipped = {path.stem for path in (ROOT / "ultralytics" / "cfg" / "models").rglob("*.yaml")}
    others = {name for name in shipped if re.search("-(cls|seg|pose|obb)", name)}
    blocks = set(re.findall(r"v8/(yolov8-[\w-]+)\.yaml", BLOCKS))
    assert {row[0] for row in table_rows(MODELS)} | blocks == shipped - others


def test_the_figures_of_long_trainings():
    """yolov8n, YAML 1 and YAML 2 beside the public package, as benchmarks/acceptance.py left them."""
    text = (ROOT / "benchmarks" / "acceptance.md").read_text(encoding="utf-8")
    rows = [row for row in table_rows(text) if row[0] in ("yolov8n", "YAML1", "YAML2")]
    expected = [float(value) for row in rows for value in row[1:3]]
    told = section(ENGLISH, "What differs from the public package").partition("40 epochs")[2].partition("\n\n")[0]
    assert list(map(float, re.findall(r"\d\.\d+", told))) == pytest.approx(expected, abs=5.1e-4)


RUNS = pd.read_csv(ROOT / "benchmarks" / "study.csv")
SECTIONS = {  # of the study: dataset, epochs and number of seeds of its tables
    "Blood cells, from scratch": ("bccd", 20, 3),
    "Blood cells, five seeds": ("bccd", 20, 5),
    "Blood cells: routers and experts": ("bccd", 20, 3),
    "Blood cells, twice the learning rate": ("bccd", 20, 3),
    "Small synthetic objects, from scratch": ("shapes-hard", 20, 3),
    "Warm start against cold, blood cells": ("bccd", 10, 3),
}
TOGETHER = ("Blood cells, from scratch", "Blood cells: routers and experts")  # two tables of the same runs


def runs_of(heading: str) -> pd.DataFrame:
    """The lines of the results file that a section is about."""
    data, epochs, wanted = SECTIONS[heading]
    runs = RUNS[(RUNS["data"] == data) & (RUNS["epochs"] == epochs) & (RUNS["seed"] < wanted)]
    return runs[runs["own"].notna() == ("learning rate" in heading)]


def by_seed(heading: str, metric: str = "mAP50-95") -> pd.DataFrame:
    """A metric of the networks of a section, a column each, by seed."""
    seeds = runs_of(heading).pivot(index="seed", columns="name", values=metric)
    return seeds.dropna(axis="columns") if "five" in heading else seeds


@pytest.mark.parametrize("heading", SECTIONS)
def test_the_study(heading):
    """Its tables hold what the results file does: means, spreads, differences paired by seed, which seeds."""
    runs, seeds, at50 = runs_of(heading), by_seed(heading), by_seed(heading, "mAP50")
    rows = table_rows(section(STUDY, heading))
    tables = TOGETHER if heading in TOGETHER else (heading,)
    named = {row[0] for part in tables for row in table_rows(section(STUDY, part))}
    assert named == set(seeds)  # losers included
    base = seeds[rows[0][0]]
    for name, counted, score, score50, difference, _, parameters, gflops, *_, seconds in rows:
        values, run = seeds[name].dropna(), runs[runs["name"] == name]
        assert counted.split() == [str(seed) for seed in values.index]
        assert [parameters, gflops] == [f"{run['parameters'].iloc[0]:,}", f"{run['gflops'].iloc[0]:.3f}"]
        pairs = [(score, values, 6e-5), (score50, at50[name].dropna(), 6e-5), (seconds, run["seconds"], 0.6)]
        if name != base.name:
            pairs.append((difference, (values - base).dropna(), 6e-5))
        for cell, numbers, rounding in pairs:
            expected = (numbers.mean(), numbers.std()) if len(numbers) > 1 else (numbers.mean(),)
            assert [float(part) for part in cell.split(" ± ")] == pytest.approx(expected, abs=rounding)


@pytest.mark.parametrize("model", sorted(set(RUNS["model"])))
def test_the_networks_of_the_study_are_here(model):
    """Those that did not prove themselves are beside the results; all have the parameters that were trained."""
    beside = ROOT / "benchmarks" / "study" / model
    run = RUNS[RUNS["model"] == model].iloc[0]
    classes = {"bccd": 3, "shapes-hard": 12}[run["data"]]
    path = beside if beside.with_name(model.replace("v8n", "v8")).exists() else model
    network = DetectionModel(path, nc=classes, verbose=False)
    assert network.info(verbose=False)[1] == run["parameters"]


def test_the_study_in_five_lines():
    """Its numbers are those of the tables, computed once more."""
    text = section(ENGLISH, "The study in five lines")
    assert len(re.findall("^- ", text, re.MULTILINE)) == 5
    assert all(number in STUDY for number in re.findall(r"[-+]?\d\.\d{4}(?: ± \d\.\d{4})?", text))
    usual, five = by_seed("Blood cells, from scratch"), by_seed("Blood cells, five seeds")
    fast = by_seed("Blood cells, twice the learning rate")
    early, static = "yolov8n-DynamicConv-early", "yolov8n"
    assert len(five) == 5 and (five[early] > five[static]).all()
    assert f"from {usual[static][:2].mean():.3f} to {fast['yolov8n lr0 0.002'].mean():.3f}" in text
    for name in ("yolov8n-DynamicConv", "yolov8n-DynamicConv-late", "yolov8n-DynamicConvBnAct"):
        assert usual[name].mean() > usual[static].mean()
    gflops = runs_of("Blood cells, from scratch").groupby("name")["gflops"].first()
    assert f"saves {1 - gflops['yolov8n-C2f-DynamicConv'] / gflops[static]:.0%}".replace("%", " %") in text


# Code ----------------------------------------------------------------------------------------------------------------


def assert_quoted(label: str, message: str) -> None:
    """The message has what the table of messages quotes beside `label`, … standing for anything."""
    rows = table_rows(section(ENGLISH, "Add a block"))
    (quoted,) = [row[1].strip("`") for row in rows if label in row[0]]
    pattern = ".*".join(re.escape(part) for part in quoted.split("…"))
    assert re.search(pattern, message.replace("`", ""), re.DOTALL), message


SUM = """
class Sum(nn.Module):
    def __init__(self, channels):
        super().__init__()
        assert channels == [64, 64]

    def forward(self, x):
        return x[0] + x[1]
"""
TWO_INPUTS = {
    "nc": 1,
    "backbone": [[-1, 1, "Conv", [64]], [-1, 1, "Conv", [64]]],
    "head": [[[0, 1], 1, "Sum", []], [[2], 1, "Detect", ["nc"]]],
}


YOLOV8 = ROOT / "ultralytics" / "cfg" / "models" / "v8" / "yolov8.yaml"
STEPS = section(ENGLISH, "Add a block")


def with_the_block() -> str:
    """yolov8.yaml with the row of the README below SPPF, and all numbers of rows behind it raised."""
    yaml = YOLOV8.read_text(encoding="utf-8")
    line = re.search(r"^ *- .*SPPF.*\n", yaml, re.MULTILINE)[0]
    yaml = yaml.replace(line, f"{line}  {re.search('the row `(.*?)`', STEPS)[1]}\n")
    return yaml.replace("[-1, 9]", "[-1, 10]").replace("[-1, 12]", "[-1, 13]").replace("[15, 18, 21]", "[16, 19, 22]")


def test_a_block_word_for_word(tmp_path):
    """The way without an edit, the four steps, and the block with two inputs of the table."""
    tree = Tree(tmp_path)
    (tmp_path / "yolov8-SE.yaml").write_text(with_the_block(), encoding="utf-8")
    build = "from ultralytics.nn.tasks import DetectionModel; m = DetectionModel('yolov8n-SE.yaml', verbose=False)"
    tree.append("Addmodules/SE.py", block_with("class SE"))
    done = tree.run(f"{build}; print(type(m.model[10]), m.model[10].gate[1].out_channels)")
    assert done.stdout.endswith("Addmodules.SE.SE'> 16\n"), done.stderr
    (tmp_path / "yolov8-SE.yaml").write_text(with_the_block().replace("[c1, 16]", "[16]"), encoding="utf-8")
    tree.append("Addmodules/__init__.py", re.search("`(from .SE import .*?)`", STEPS)[1] + "\n")
    parts = re.search(r"`(elif m is )Fuse(:) (c2.*); (args.*?)`", section(ENGLISH, "Where do I change …"))
    branches = block_with("elif m is SE") + "{}Sum{}\n    {}\n    {}\n".format(*parts.groups())
    last = "            else:\n"
    tree.replace("tasks.py", last, textwrap.indent(branches, " " * 12) + last)
    tree.append("Addmodules/SE.py", SUM)
    done = tree.run(f"{build}; print(type(m.model[10]), m.stride, DetectionModel({TWO_INPUTS}, verbose=False).stride)")
    assert "Addmodules.SE.SE'> tensor([ 8., 16., 32.])" in done.stdout, done.stderr
    assert done.stdout.endswith(" tensor([1.])\n"), done.stderr


def test_the_messages_for_other_mistakes(monkeypatch, tmp_path):
    from ultralytics.nn import tasks
    from ultralytics.nn.modules import C2f

    class MyC2f(C2f):
        pass

    names: dict = {}
    exec(block_with("class SE"), names)
    for cls in (MyC2f, names["SE"]):
        monkeypatch.setattr(tasks, cls.__name__, cls, raising=False)
    monkeypatch.setattr(tasks, "channel_modules", tasks.channel_modules | {MyC2f})
    yaml = YOLOV8.read_text(encoding="utf-8")
    mistakes = {
        "step 4": with_the_block().replace("[c1, 16]", "[16]"),
        "repeat_modules": yaml.replace("C2f", "MyC2f", 1),
        "typo": yaml.replace("SPPF", "SPFP"),
    }
    for label, text in mistakes.items():
        (tmp_path / "yolov8-my.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ModelError) as error:
            DetectionModel(tmp_path / "yolov8n-my.yaml", verbose=False)
        assert_quoted(label, str(error.value))


NETWORKS = {"detect": "", "segment": "-seg", "pose": "-pose", "obb": "-obb", "classify": "-cls"}


@pytest.mark.parametrize("task", NETWORKS)
def test_the_shapes_of_exported_outputs(task):
    """Those of the table, at 64 px; A of the text at 640."""
    text = section(ENGLISH, "DynamicConv and export")
    (row,) = [row for row in table_rows(text) if row[0] == task and row[1].startswith("(")]
    build = ClassificationModel if task == "classify" else DetectionModel
    network = build(f"yolov8n{NETWORKS[task]}.yaml", nc=3, verbose=False).eval()
    head = network.model[-1]
    head.export = True
    with torch.no_grad():
        outputs = network(torch.zeros(2, 3, 64, 96))
    points = {(h, w): sum((h // s) * (w // s) for s in (8, 16, 32)) for h, w in ((64, 96), (640, 640))}
    assert f"A is {points[640, 640]} at 640 x 640" in text
    k, d = getattr(head, "kpt_shape", (0, 0))
    known = {"B": 2, "nc": 3, "A": points[64, 96], "H": 64, "W": 96, "K": k, "D": d}
    shapes = re.findall(r"\(B, [^)]*\)", f"{row[1]} {row[2]}")
    expected = [tuple(int(eval(side, known)) for side in shape[1:-1].split(", ")) for shape in shapes]
    assert [tuple(output.shape) for output in (outputs if isinstance(outputs, tuple) else (outputs,))] == expected


@pytest.mark.parametrize("shape", [(120, 160), (480, 360)])
def test_plain_onnxruntime(detector, picture, tmp_path, monkeypatch, shape):
    """The code of the README finds what YOLO(...).predict does, in an image of the network's size and a larger one."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    detector.save("best.pt")
    YOLO("best.pt").export(format="onnx", imgsz=160, simplify=False)
    image = picture if shape == picture.shape[:2] else cv2.resize(picture.repeat(4, 0).repeat(3, 1), shape[::-1])
    cv2.imwrite("photo.jpg", image)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block_with("onnxruntime.InferenceSession"), {})
    rows = [re.findall(r"-?\d+\.?\d*(?:e-?\d+)?", line) for line in printed.getvalue().splitlines()]
    cls, conf, left, top, w, h = np.array(rows, float).T
    ours = np.stack((left, top, left + w, top + h, conf, cls), 1)
    ours[:, :4] = ours[:, :4].clip(0, shape[::-1] * 2)  # as YOLO's are
    theirs = YOLO("best.onnx").predict("photo.jpg", conf=0.25, iou=0.7, verbose=False)[0].boxes.data.numpy()
    tolerance = np.array((0.1, 0.1, 0.1, 0.1, 1e-3, 0))
    equal = (abs(ours[:, None] - theirs) <= tolerance).all(2)  # those near a threshold may be here or there only
    assert min(len(ours), len(theirs)) > 20 and min(equal.any(0).mean(), equal.any(1).mean()) > 0.95
