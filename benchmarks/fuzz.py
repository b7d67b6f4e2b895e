"""Thousands of damaged files of every kind that this package opens, each read within limits of time and memory.

    python benchmarks/fuzz.py cases=3000 [kinds=[pickle,image]] [seed=0] [report=benchmarks/fuzz.md]

A case is a good file with random damage. It passes if it is read, or refused by one of the package's own errors in one
line. What counts as a failure is in OUTCOMES. The first failures of each kind are printed with the numbers that make
them again: `kinds=[pickle] cases=1 first=1234`.
"""

import csv
import io
import platform
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ultralytics import YOLO
from ultralytics.cfg import get_options
from ultralytics.data.images import check_image, read_image
from ultralytics.data.labels.cache import load_cache, save_cache
from ultralytics.data.labels.rows import ParsedRows, RowError, parse_box_rows, read_rows
from ultralytics.data.labels.store import LabelStore
from ultralytics.data.loaders import load_source
from ultralytics.data.utils import load_data_yaml
from ultralytics.engine.loggers import ResultsTable
from ultralytics.utils import LOGGER
from ultralytics.utils.errors import YOLOError
from ultralytics.utils.files import parse_value

SECONDS, BYTES = 10, 2**30  # limits of a case
OUTCOMES = ("read", "refused", "other error", "too slow", "too large", "crash")  # from the third on failures

TINY = """
nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 4]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, DynamicConv, [16, 3, 2]]
  - [-1, 1, C2f, [16, True]]
head:
  - [[1, 2, 3], 1, Detect, [nc]]
"""
DATA = "path: {folder}\ntrain: images\nval: [images, images]\nnames: {{0: &a cat, 1: dog}}\nnc: 2\nkpt_shape: [3, 3]\n"
OPTIONS = "epochs: 3\nlr0: 1e-3\nclasses: [0, 2]\nname: exp\ncache: disk\nimgsz: 320\nfreeze: [1, model.2.conv]\n"


@dataclass(frozen=True)
class Kind:
    """A kind of file: `make(folder)` gives its path and a good content, `read(path, content)` writes and opens it."""

    make: Callable[[Path], tuple[Path, bytes]]
    read: Callable[[Path, bytes], object]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Content with one to eight changes: bits and bytes, parts lost, repeated, moved, or exchanged for odd values."""
    out = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        start = rng.randrange(len(out) + 1)
        end = min(start + rng.choice((1, 2, 4, 8, 64, 1024)), len(out))
        action = rng.randrange(7)
        if action == 0 and out:
            out[start % len(out)] ^= 1 << rng.randrange(8)
        elif action == 1:
            out[start:end] = rng.randbytes(end - start)
        elif action == 2:
            del out[start:end]
        elif action == 3:
            out[start:start] = out[start:end] * rng.choice((1, 3, 50))
        elif action == 4:
            place = rng.randrange(len(out) + 1)
            out[place:place] = out[start:end]
        elif action == 5:
            out[start:end] = rng.choice(
                (b"\0" * 8, b"\xff" * 8, b"\xff\xff\xff\x7f", b"9" * 30, b"*a", b"<<: ", b"\n", b"nan")
            )
        elif rng.random() < 0.2:
            del out[start:]
    return bytes(out)


def _file(name: str, content: Callable[[Path], bytes]) -> Callable[[Path], tuple[Path, bytes]]:
    return lambda folder: (folder / name, content(folder))


def _writing(read: Callable[[Path], object]) -> Callable[[Path, bytes], object]:
    def write_and_read(path: Path, data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return write_and_read


def _checkpoint(folder: Path) -> bytes:
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    YOLO(folder / "tiny.yaml").save(folder / "good.pt")
    return (folder / "good.pt").read_bytes()


def _module(folder: Path) -> bytes:
    """A network pickled whole, as the public package saves it."""
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    network = YOLO(folder / "tiny.yaml").model
    buffer = io.BytesIO()
    torch.save({"model": network, "train_args": {"task": "detect"}, "epoch": 3}, buffer)
    (folder / "good.pt").write_bytes(buffer.getvalue())
    return buffer.getvalue()


def _pickle_of(make: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    def pickle(folder: Path) -> bytes:
        make(folder)
        with zipfile.ZipFile(folder / "good.pt") as file:
            return file.read(next(name for name in file.namelist() if name.endswith("/data.pkl")))

    return pickle


def _read_pickle(path: Path, data: bytes) -> object:
    """Open the good checkpoint beside `path` with another pickle, whose checksum is right."""
    with zipfile.ZipFile(path.with_name("good.pt")) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, data if name.endswith("/data.pkl") else good.read(name))
    return YOLO(path)


def _image(suffix: str) -> Callable[[Path], bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    return lambda _: cv2.imencode(suffix, pixels)[1].tobytes()


def _read_image(path: Path) -> object:
    return check_image(path), read_image(path)


def _labels(_: Path) -> bytes:
    return b"0 0.5 0.5 0.25 0.125\n1 0.1 0.2 0.3 0.4 0.5 0.1\n1 .5 .5 1e-1 .2\n"


def _read_labels(path: Path) -> object:
    with suppress(RowError):  # the scan names file and line
        return parse_box_rows(read_rows(path)[0], 2)


def _cache(folder: Path) -> bytes:
    rows = ParsedRows(np.zeros(2, np.float32), np.full((2, 4), 0.5, np.float32))
    save_cache(folder / "labels.cache", "key", LabelStore.pack(["a.jpg", "b.jpg"], [(20, 30)] * 2, [rows, rows]))
    return (folder / "labels.cache").read_bytes()


def _data_yaml(folder: Path) -> bytes:
    (folder / "images").mkdir(exist_ok=True)
    return DATA.format(folder=folder).encode()


def _source_list(folder: Path) -> bytes:
    (folder / "sub").mkdir(exist_ok=True)
    for name in ("a.png", "sub/b.png"):
        (folder / name).write_bytes(_image(".png")(folder))
    return b"a.png\nsub\nsub/*.png\n"


def _results(_: Path) -> bytes:
    return b"epoch,time,train/box_loss,lr/pg0\n1,2.5,3.1,0.01\n2,5.0,,0.02\n3,7.5,2.9,1e-05\n"


KINDS: dict[str, Kind] = {
    "checkpoint": Kind(_file("bad.pt", _checkpoint), _writing(YOLO)),
    "module": Kind(_file("bad.pt", _module), _writing(YOLO)),
    "pickle": Kind(_file("bad.pt", _pickle_of(_checkpoint)), _read_pickle),
    "module_pickle": Kind(_file("bad.pt", _pickle_of(_module)), _read_pickle),
    "jpg": Kind(_file("bad.jpg", _image(".jpg")), _writing(_read_image)),
    "png": Kind(_file("bad.png", _image(".png")), _writing(_read_image)),
    "webp": Kind(_file("bad.webp", _image(".webp")), _writing(_read_image)),
    "labels": Kind(_file("bad.txt", _labels), _writing(_read_labels)),
    "label_cache": Kind(_file("labels.cache", _cache), _writing(lambda path: load_cache(path, "key"))),
    "source_txt": Kind(_file("list.txt", _source_list), _writing(lambda path: list(load_source(path)))),
    "source_csv": Kind(_file("list.csv", _source_list), _writing(lambda path: list(load_source(path)))),
    "results": Kind(_file("results.csv", _results), _writing(lambda path: ResultsTable(path).resume(3))),
    "data_yaml": Kind(_file("data.yaml", _data_yaml), _writing(load_data_yaml)),
    "model_yaml": Kind(_file("bad.yaml", lambda _: TINY.encode()), _writing(YOLO)),
    "options_yaml": Kind(
        _file("options.yaml", lambda _: OPTIONS.encode()), _writing(lambda path: get_options({"cfg": path}))
    ),
    "value": Kind(
        _file("value", lambda _: b"[0, {a: 1e-3}, 'x', 0x1f, true]"),
        lambda _, data: parse_value(data.decode("latin-1")),
    ),
}


class TooSlowError(BaseException):
    """The time of a case is over; no `except Exception` holds it up."""


@contextmanager
def limits(seconds: int, size: int):
    """Limit the time, and the memory beyond what the process has now, of what happens within."""

    def stop(*_: object) -> None:
        raise TooSlowError

    status = Path("/proc/self/statm")
    now = int(status.read_text().split()[0]) * resource.getpagesize() if status.exists() else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    if now is not None:
        resource.setrlimit(resource.RLIMIT_AS, (now + size, before[1]))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        resource.setrlimit(resource.RLIMIT_AS, before)


def outcome(kind: Kind, path: Path, data: bytes) -> tuple[str, str]:
    """What became of a case, one of OUTCOMES, and the error."""
    try:
        with limits(SECONDS, BYTES):
            kind.read(path, data)
    except YOLOError as exc:
        text = str(exc)
        return (
            ("refused", "") if text.isprintable() and len(text) < 1000 else ("other error", f"message: {text!r:.200}")
        )
    except TooSlowError:
        return "too slow", f"over {SECONDS} s"
    except MemoryError:
        return "too large", f"over {BYTES / 2**20:.0f} MiB"
    except Exception as exc:
        too_large = "alloc" in str(exc)  # of torch
        return ("too large" if too_large else "other error"), f"{type(exc).__name__}: {exc!s:.200}"
    return "read", ""


def work(name: str, first: int, cases: int, seed: int) -> None:
    """Run cases of a kind and write a row `number,outcome,error` of each, in a process that may be lost."""
    folder = Path(tempfile.mkdtemp())
    LOGGER.setLevel("CRITICAL")
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    try:
        path, original = KINDS[name].make(folder)
        rows = csv.writer(sys.stdout)
        for number in range(first, first + cases):
            data = mutate(original, random.Random(f"{seed} {name} {number}"))
            rows.writerow((number, *outcome(KINDS[name], path, data)))
            sys.stdout.flush()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(name: str, first: int, cases: int, seed: int) -> tuple[Counter[str], float]:
    """Outcomes of the cases of a kind, and the seconds that they took; a lost process is begun anew behind its case."""
    counts: Counter[str] = Counter()
    started, at, end = time.monotonic(), first, first + cases
    while at < end:
        command = [sys.executable, __file__, f"worker={name}", f"first={at}", f"cases={end - at}", f"seed={seed}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        rows = [row for row in csv.reader(done.stdout.splitlines()) if len(row) == 3]
        for number, result, error in rows:
            counts[result] += 1
            if result in OUTCOMES[2:] and sum(counts[o] for o in OUTCOMES[2:]) <= 5:
                print(f"{name} {number}: {result}: {error}", flush=True)
        at += len(rows)
        if at < end:  # ended by a signal, in the case after the last row
            print(f"{name} {at}: crash, exit code {done.returncode}", flush=True)
            counts["crash"] += 1
            at += 1
    return counts, time.monotonic() - started


def main(options: dict[str, object]) -> None:
    """Run all kinds and print, or write, a table."""
    if "worker" in options:
        return work(options["worker"], options["first"], options["cases"], options["seed"])
    table = ["| kind | cases | " + " | ".join(OUTCOMES) + " | seconds |", "|---" * (len(OUTCOMES) + 3) + "|"]
    total: Counter[str] = Counter()
    for name in options["kinds"] or KINDS:
        counts, seconds = run(name, options["first"], options["cases"], options["seed"])
        total += counts
        cells = [name, sum(counts.values()), *(counts[o] for o in OUTCOMES), f"{seconds:.0f}"]
        table.append("| " + " | ".join(map(str, cells)) + " |")
        print(table[-1], flush=True)
    table.append(f"| all | {sum(total.values())} | " + " | ".join(str(total[o]) for o in OUTCOMES) + " | |")
    if options["report"]:
        text = (
            "# Damaged files\n\nMade by `python benchmarks/fuzz.py " + " ".join(sys.argv[1:]) + f"` with Python "
            f"{platform.python_version()}, torch {torch.__version__}, {platform.system()}. A case is a good file with "
            f"random damage, read in a process that may take {SECONDS} s and {BYTES // 2**20} MiB more for it.\n"
            "Right are the outcomes *read*, and *refused* by an error of this package in one line that can be printed; "
            "all others are failures. *pickle* and *module_pickle* damage the pickle in a checkpoint, with checksums "
            "that are right; *module* is a whole network pickled as the public package does it.\n\n"
        )
        Path(options["report"]).write_text(text + "\n".join(table) + "\n", encoding="utf-8")
    if sum(total[o] for o in OUTCOMES[2:]):
        sys.exit(1)


if __name__ == "__main__":
    given = {"cases": 1000, "kinds": None, "seed": 0, "first": 0, "report": None}
    main(given | {name: parse_value(value) for name, _, value in (word.partition("=") for word in sys.argv[1:])})
