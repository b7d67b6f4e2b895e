"""Parameters, true GFLOPs and CPU latency of yolov8n and of yolov8n with each of the blocks: writes blocks.md here.

usage: OMP_NUM_THREADS=1 python benchmarks/blocks.py [ROUNDS]       default 30; 0 leaves latency out

The networks are those that docs/blocks.md links to, at scale n.
Latency is that of fused float32 networks, batch 1: medians of rounds in which every network runs once, so that other
load affects all of them alike, and their ratios to that of yolov8n, the first. Let nothing else run meanwhile.
"""

import re
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ultralytics.comparison import latency  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402

REPORT = Path(__file__).with_suffix(".md")
IMGSZ = 640
INTRODUCTION = """# What the blocks cost

`OMP_NUM_THREADS=1 python benchmarks/blocks.py`: networks for 80 classes at 640 x 640. GFLOPs count 2 for a
multiply-add, dynamic and deformable convolutions included. {latency} [What they are](../docs/blocks.md)
"""
MEASURED = """Latency: fused, float32, batch 1, medians of
interleaved rounds on {machine}. Two runs of the
command, on a machine shared with others, differed by up to 30 % a row, 20 % in the ratio to yolov8n."""
NOT_MEASURED = "Latency was not measured."
HEAD = "| model | parameters | GFLOPs | ms an image | x yolov8n |\n|---|---|---|---|---|"


def documented() -> list[str]:
    """Names of the model YAMLs of the page of blocks."""
    page = (ROOT / "docs" / "blocks.md").read_text(encoding="utf-8")
    return [f"yolov8n-{name}.yaml" for name in dict.fromkeys(re.findall(r"v8/yolov8-([\w-]+)\.yaml", page))]


def main(rounds: int) -> None:
    """Count, measure, and write the table."""
    names = ["yolov8n.yaml", *documented()]
    networks = {name: DetectionModel(name, verbose=False) for name in names}
    counts = {name: network.info(verbose=False, imgsz=IMGSZ)[1::2] for name, network in networks.items()}
    times = {}
    if rounds:
        latency.ROUNDS = latency.MIN_ROUNDS = rounds
        fused = {name: network.eval().fuse(verbose=False) for name, network in networks.items()}
        times = latency.measure_interleaved(fused, dict.fromkeys(fused, torch.rand(1, 3, IMGSZ, IMGSZ)))
    rows = []
    for name, (parameters, gflops) in counts.items():
        cells = [f"{times[name]:.1f}", f"{times[name] / times[names[0]]:.2f}"] if times else ["–", "–"]
        rows.append(f"| {Path(name).stem} | {parameters:,} | {gflops:.2f} | {' | '.join(cells)} |")
    measured = MEASURED.format(machine=latency.machine()) if times else NOT_MEASURED
    text = "\n".join([INTRODUCTION.format(latency=measured), HEAD, *rows, ""])
    REPORT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__.strip())
        sys.exit()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
