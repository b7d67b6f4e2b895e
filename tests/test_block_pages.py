"""The pages about blocks say what is so: files, counts, commands, and the tables of the study once there are runs."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from tests.nn.blocks import YAMLS
from ultralytics.cfg import get_options, parse_overrides
from ultralytics.models.yolo.detect.task import DetectTask
from ultralytics.nn import Addmodules
from ultralytics.nn.model_yaml import yaml_model_load
from ultralytics.nn.tasks import DetectionModel

ROOT = Path(__file__).parents[1]
BLOCKS, COSTS, STUDY = (
    (ROOT / name).read_text(encoding="utf-8")
    for name in ("docs/blocks.md", "benchmarks/blocks.md", "benchmarks/study-blocks.md")
)
CELLS = {row[0]: row[1:] for row in re.findall(r"^\| (\S+) \| ([\d,]+) \| ([\d.]+) \| (\S+) \| (\S+) \|$", COSTS, re.M)}


@pytest.mark.parametrize("name", ["yolov8n", *(f"yolov8n-{name}" for name in YAMLS)])
def test_what_the_blocks_cost(name):
    """Parameters and GFLOPs, as the command counts them; ratios are those of the times, to yolov8n's."""
    parameters, gflops, ms, ratio = CELLS[name]
    with torch.device("meta"):
        model = DetectionModel(f"{name}.yaml", verbose=False)
    assert model.info(verbose=False)[1::2] == (int(parameters.replace(",", "")), pytest.approx(float(gflops), abs=5e-3))
    if ms != "–":
        assert float(ratio) == pytest.approx(float(ms) / float(CELLS["yolov8n"][2]), rel=0.02)


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_table_of_a_readme_is_that_of_the_costs(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    told = re.findall(r"(\w+) \| (\d\.\d\d) \| (\d+\.\d) \| (\d+|–)(?= \|)", text)
    assert {name for name, *_ in told} == {name.removeprefix("yolov8n-") for name in CELLS}
    for name, parameters, gflops, ms in told:
        cells = CELLS[name if name == "yolov8n" else f"yolov8n-{name}"]
        assert float(parameters) == pytest.approx(int(cells[0].replace(",", "")) / 1e6, abs=6e-3)
        assert float(gflops) == pytest.approx(float(cells[1]), abs=0.06)
        assert ms == cells[2] == "–" or float(ms) == pytest.approx(float(cells[2]), abs=0.6)


def test_every_block_has_a_line_and_its_row_stands_in_its_yaml():
    """The blocks that the page is about: those of Addmodules in a file of their own, besides the first two."""
    lines = re.findall(r"^\| (?!block|-)(\S.*) \| (`.*`) \| \[(\S+)\]\(", BLOCKS, re.M)
    named = " ".join(line[0] + line[1] for line in lines)
    for name, found in vars(Addmodules).items():
        if isinstance(found, type) and found.__module__.rpartition(".")[2] not in ("DynamicConv", "FasterBlock"):
            assert re.search(rf"\b{name}\b", named), name
    for _, rows, name in lines:
        d = yaml_model_load(f"yolov8n-{name}.yaml")
        used = [str(row) for row in d["backbone"] + d["head"]]
        for word in re.findall(r"`\[.*?, \d, ([\w.]+), ", rows) + re.findall(r"block: (\w+)", rows):
            assert any(f"'{word}'" in row for row in used), name


def test_the_commands_of_the_study():
    """Networks that are there, under options that are there."""
    networks = re.search(r'BLOCKS="\[(.*)\]"', STUDY)[1].split(",")
    assert networks[0] == "yolov8n.yaml" and len(set(networks)) >= 9
    assert {name.removeprefix("yolov8n-").removesuffix(".yaml") for name in networks[1:]} <= set(YAMLS)
    words = re.search(r'SAME="(.*)"', STUDY)[1].split()
    options = [word for word in words if not word.startswith(("seeds=", "results="))]
    assert parse_overrides(options)["epochs"] == 10 and len(words) == len(options) + 2


def test_the_commands_of_the_study_of_losses():
    """Losses and options that are there; the rest as in the study of blocks, whose runs of yolov8n it takes over."""
    page = (ROOT / "benchmarks" / "study-losses.md").read_text(encoding="utf-8")
    variants = yaml.safe_load(re.search(r'LOSSES="(.*)"', page)[1])
    assert variants.pop("ciou") == "yolov8n.yaml" and len(variants) >= 4
    for variant in variants.values():
        assert variant.pop("model") == "yolov8n.yaml" and variant
        DetectTask.check_options(get_options(variant), "train")
    same = [re.search(r'SAME="(.*) results=', text)[1] for text in (page, STUDY)]
    assert same[0] == same[1]


@pytest.mark.parametrize("study", ["blocks", "losses"])
def test_the_tables_of_a_study_hold_what_its_runs_do(study):
    """Means and differences of every variant, losers included, recomputed from the results file."""
    page = (ROOT / "benchmarks" / f"study-{study}.md").read_text(encoding="utf-8")
    runs = pd.read_csv(ROOT / "benchmarks" / f"study-{study}.csv").set_index("seed")
    for heading, data in (("Blood cells", "bccd"), ("Small synthetic objects", "shapes-hard")):
        part = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        told = re.findall(r"^\| (.+?) \| [\d ]+ \| ([\d.]+).*? \| [^|]+ \| (\S+)", part, re.M)
        scores = {name: group["mAP50-95"] for name, group in runs[runs["data"] == data].groupby("name")}
        assert {name for name, _, _ in told} == set(scores) and len(told) == len(scores) > 1
        base = scores[told[0][0]]
        for name, mean, difference in told:
            assert float(mean) == pytest.approx(scores[name].mean(), abs=6e-5)
            if name != told[0][0]:
                assert float(difference) == pytest.approx((scores[name] - base).mean(), abs=6e-5)
