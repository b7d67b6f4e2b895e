"""Processor time to build yolov8n and yolov8x in this tree and in an earlier commit, in turns: A B A B.

usage: OMP_NUM_THREADS=1 python benchmarks/build.py [COMMIT [BUILDS]]       default ea36954 and 20; let nothing else run

The earlier tree is checked out as a git worktree in a temporary folder. Each tree builds in a process of its own, one
network at a time, on demand, so that other load affects both alike; the first build of each is not counted.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = ("yolov8n.yaml", "yolov8x.yaml")
BUILDER = """
import sys, time
from ultralytics.nn.tasks import DetectionModel
for line in sys.stdin:
    start = time.process_time()
    DetectionModel(line.strip(), verbose=False)
    print(time.process_time() - start, flush=True)
"""


class Tree:
    """A tree whose process builds a network whenever it is asked."""

    def __init__(self, folder: Path) -> None:
        # `-c` puts the current folder first, before an installed package.
        command = [sys.executable, "-c", BUILDER]
        self.process = subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def build(self, name: str) -> float:
        """Processor seconds of a build, which is one thread."""
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def main(commit: str, builds: int) -> None:
    """Build in turns and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", folder, commit], check=True)
        trees = {commit: Tree(Path(folder)), "this tree": Tree(ROOT)}
        try:
            for name in NETWORKS:
                times = {tree: [] for tree in trees}
                for _ in range(builds + 1):
                    for tree, builder in trees.items():
                        times[tree].append(builder.build(name))
                before, now = (median(spent[1:]) for spent in times.values())
                print(f"{name}: {commit} {before * 1e3:.0f} ms, this tree {now * 1e3:.0f} ms, {now / before:.2f} times")
        finally:
            for builder in trees.values():
                builder.process.stdin.close()
                builder.process.wait()
            subprocess.run([*git, "remove", "--force", folder], check=True)


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__.strip())
        sys.exit()
    main(sys.argv[1] if len(sys.argv) > 1 else "ea36954", int(sys.argv[2]) if len(sys.argv) > 2 else 20)
