"""Damaged, odd and hostile files are read, or refused in one sentence; they do nothing else, and not for long."""

import io
import pickle
import random
import shutil
import string
import time
import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.fuzz_files import KINDS
from benchmarks.fuzz_mutations import mutate_values
from tests.tiny import NETWORK, draw_split
from tests.training import rectangle
from ultralytics import YOLO
from ultralytics.cfg import TASKS, get_options
from ultralytics.data.utils import load_data_yaml
from ultralytics.engine.loggers import ResultsTable
from ultralytics.nn.autobackend import ExportedNetwork
from ultralytics.utils.charts.training import plot_results
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import CheckpointError, ConfigError, DatasetError, ModelError, TrainingError, YOLOError

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture
def network(tmp_path):
    """The YAML of a tiny network."""
    (tmp_path / "tiny.yaml").write_text(NETWORK.replace("{head}", "Detect, [nc]"), encoding="utf-8")
    return tmp_path / "tiny.yaml"


# Checkpoints ---------------------------------------------------------------------------------------------------------


def archive(path: Path, data: bytes, **entries: bytes) -> Path:
    """A file as torch.save writes it, of this pickle and these entries beside it."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("m/data.pkl", data)
        for name, content in entries.items():
            file.writestr(f"m/data/{name}", content)
    return path


def doubled(start: bytes, step: bytes, times: int) -> bytes:
    """Opcodes of a value that takes the one before it twice, so many times."""
    return b"\x80\x02" + start + b"q\x00" + b"".join(step + b"q\x00" for _ in range(times))


class Nested(nn.Module):
    """A module that contains itself under many names, which torch itself would not allow."""


def self_containing(names: list[str]) -> bytes:
    module = nn.Module()
    module._parameters["weight"] = nn.Parameter(torch.zeros(2))
    for name in names:
        module._modules[name] = module
    buffer = io.BytesIO()
    torch.save({"model": module}, buffer)
    return buffer.getvalue()


LISTS = doubled(b"]", b"(h\x00h\x00l", 60) + b"."  # a list of two lists of two lists ...
PATHS = doubled(b"X\x40\0\0\0" + b"a" * 64, b"cpathlib\nPosixPath\n(h\x00h\x00tR", 60) + b"."
HUGE = b"\x80\x02ctorch\nSize\n(" + b"\x8b" + (60000).to_bytes(4, "little") + b"\xff" * 59999 + b"\x01" + b"tR."
COPIES = b"\x80\x02](" + b"K\x01" * 5000 + b"eq\x000" + b"(" + b"cbuiltins\nset\n(h\x00tR" * 5000 + b"t."


def as_format(value: bytes) -> bytes:
    """A pickled mapping {"format": value}."""
    return b"\x80\x02}X\x06\0\0\0format" + value.removeprefix(b"\x80\x02").removesuffix(b".") + b"s."


BOMBS = {
    "format": as_format(LISTS),
    "paths": PATHS,
    "number": HUGE,
    "copies": COPIES,
    "dimensions": pickle.dumps(torch.Size([1] * 100), 2),
}


@pytest.mark.parametrize("name", BOMBS)
def test_small_checkpoints_that_would_fill_memory_or_take_forever(tmp_path, name):
    path, started = archive(tmp_path / "a.pt", BOMBS[name]), time.monotonic()
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert time.monotonic() - started < 5 and len(str(caught.value)) < 500


@pytest.mark.parametrize("names", [["a" * 1000], list(string.ascii_letters)], ids=["long", "many"])
def test_a_module_that_contains_itself(tmp_path, names):
    (tmp_path / "a.pt").write_bytes(self_containing(names))
    started = time.monotonic()
    with pytest.raises(CheckpointError, match="some contain each other"):
        load_checkpoint(tmp_path / "a.pt")
    assert time.monotonic() - started < 5


def test_one_storage_under_many_names(tmp_path):
    """Each name would get a copy of its own: 100 GB of 5 MB."""
    shared = torch.zeros(10**6)
    torch.save({f"w{i}": shared for i in range(25_000)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="many times as many elements as the file could hold"):
        load_checkpoint(tmp_path / "a.pt")
    torch.save({f"w{i}": shared for i in range(3)}, tmp_path / "a.pt")  # weights may be shared
    assert len(load_checkpoint(tmp_path / "a.pt").state_dict) == 3


def test_expanded_tensors_under_many_names(tmp_path):
    torch.save({f"w{i}": torch.zeros(1).expand(2**20) for i in range(1000)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="many times as many elements"):
        load_checkpoint(tmp_path / "a.pt")


def test_entries_of_a_zip_file_that_overlap(tmp_path):
    torch.save({f"w{i}": torch.zeros(4000) for i in range(3)}, tmp_path / "a.pt")
    data = bytearray((tmp_path / "a.pt").read_bytes())
    with zipfile.ZipFile(tmp_path / "a.pt") as file:
        place = file.getinfo(next(n for n in file.namelist() if n.endswith("data/0"))).header_offset
    start = data.rindex(b"PK\5\6")
    at = data.find(b"PK\1\2")
    while 0 <= at < start:  # every entry of the directory now leads to the first storage, as large as it claims
        data[at + 42 : at + 46] = place.to_bytes(4, "little")
        data[at + 20 : at + 28] = (10**6).to_bytes(4, "little") * 2
        at = data.find(b"PK\1\2", at + 4)
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(CheckpointError, match="larger than the file"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"yaml": [1]}, "its yaml is a list"),
        ({"names": {0: "a", 2: "b"}}, "its names are not texts by their numbers from 0 on"),
        ({"names": {0: 3}}, "its names are not texts"),
        ({"epoch": "x"}, "its epoch is a str"),
        ({"args": {3: 4}}, "its args and metrics are not all by name"),
        ({"model": {"w": 3}}, "its model is not a mapping of names to tensors"),
        ({"more": 1}, "it lacks or has too many entries, such as more"),
        ({"format": "yolo-plain-9"}, "its format is 'yolo-plain-9', expected yolo-plain-1"),
    ],
    ids=str,
)
def test_fields_of_a_checkpoint_are_checked_at_the_door(tmp_path, network, change, reason):
    good = {"format": "yolo-plain-1", "model": YOLO(network).model.state_dict(), "yaml": None, "task": None}
    good |= {"names": None, "args": {}, "epoch": 0, "metrics": {}, "training": None}
    torch.save(good, tmp_path / "a.pt")
    load_checkpoint(tmp_path / "a.pt")
    torch.save(good | change, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=reason):
        load_checkpoint(tmp_path / "a.pt")


def test_a_checkpoint_that_asks_for_a_gigantic_network(tmp_path, network):
    model = YOLO(network)
    model.save(tmp_path / "a.pt")
    data = torch.load(tmp_path / "a.pt", weights_only=True)
    for place, value in (((0, 1), 10**9), ((0, 3, 0), 10**12)):
        row = data["yaml"]["backbone"]
        *way, last = place
        for step in way:
            row = row[step]
        before, row[last] = row[last], value
        torch.save(data, tmp_path / "b.pt")
        with pytest.raises(CheckpointError, match=r"b\.pt cannot be built here: .*`backbone:` has the number 1e\+"):
            YOLO(tmp_path / "b.pt")
        row[last] = before


def test_an_integer_of_more_than_64_bits_is_no_weight(tmp_path):
    with pytest.raises(CheckpointError, match="a number of 101 bits"):
        load_checkpoint(archive(tmp_path / "a.pt", pickle.dumps({"a": 2**100}, 2)))


# Resuming ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A function that gives the last.pt of a run that was stopped after its first of three epochs, in a new folder."""
    folder = tmp_path_factory.mktemp("stopped")
    draw_split(folder / "data", "train", 4, 0, 2, rectangle)
    draw_split(folder / "data", "val", 2, 1, 2, rectangle)
    (folder / "data.yaml").write_text(
        f"path: {folder}/data\ntrain: images/train\nval: images/val\nnames: [red, blue]\n", encoding="utf-8"
    )
    (folder / "tiny.yaml").write_text(NETWORK.replace("{head}", "Detect, [nc]"), encoding="utf-8")
    model = YOLO(folder / "tiny.yaml")

    def stop(trainer):
        if trainer.epoch == 0:
            shutil.copytree(trainer.save_dir, folder / "copy", dirs_exist_ok=True)

    model.add_callback("on_model_save", stop)
    how = {"imgsz": 64, "batch": 2, "workers": 0, "device": "cpu", "plots": False, "optimizer": "SGD"}
    model.train(data=folder / "data.yaml", epochs=2, project=folder / "runs", **how)

    def again() -> Path:
        place = tmp_path_factory.mktemp("run") / "exp"
        shutil.copytree(folder / "copy", place)
        return place / "weights" / "last.pt"

    return again


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda text: b"\xef\xbb\xbf" + text, 2),
        (lambda text: text + b"2,3", 2),
        (lambda text: text.replace(b"\n1,", b"\nx,", 1), 1),
        (lambda text: text[:-30] + b"\0\xff" * 9, 1),
        (lambda text: b"\xff" * 50, 1),
        (lambda text: b"", 1),
        (lambda text: b'"' + b"9" * 200_000, 1),
    ],
    ids=["mark", "short row", "no number", "bytes", "no text", "empty", "long"],
)
def test_a_damaged_table_of_results_does_not_stop_a_resumed_run(stopped, damage, kept):
    last = stopped()
    table = last.parents[1] / "results.csv"
    table.write_bytes(damage(table.read_bytes()))
    YOLO(last).train(resume=True)
    plot_results(table)
    rows = ResultsTable(table)
    rows.resume(9)
    assert [row["epoch"] for row in rows.rows] == ["1", "2"][-kept:]


DAMAGES = [
    ("epochs", "x"),
    ("epochs", 10**12),
    ("batch", 0),
    ("batch", True),
    ("seconds", float("nan")),
    ("model", {}),
    ("model", {"w": 1}),
    ("gradients", []),
    ("optimizer", {}),
    ("optimizer", {"state": {}, "param_groups": [{"params": [0], "lr": {}}]}),
    ("optimizer", {"state": {}, "param_groups": [{"params": [0]}]}),
    ("scaler", 3),
    ("frozen", [1]),
    ("given", None),
    ("rng", {}),
    ("rng", {"torch": torch.zeros(3), "cuda": [], "numpy": {}, "python": {}}),
    ("gathered", -1),
    ("best_epoch", "a"),
    ("rollbacks", "a"),
    ("stop", 1),
]


@pytest.mark.parametrize(("name", "value"), DAMAGES, ids=lambda v: repr(v)[:20])
def test_the_content_of_a_resumed_checkpoint_is_checked_at_the_door(stopped, name, value):
    last = stopped()
    data = torch.load(last, weights_only=True)
    data["training"][name] = value
    torch.save(data, last)
    model, state = YOLO(last), torch.get_rng_state()
    with pytest.raises(CheckpointError, match=r"last\.pt"):
        model.train(resume=True)
    if name == "rng":
        assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b""], ids=["half", "empty"])
def test_a_damaged_last_checkpoint_leads_to_the_best_one(stopped, damage):
    last = stopped()
    last.write_bytes(damage(last.read_bytes()))
    with pytest.raises(CheckpointError, match=r"last\.pt.*; .*best\.pt holds the best weights of the run"):
        YOLO(last)
    load_checkpoint(last.with_name("best.pt"))


@pytest.mark.public("engine::resume_invalid_checkpoint_args")
@pytest.mark.parametrize("args", [{"epochs": "x"}, {"nonsense": 1}, {"lr0": {}}], ids=str)
def test_options_of_a_resumed_checkpoint_are_checked(stopped, args):
    last = stopped()
    data = torch.load(last, weights_only=True)
    data["args"] |= args
    torch.save(data, last)
    with pytest.raises(CheckpointError, match=rf"last\.pt cannot be resumed: .*{next(iter(args))}"):
        YOLO(last).train(resume=True)


# YAMLs and metadata --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("nc: 2147483648", "`nc:` has the number 2.14748e"),
        ("kpt_shape: [4294967296, 3]", "`kpt_shape:` has the number"),
        ("scales: {n: [1, 1e9, 1024]}", "`scales:` has the number 1e"),
        ("channels: x", "`channels: x` is not the number of an image's channels"),
        ("channels: 0", "`channels: 0` is not"),
    ],
    ids=str,
)
def test_numbers_that_no_network_has(network, change, reason):
    """A network of two thousand million classes would fill the memory before anything failed."""
    text = network.read_text(encoding="utf-8")
    network.write_text(text.replace("nc: 2\n", "") + ("" if "nc" in change else "nc: 2\n") + change, encoding="utf-8")
    with pytest.raises(ModelError, match=rf"tiny\.yaml: {reason}"):
        YOLO(network)


def test_a_number_that_makes_no_layer_may_be_large(network):
    network.write_text(network.read_text(encoding="utf-8") + "version: 20260101\n", encoding="utf-8")
    assert YOLO(network).model.yaml["version"] == 20260101


@pytest.mark.parametrize("row", ["path: {}", "train: [{}]", "val: {}"])
@pytest.mark.parametrize("text", ["ä" * 200, '"\\0"', '"\\ud800"'], ids=["long", "null", "half"])
def test_places_of_a_dataset_that_no_path_can_be(tmp_path, row, text):
    rows = {"train": "train: .", "val": "val: .", row.partition(":")[0]: row.format(text)}
    (tmp_path / "data.yaml").write_text("names: [a]\n" + "\n".join(rows.values()), encoding="utf-8")
    with pytest.raises(YOLOError, match=r"data\.yaml.*(is no path: it contains|longer than the 255|not valid YAML)"):
        load_data_yaml(tmp_path / "data.yaml")


def test_messages_are_no_books():
    assert str(DatasetError("a" * 2000)) == "a" * 2000
    assert len(str(DatasetError("a" * 10**6))) < 2000


METADATA = {"names": {0: "a", 1: "b"}, "stride": 32, "task": "pose", "imgsz": [64, 96], "batch": 1}
METADATA |= {"kpt_shape": [3, 2], "args": {"val_batch": 4, "device": "cpu", "dynamic": False, "data": "a.yaml"}}


@QUICK
@given(st.randoms(use_true_random=False))
def test_metadata_of_an_exported_file_are_checked_at_the_door(rng):
    try:
        found = ExportedNetwork(Path("a.onnx"), mutate_values(METADATA, rng))
    except CheckpointError as exc:
        assert str(exc).startswith("a.onnx") and len(str(exc)) < 500
        return
    assert found.nc == len(found.names) and found.max_stride > 0 and found.task in TASKS
    assert list(found.names) == list(range(found.nc)) and all(isinstance(name, str) for name in found.names.values())
    get_options(found.saved_options)


@pytest.mark.parametrize(("nc", "said"), [(1, None), (2, r"a\.onnx gives outputs of \[\[1, 11, 4\]\].* tell of 12")])
def test_an_exported_network_of_other_outputs_than_its_metadata_tell(nc, said):
    class Network(ExportedNetwork):
        on = None

        def compute(self, images):
            return [torch.zeros(len(images), 11, 4)]

    network = Network(Path("a.onnx"), METADATA | {"names": dict(enumerate("ab"[:nc]))})
    with pytest.raises(CheckpointError, match=said) if said else nullcontext():
        network(torch.zeros(1, 3, 64, 96))


# Options -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [2**63, 2**64, 10**400, -(10**400)], ids=["2**63", "2**64", "10**400", "-10**400"])
def test_numbers_beyond_64_bits(value):
    from ultralytics.cfg import get_options

    for name in ("seed", "epochs", "lr0", "batch", "line_width", "classes", "imgsz"):
        with pytest.raises(ConfigError, match=f"{name}=.*: expected"):
            get_options({name: value})
    assert get_options({"seed": 2**63 - 1}).seed == 2**63 - 1


def test_the_largest_seed_trains(stopped):
    last = stopped()
    folder = torch.load(last, weights_only=True)["args"]
    how = {"imgsz": 64, "batch": 2, "workers": 0, "device": "cpu", "plots": False, "epochs": 1}
    model = YOLO(last)
    model.train(data=folder["data"], project=last.parents[2] / "seeded", seed=2**63 - 1, **how)
    assert model.trainer.epoch == 0


def test_maps_of_one_pixel(tmp_path, stopped):
    options = torch.load(stopped(), weights_only=True)["args"]
    how = {"imgsz": 32, "batch": 1, "workers": 0, "device": "cpu", "plots": False, "epochs": 1}
    with pytest.raises(TrainingError, match="a batch of one image has maps of 1 x 1 pixel at imgsz=32"):
        YOLO(options["model"]).train(data=options["data"], project=tmp_path, **how)


@pytest.mark.parametrize("shape", [(5, 3000), (3000, 5), (1, 4000)], ids=str)
def test_masks_of_long_thin_pictures(golden, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    (result,) = YOLO(golden / "weights" / "segment.pt").predict(
        image, retina_masks=True, imgsz=192, conf=0.001, max_det=20, verbose=False
    )
    assert len(result) and result.masks.data.shape[1:] == shape and len(result.masks.xy) == len(result)


# Anything at all -----------------------------------------------------------------------------------------------------


SLOW = {"resume", "onnx", "onnx_metadata", "torchscript", "torchscript_metadata"}


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[pytest.mark.long] if k in SLOW else []) for k in KINDS])
def test_mutated_files_are_read_or_refused_in_one_sentence(tmp_path_factory, kind):
    """A few hundred of what benchmarks/fuzz.py does at length."""

    @settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        try:
            KINDS[kind].read(path, KINDS[kind].damage(original, rng))
        except YOLOError as exc:
            text = str(exc)
            assert text.isprintable() and 10 < len(text) <= 2000

    folder = tmp_path_factory.mktemp(kind)
    path, original = KINDS[kind].make(folder)
    if kind != "hostile_objects":  # no damage: the good one is a checkpoint
        KINDS[kind].read(path, original)
    check()
