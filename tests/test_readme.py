"""What the READMEs say is so, and the Chinese one says the same."""

import json
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from ultralytics.cfg import parse_overrides
from ultralytics.nn.tasks import DetectionModel, parse_model
from ultralytics.utils.errors import ModelError
from ultralytics.utils.files import load_yaml

ROOT = Path(__file__).parents[1]
ENGLISH, CHINESE = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
TEST_COMMAND = 'python -m pip install -e ".[dev]" && python -m pytest'


def code_blocks(text: str) -> list[str]:
    """Code of a README without its comments, which are in the reader's language."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    return [re.sub(r" *#.*", "", block).replace(" ", "") for block in blocks]


def table_rows(text: str) -> list[str]:
    """Rows of the model table."""
    return re.findall(r"^\| (yolov8\S* \| \d[\d.]* M, .*) \|$", text, re.MULTILINE)


def test_both_have_the_same_commands_examples_numbers_and_pictures():
    assert code_blocks(ENGLISH) == code_blocks(CHINESE)
    assert table_rows(ENGLISH) == table_rows(CHINESE)
    pictures = [re.findall(r"!\[.*\]\((.*)\)", text) for text in (ENGLISH, CHINESE)]
    assert pictures[0] == pictures[1] and all((ROOT / picture).is_file() for picture in pictures[0])
    numbers = [
        [sorted(re.findall(r"\d\.\d+", section)) for section in text.split("\n## ")] for text in (ENGLISH, CHINESE)
    ]
    assert numbers[0] == numbers[1] and sum(map(len, numbers[0])) > 100


def test_the_gate_runs_the_test_command():
    assert TEST_COMMAND in ENGLISH and TEST_COMMAND in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert TEST_COMMAND in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_every_option_of_the_commands_is_one():
    for line in re.findall(r"^(?:python.* && )?python (?:train|val|detect)\.py(.*)$", ENGLISH, re.MULTILINE):
        parse_overrides(line.split())


@pytest.mark.parametrize("row", table_rows(ENGLISH), ids=lambda row: row.split(" ")[0])
def test_the_model_table(row):
    name, *cells = row.split(" | ")
    counts = json.loads((ROOT / "tests" / "nn" / "counts.json").read_text(encoding="utf-8"))["counts"]
    for scale, cell in zip("nsmlx", cells, strict=True):
        parameters, gflops = counts.get(name, {}).get(scale) or measured(name, scale)
        assert cell == f"{parameters / 1e6:.2f} M, {gflops:.1f}"


def measured(name: str, scale: str) -> tuple[int, float]:
    """Parameters and GFLOPs of a network that the reference does not have."""
    model = DetectionModel(name.replace("yolov8", f"yolov8{scale}") + ".yaml", verbose=False)
    _, parameters, _, gflops = model.info(verbose=False)
    return parameters, gflops


STUDY = pd.read_csv(ROOT / "benchmarks" / "study.csv")
TABLES = {  # the dataset, epochs and seeds that a table of the READMEs is about, in their order
    "from scratch": ("bccd", 20, 3),
    "more seeds": ("bccd", 20, 5),
    "twice the learning rate": ("bccd", 20, 3),
    "small objects": ("shapes-hard", 20, 3),
    "warm starts": ("bccd", 10, 3),
}


@pytest.mark.parametrize("text", [ENGLISH, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize("table", TABLES)
def test_the_study(text, table):
    """Its tables hold what the results file does: means, spreads, differences paired by seed, how many seeds."""
    data, epochs, wanted = TABLES[table]
    runs = STUDY[(STUDY["data"] == data) & (STUDY["epochs"] == epochs) & (STUDY["seed"] < wanted)]
    runs = runs[runs["own"].notna() == (table == "twice the learning rate")]
    seeds = runs.pivot(index="seed", columns="name", values="mAP50-95")
    if table == "more seeds":
        seeds = seeds.dropna(axis="columns")
    found = re.findall(r"^\|[-| ]+\|\n((?:\| \S.* \| \d \| 0\.\d{4}.*\n)+)", text, re.MULTILINE)[
        list(TABLES).index(table)
    ]
    rows = [row.strip("| ").split(" | ") for row in found.splitlines()]
    assert {row[0] for row in rows} == set(seeds)  # losers included
    base = seeds[rows[0][0]]
    for name, count, score, difference, _, parameters, gflops in rows:
        values, run = seeds[name].dropna(), runs[runs["name"] == name].iloc[0]
        assert int(count) == len(values)
        assert [f"{run['parameters'] / 1e6:.2f} M", f"{run['gflops']:.2f}"] == [parameters, gflops]
        pairs = [(score, values), *([] if name == base.name else [(difference, (values - base).dropna())])]
        for cell, numbers in pairs:
            expected = (numbers.mean(), numbers.std()) if len(numbers) > 1 else (numbers.mean(),)
            assert [float(part) for part in cell.split(" ± ")] == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("model", sorted(set(STUDY["model"])))
def test_the_networks_of_the_study_are_here(model):
    """Those that did not prove themselves are beside the results; all have the parameters that were trained."""
    beside = ROOT / "benchmarks" / "study" / model
    run = STUDY[STUDY["model"] == model].iloc[0]
    classes = {"bccd": 3, "shapes-hard": 12}[run["data"]]
    path = beside if beside.with_name(model.replace("v8n", "v8")).exists() else model
    network = DetectionModel(path, nc=classes, verbose=False)
    assert network.info(verbose=False)[1] == run["parameters"]


def test_the_message_for_a_typing_error():
    d = load_yaml(ROOT / "ultralytics" / "cfg" / "models" / "v8" / "yolov8.yaml") | {"scale": "n"}
    d["backbone"][9][2] = "SPFP"
    with pytest.raises(ModelError) as error:
        parse_model(d, 3, verbose=False)
    quoted = re.search(r"`… row 9 …: (there is no module 'SPFP'.*?)…`", ENGLISH)[1]
    assert quoted in str(error.value)


def test_links_lead_somewhere():
    for text in (ENGLISH, CHINESE, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for target in re.findall(r"\]\((?!http|#)(.*?)\)", text):
            assert (ROOT / target).exists(), target


def test_nothing_of_a_reference_data_set_is_in_the_repository():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    pictures = [name for name in listed if name.endswith((".jpg", ".jpeg", ".png", ".mp4", ".pt", ".safetensors"))]
    assert {Path(name).parent.as_posix() for name in pictures} <= {"docs"}
