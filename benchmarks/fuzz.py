"""Thousands of damaged files of every kind that this package opens, and runs with random options, within limits.

    python benchmarks/fuzz.py cases=3000 [kinds=[pickle,png]] [seed=0] [first=0] [report=benchmarks/fuzz.md]

A case is a good file with random damage. It passes if it is read, or refused by one of the package's own errors in one
line. The kind `option_sets` trains for two steps with valid options. What counts as a failure is in OUTCOMES. The first
failures of each kind are printed with the number that makes them again: `kinds=[pickle] cases=1 first=1234`.

With a report, cases are added to those that it counts already, and begin with the first number that it does not have;
a kind of `anew=[pickle]` begins again.
"""

import logging
import multiprocessing
import os
import platform
import random
import re
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import cv2
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.fuzz_files import KINDS as FILES
from benchmarks.fuzz_files import Kind
from benchmarks.fuzz_mutations import CANARY
from benchmarks.fuzz_options import OPTION_SETS
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import MAX_TEXT, YOLOError
from ultralytics.utils.files import parse_value

KINDS = FILES | {"option_sets": OPTION_SETS}
SECONDS, BYTES = 10, 2**30  # limits of a case: computing time, and memory beyond what the process has
WAITING = 120  # seconds in all, on a machine that computes for others, too
GRACE = 120  # seconds that a worker may take to make the good files
OUTCOMES = ("read", "refused", "foreign error", "hang", "memory", "code run", "crash")  # from the third on failures
PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.Popen", "pickle.find_class")
CONNECTIONS = ("socket.connect", "socket.getaddrinfo")
ACTIONS = ("os.", "shutil.", "import", "subprocess.", "exec", "ctypes.")  # events with no text of a file among them
LOOKS = ("os.listdir", "os.scandir")  # but these: it may be a name
TEXT = """# Damaged files and random options

Counted by `python benchmarks/fuzz.py` with Python {python}, torch {torch}, {system}. A case is a good file of a few
kilobytes with random damage, opened as a user's call opens it, in a process that may take {seconds} s of computing
and {memory} MiB more for it. *Read* and *refused*, by an error of this package in one line that can be printed, are
right, all others are failures. *Code run* is a process, a connection, a pickle's import, or anything of the programs
that are hidden in some of the files.

`checkpoint`, `module` (a network pickled whole), the formats of images and the like damage bytes; `pickle`, `calls` and
`hostile_objects` the pickle of a checkpoint whose checksums are right; `values`, `resume` (last.pt of a stopped run),
and `metadata` what is in a well-made file. `option_sets` are valid options, 3 to 20 of them drawn at random, each
set a run of two steps of a tiny network of one of the five tasks; those refused contradict each other or the task.

"""


class TooSlowError(BaseException):
    """The time of a case is over; no `except Exception` holds it up."""


@contextmanager
def limits() -> Iterator[None]:
    """Limit the time, and the memory beyond what the process has now, of what happens within."""

    def stop(*_: object) -> None:
        raise TooSlowError

    status = Path("/proc/self/statm")
    now = int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    signal.signal(signal.SIGPROF, stop)
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(WAITING)
    if now is not None:
        resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, before[1]))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(kind: Kind, path: Path, content: object) -> tuple[str, str]:
    """What became of a case, one of OUTCOMES, and the error."""
    try:
        with limits():
            kind.read(path, content)
    except TooSlowError:
        return "hang", f"over {SECONDS} s of computing, or {WAITING} s"
    except BaseException as exc:
        text, known = str(exc), isinstance(exc, YOLOError)
        if wants_memory(exc):
            return "memory", f"over {BYTES / 2**20:.0f} MiB: {text[:200]!r}"
        if known and text.isprintable() and len(text) <= MAX_TEXT:
            return "refused", text
        return "foreign error", f"{type(exc).__name__}: {text[:300]!r}"
    return "read", ""


def wants_memory(exc: BaseException | None) -> bool:
    """Whether an error, or one that it was made of, is a lack of memory."""
    while exc is not None:
        if isinstance(exc, MemoryError) or re.search(r"\ballocat|bad_alloc|[Ii]nsufficient memory", str(exc)):
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def watch(programs: list[str]) -> None:
    """Note what this process does from now on that opening a file must not do."""

    def hook(event: str, args: tuple) -> None:
        hidden = any(isinstance(a, str | bytes) and CANARY in os.fsdecode(a) for a in args)
        if (hidden and event.startswith(ACTIONS) and event not in LOOKS) or event in PROGRAMS or event in CONNECTIONS:
            programs.append(f"{event} {args!r:.200}")

    sys.addaudithook(hook)


def work(results: Connection, name: str, first: int, cases: int, seed: int) -> None:
    """Run cases of a kind and send (number, outcome, error) of each, from a process that may be lost."""
    kind, programs = KINDS[name], []
    LOGGER.setLevel("CRITICAL")
    warnings.simplefilter("ignore")
    if cases > 1:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders write what they think of a file
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # as it need not outlive a power cut
    with tempfile.TemporaryDirectory(dir=memory, ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        path, good = kind.make(Path(folder))
        if kind.files:
            kind.read(path, good)  # it imports what is imported when it is needed first
        results.send(None)
        if kind.files:
            platform.processor()  # starts a program, once
            watch(programs)
        for number in range(first, first + cases):
            random_state = random.Random(f"{seed} {name} {number}")
            content = kind.damage(good, random_state)
            programs.clear()
            result = outcome(kind, path, content)
            if programs or Path(folder, CANARY).exists():
                result = "code run", "; ".join(programs)
            results.send((number, *result))
            if cases == 1:
                print(f"content: {content!r:.3000}\n{result}", flush=True)


def run(name: str, first: int, cases: int, seed: int) -> Counter[str]:
    """Outcomes of the cases of a kind; a worker that is lost, or too slow, is followed by another."""
    counts: Counter[str] = Counter()
    context, at, end = multiprocessing.get_context("fork"), first, first + cases
    while at < end:
        results, sender = context.Pipe(duplex=False)
        worker = context.Process(target=work, args=(sender, name, at, end - at, seed))
        worker.start()
        sender.close()
        try:
            if not results.poll(GRACE):
                raise RuntimeError(f"{name}: the good file was not made in {GRACE} s")
            results.recv()
            while at < end:
                lost = None
                if not results.poll(WAITING + 5):  # within what no signal interrupts
                    lost = "hang", "killed"
                else:
                    with suppress(EOFError):
                        number, *lost = results.recv()
                        assert number == at
                ended, (result, error) = lost is None or lost[1] == "killed", lost or ("crash", "")
                if lost is None:
                    worker.join()
                    error = f"exit code {worker.exitcode}"
                counts[result] += 1
                failures = sum(counts[o] for o in OUTCOMES[2:])
                if result in OUTCOMES[2:] and failures <= 20:
                    print(f"{name} {at}: {result}: {error}", flush=True)
                at += 1
                if ended:
                    break
        finally:
            worker.kill()
            worker.join()
            results.close()
    return counts


def read_report(path: Path) -> dict[str, list[int]]:
    """Counts of a report by kind: those of OUTCOMES, and at last the seconds."""
    rows = re.findall(r"^\| (\w+) \| \d+ \| ([\d |]+) \|$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: [int(cell) for cell in cells.split(" | ")] for name, cells in rows if name in KINDS}


def write_report(path: Path, counts: dict[str, list[int]]) -> None:
    """Write a table of the counts of each kind, in their order."""
    rows = [(name, sum(counts[name][:-1]), *counts[name]) for name in KINDS if name in counts]
    rows.append(("**all**", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    table = ["| kind | cases | " + " | ".join(OUTCOMES) + " | seconds |", "|---" * (len(OUTCOMES) + 3) + "|"]
    table += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    about = {"python": platform.python_version(), "torch": torch.__version__, "system": platform.system()}
    text = TEXT.format(**about, seconds=SECONDS, memory=BYTES // 2**20)
    path.write_text(text + "\n".join(table) + "\n", encoding="utf-8")


def main(options: dict[str, object]) -> None:
    """Run all kinds, or those asked for, print what they come to, and add it to the report."""
    logging.captureWarnings(True)
    report = Path(options["report"]) if options["report"] else None
    failures = 0
    for name in options["kinds"] or KINDS:
        counted = read_report(report) if report and report.exists() else {}
        if name in options["anew"]:
            counted.pop(name, None)
        before = counted.get(name, [0] * (len(OUTCOMES) + 1))
        started = time.monotonic()
        first = sum(before[:-1]) if options["first"] is None else options["first"]
        counts = run(name, first, options["cases"], options["seed"])
        row = [*(counts[o] for o in OUTCOMES), round(time.monotonic() - started)]
        print(f"{name}: {sum(row[:-1])} cases, {dict(counts)}, {row[-1]} s", flush=True)
        failures += sum(row[2:-1])
        if report:
            write_report(report, counted | {name: [a + b for a, b in zip(before, row, strict=True)]})
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    given = {"cases": 1000, "kinds": None, "anew": (), "seed": 0, "first": None, "report": None}
    main(given | {name: parse_value(value) for name, _, value in (word.partition("=") for word in sys.argv[1:])})
