"""Time every stage of this tree, and of the public package beside it, alternately.

usage: python benchmarks/run.py DATA [--peer PYTHON] [--stages load-320,predict,...] [--threads 1,2,default]
                                [--models yolov8n.yaml,...] [--weights best.pt,...] [--rounds 15] [--json FILE]

DATA is a folder with bccd/ and coco_mini/ (images, labels, data.yaml). PYTHON is that of a virtual environment with the
public package. Training stages take `models`, the others `weights`, of networks trained on bccd. Rounds alternate,
A B A B, after one that is not counted; figures are medians, ratios the peer's time over ours. Let nothing else run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

from stages import described

ROOT = Path(__file__).resolve().parents[1]
LOADING = ("load-640", "load-320", "load-320-large", "load-320-reduced", "load-640-ram")
OF_WEIGHTS = ("val", "predict", "folder-1", "folder-8", "cold-detect")
IN_A_PROCESS = (*LOADING, "step", "epoch", "val", "predict", "folder-1", "folder-8")
COLD = {  # a process each time
    "cold-import": "from ultralytics import YOLO",
    "cold-detect": "from ultralytics import YOLO; YOLO({model!r}).predict({image!r}, device='cpu', verbose=False)",
}
MEMORY = "memory"  # megabytes at the peak of a training of one epoch
TRAIN = (
    "import resource, tempfile; from ultralytics import YOLO; YOLO({model!r}).train(data={data!r}, imgsz=320, "
    "epochs=1, batch=16, workers=0, device='cpu', project=tempfile.mkdtemp(), plots=False, verbose=False); "
    "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
)


class Side:
    """One of the two: its Python, and a process of it that answers requests."""

    def __init__(self, python: str, data: Path, paths: list[str]) -> None:
        self.python, self.data = python, data
        # The public package asks for nothing from outside, and our folder must not stand in for it, or it for ours.
        self.environment = os.environ | {"YOLO_OFFLINE": "true", "PYTHONPATH": os.pathsep.join(paths)}
        self.folder = tempfile.mkdtemp()
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start a fresh process for the requests to come."""
        self.stop()
        command = [self.python, str(ROOT / "benchmarks" / "stages.py"), str(self.data)]
        how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self.process = subprocess.Popen(command, cwd=self.folder, env=self.environment, **how)

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.stdin.close()
            self.process.wait()

    def ask(self, stage: str, model: str, threads: int | None) -> float:
        """Seconds of one round."""
        self.process.stdin.write(json.dumps({"stage": stage, "model": model, "threads": threads}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit(f"{self.python} cannot do {stage}: run stages.py with it to see why")
        return json.loads(answer)

    def run(self, code: str) -> tuple[float, str]:
        """Seconds that a process of its own takes for `code`, and what it prints."""
        start = perf_counter()
        done = subprocess.run(
            [self.python, "-c", code],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"{self.python} -c {code!r} failed:\n{done.stderr[-2000:]}")
        return perf_counter() - start, done.stdout


def measure(sides: list[Side], stage: str, model: str, threads: int | None, rounds: int) -> list[float]:
    """Median of each side, in turns."""
    if stage in IN_A_PROCESS:
        for side in sides:
            side.start()
        found = [[side.ask(stage, model, threads) for side in sides] for _ in range(rounds + 1)][1:]
        for side in sides:
            side.stop()
            side.process = None
    else:
        image = str(sorted((sides[0].data / "bccd" / "images" / "val").glob("*.jpg"))[0])
        code = TRAIN if stage == MEMORY else COLD[stage]
        code = code.format(model=model, image=image, data=described(sides[0].data, "bccd"))
        answers = [[side.run(code) for side in sides] for _ in range(min(rounds, 5) + 1)][1:]
        found = [[float(text.split("peak")[1]) if stage == MEMORY else spent for spent, text in row] for row in answers]
    return [median(times) for times in zip(*found, strict=True)]


def main() -> None:
    """Measure what was asked for, print it as a table, write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--peer")
    parser.add_argument("--stages", default=",".join((*IN_A_PROCESS, *COLD, MEMORY)))
    parser.add_argument("--threads", default="1,2,default")
    parser.add_argument("--models", default="yolov8n.yaml")
    parser.add_argument("--weights", default="")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    data = given.data.resolve()
    sides = [Side(sys.executable, data, [str(ROOT)])]
    if given.peer:
        sides.append(Side(given.peer, data, []))
    rows = []
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, medians of {given.rounds} rounds\n")
    print("| stage | model | threads | ours | peer | peer / ours |\n|---|---|---|---|---|---|", flush=True)
    for stage in given.stages.split(","):
        if stage in OF_WEIGHTS:
            models = [str(Path(name).resolve()) for name in given.weights.split(",") if name]
        else:
            models = [""] if stage in (*LOADING, "cold-import") else given.models.split(",")
        for model in models:
            for words in given.threads.split(",") if stage in IN_A_PROCESS else ["default"]:
                threads = None if words == "default" else int(words)
                times = measure(sides, stage, model, threads, given.rounds)
                row = {"stage": stage, "model": model, "threads": words, "ours": times[0]}
                cells = [f"{value:.0f} MB" if stage == MEMORY else f"{1e3 * value:.1f} ms" for value in times]
                if len(times) > 1:
                    row |= {"peer": times[1], "ratio": times[1] / times[0]}
                    cells.append(f"{times[1] / times[0]:.2f}")
                rows.append(row)
                print(f"| {stage} | {Path(model).name} | {words} | {' | '.join(cells)} |", flush=True)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
