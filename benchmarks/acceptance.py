"""Train the three tutorial models on bccd and hold them against the reference runs; figures go to acceptance.md.

usage: python benchmarks/acceptance.py [REFERENCE]        the folder with golden/ and data/, default ../shared

About an hour on two CPU cores. Finished runs are kept in runs/acceptance and not done again.
"""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from resume import KILLS  # noqa: E402

from ultralytics import YOLO  # noqa: E402

RUNS = ROOT / "runs" / "acceptance"
MODELS = {"yolov8n": "yolov8n.yaml", "YAML1": "yolov8n-DynamicConv.yaml", "YAML2": "yolov8n-C2f-DynamicConv.yaml"}
SETTINGS = {"imgsz": 224, "epochs": 40, "batch": 8, "nbs": 8, "optimizer": "AdamW", "lr0": 0.001, "seed": 0}
KEY = "metrics/mAP50-95(B)"
EACH, TOGETHER = 0.012, 0.006  # how far below the reference one model, and the mean of all, may end
SMOKE_EPOCHS = (2, 3)


def train(name: str, data: Path) -> list[dict[str, str]]:
    """Rows of results.csv of a run of all epochs, which is resumed or made where it is not there."""
    folder = RUNS / name
    table, last = folder / "results.csv", folder / "weights" / "last.pt"
    rows = read(table)
    if len(rows) < SETTINGS["epochs"]:
        if last.exists():
            YOLO(last).train(resume=True)
        else:
            YOLO(MODELS[name]).train(
                data=str(data),
                val=False,
                device="cpu",
                workers=0,
                project=str(RUNS),
                name=name,
                exist_ok=True,
                **SETTINGS,
            )
        rows = read(table)
    return rows


def read(table: Path) -> list[dict[str, str]]:
    """Rows of a results.csv, none if it is not there."""
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def losses(row: dict[str, str]) -> list[float]:
    """Training losses of an epoch: box, cls, dfl."""
    return [float(row[f"train/{part}_loss"]) for part in ("box", "cls", "dfl")]


def smoke(rows: list[dict[str, str]], reference: list[dict]) -> float:
    """Largest gap of the early losses to yolov8n's seeds; 1 is what is allowed: 3 times their own gap, or 3 %."""
    worst = 0.0
    for epoch in SMOKE_EPOCHS:
        for mine, *seeds in zip(
            losses(rows[epoch - 1]), *(r["train_losses"][epoch - 1] for r in reference), strict=True
        ):
            allowed = max(3 * (max(seeds) - min(seeds)), 0.03 * mean(seeds))
            worst = max(worst, abs(mine - mean(seeds)) / allowed)
    return worst


def killed(reference: Path) -> tuple[list[str], bool]:
    """What resume.py finds, a line for each kind of run, and whether nothing differs."""
    command = [sys.executable, str(ROOT / "benchmarks" / "resume.py"), str(reference)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return [line for line in done.stdout.splitlines() if f": after {KILLS} kills" in line], done.returncode == 0


def main(reference: Path) -> None:
    """Train, compare, write the table; exit code 1 if a figure is out of bounds."""
    runs = json.loads((reference / "golden" / "upstream-train.json").read_text(encoding="utf-8"))["runs"]
    seeds = [run for run in runs if run["model"] == "yolov8n"]
    data = RUNS / "bccd" / "data.yaml"
    shutil.copytree(reference / "data" / "bccd", data.parent, dirs_exist_ok=True)  # labels.cache goes beside the labels
    lines, mine, theirs, good = [], [], [], True
    for name in MODELS:
        rows = train(name, data)
        target = mean(run["final"][KEY] for run in runs if run["name"].startswith(f"{name}-"))
        ours, gap = float(rows[-1][KEY]), smoke(rows, seeds)
        mine.append(ours)
        theirs.append(target)
        good &= gap <= 1 and ours >= target - EACH
        lines.append(f"| {name} | {ours:.4f} | {target:.4f} | {ours - target:+.4f} | {gap:.2f} |")
    good &= mean(mine) >= mean(theirs) - TOGETHER
    lines.append(f"| mean | {mean(mine):.4f} | {mean(theirs):.4f} | {mean(mine) - mean(theirs):+.4f} | |")
    head = (
        "# Training against the reference\n\n"
        f"`python benchmarks/acceptance.py`: bccd, {SETTINGS}, val=False, all else default; validation of the last "
        f"epoch's EMA. Each model may end {EACH} below its reference, their mean {TOGETHER}; early losses (epochs 2, "
        "3) are in units of what is allowed, three times the gap between the reference's own seeds.\n\n"
        "| model | mAP50-95 | reference | difference | early losses |\n|---|---|---|---|---|\n"
    )
    verdicts, exact = killed(reference)
    good &= exact
    tail = (
        "\n\n# Killed and resumed\n\n"
        "`python benchmarks/resume.py`: YAML 1 at 64 px, 16 epochs, SIGKILL at random moments.\n\n"
    )
    text = head + "\n".join(lines) + tail + "\n".join(f"- {line}" for line in verdicts)
    text += f"\n\n{'All within bounds.' if good else 'OUT OF BOUNDS.'}\n"
    (ROOT / "benchmarks" / "acceptance.md").write_text(text, encoding="utf-8")
    print(text)
    sys.exit(not good)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared")
