"""Where the time of a training step and of a prediction goes, and how near its convolutions are to what a core gives.

usage: python benchmarks/limits.py DATA [WEIGHTS] [--model YAML] [--threads N]

DATA is a folder with bccd/. Operators by torch's profiler, each without what it calls; "outside torch's operators" is
the clock's time less theirs. A core gives what a product of two matrices and a copy reach. The first prediction of a
process is taken apart by the clock. Let nothing else run.
"""

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import cv2
import torch
from stages import prediction, step
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 15
KINDS = {  # by the beginning of an operator's name, the first that fits
    "gradients of convolutions": ("aten::convolution_backward", "aten::mkldnn_convolution_b", "aten::_slow_conv2d_b"),
    "convolutions": (  # the last with SiLU
        *("aten::mkldnn_convolution", "aten::_slow_conv2d", "aten::convolution", "aten::_convolution"),
        "mkldnn::_convolution_pointwise",
    ),
    "batch normalization": ("aten::native_batch_norm", "aten::batch_norm"),
    "SiLU": ("aten::silu",),
    "concatenation, copies": ("aten::cat", "aten::copy_", "aten::clone", "aten::slice_backward"),
    "pooling, upsampling": ("aten::max_pool", "aten::upsample"),
}


def seconds(work: Callable[[], object]) -> float:
    """Median time of one call."""
    times = []
    for _ in range(ROUNDS + 1):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times[1:])


def core() -> tuple[float, float]:
    """What the threads reach: GFLOP/s of a product of matrices, GB/s of a copy, read and written."""
    left, right = torch.rand(2, 2048, 2048)
    source, target = torch.rand(2, 64 * 2**20)
    with torch.no_grad():
        product = 2 * 2048**3 / seconds(lambda: left @ right) / 1e9
        return product, 2 * source.nbytes / seconds(lambda: target.copy_(source)) / 1e9


def report(title: str, work: Callable[[], object], peak: float) -> None:
    """Print the parts of `work` as rows of a table, and what its convolutions reach of `peak` GFLOP/s."""
    whole = seconds(work)
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        start = perf_counter()
        for _ in range(ROUNDS):
            work()
        watched = (perf_counter() - start) / ROUNDS  # the profiler takes time, too
    parts: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        kind = next((name for name, begins in KINDS.items() if event.key.startswith(begins)), "other operators")
        parts[kind] += event.self_cpu_time_total / 1e6 / ROUNDS
    parts["outside torch's operators"] = watched - sum(parts.values())
    print(f"\n| {title}: {1e3 * whole:.1f} ms | share |\n|---|---|")
    for name, spent in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"| {name} | {100 * spent / watched:.1f} % |")
    packed = {
        torch.ops.mkldnn._convolution_pointwise: (
            lambda x, weight, *_, out_shape, **__: 2 * out_shape.numel() * weight[1:].numel()
        )
    }
    with FlopCounterMode(display=False, custom_mapping=packed) as counter:
        work()
    spent = (parts["convolutions"] + parts["gradients of convolutions"]) * whole / watched
    reached = counter.get_total_flops() / spent / 1e9
    print(f"\nIts convolutions: {reached:.0f} GFLOP/s, {100 * reached / peak:.0f} % of a product of matrices.")


FIRST = """
import json, sys
from copy import deepcopy
from time import perf_counter
clock, parts = [perf_counter()], {}
def lap(name):
    clock.append(perf_counter())
    parts[name] = clock[-1] - clock[-2]
import torch
lap("import torch")
from ultralytics import YOLO
from ultralytics.utils.checkpoint import load_checkpoint
lap("import the rest")
load_checkpoint(sys.argv[1])
lap("unpickle the weights")
model = YOLO(sys.argv[1])
lap("unpickle them and build the network")
import numpy as np
image = np.zeros((640, 640, 3), np.uint8)
model.predict(image, verbose=False)
lap("first prediction")
model.predict(image, verbose=False)
lap("of it: what a second one takes")
deepcopy(model.model).eval().fuse(verbose=False)
lap("of it: copy and fuse the network")
print(json.dumps(parts))
"""


def first_prediction(weights: str) -> None:
    """Print what a new process does until it has predicted, medians of five, as rows of a table."""
    command = [sys.executable, "-c", FIRST, str(Path(weights).resolve())]
    runs = [json.loads(subprocess.check_output(command, text=True, cwd=ROOT).splitlines()[-1]) for _ in range(5)]
    print("\n| a new process | ms |\n|---|---|")
    for part in runs[0]:
        print(f"| {part} | {1e3 * median(run[part] for run in runs):.0f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("weights", nargs="?", default="yolov8n.yaml")
    parser.add_argument("--model", default="yolov8n.yaml", help="what takes the training step")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    cv2.setNumThreads(given.threads)
    peak, bandwidth = core()
    print(f"{given.threads} threads: {peak:.0f} GFLOP/s in a product of matrices, {bandwidth:.1f} GB/s in a copy.")
    report(f"a training step of {given.model}, batch 8 at 320 px", step(given.data, given.model), peak)
    report("a prediction at 640 px", prediction(given.data, given.weights), peak)
    if given.weights.endswith(".pt"):
        first_prediction(given.weights)


if __name__ == "__main__":
    main()
