"""Kinds of files that this package opens: how a good one is made, how it is damaged, and what reads it."""

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random

import cv2
import numpy as np
import torch
import yaml

from benchmarks.fuzz_mutations import mutate, mutate_values, nested_calls, with_call
from ultralytics import YOLO
from ultralytics.cfg import get_options, parse_overrides
from ultralytics.data.cache.whole import DiskCache
from ultralytics.data.images import check_image, read_image
from ultralytics.data.labels.cache import load_cache, save_cache
from ultralytics.data.labels.rows import ParsedRows, RowError, read_rows
from ultralytics.data.labels.store import LabelStore
from ultralytics.data.loaders import load_source
from ultralytics.data.utils import load_data_yaml
from ultralytics.engine.loggers import ResultsTable
from ultralytics.models.yolo import task_class
from ultralytics.utils.checkpoint import load_checkpoint
from ultralytics.utils.errors import DatasetError
from ultralytics.utils.files import parse_value, read_csv

TINY = """
nc: 2
kpt_shape: [3, 3]
backbone:
  - [-1, 1, Conv, [8, 3, 8]]
  - [-1, 1, DynamicConv, [8, 3, 2]]
  - [-1, 1, C2f, [8, True]]
head:
  - [[0, 2], 1, {head}]
"""
CLASSIFIER = "nc: 2\nbackbone:\n  - [-1, 1, Conv, [8, 3, 2]]\nhead:\n  - [-1, 1, Classify, [nc]]\n"
DATA = "path: {folder}\ntrain: images\nval: [images, images]\nnames: {{0: &a cat, 1: dog}}\nnc: 2\nkpt_shape: [3, 3]\n"
OPTIONS = "epochs: 3\nlr0: 1e-3\nclasses: [0, 2]\nname: exp\ncache: disk\nimgsz: 320\nfreeze: [1, model.2.conv]\n"
ROWS = {
    "detect": b"0 0.5 0.5 0.25 0.125\n1 0.1 0.2 0.3 0.4 0.5 0.1\n1 .5 .5 1e-1 .2\n",
    "segment": b"0 0.1 0.1 0.5 0.1 0.5 0.4\n1 0.1 0.2 0.3 0.4 0.5 0.1 0.2 0.2\n",
    "pose": b"0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.5 0.5 1 0.6 0.6 0\n1 .5 .5 .1 .2 .5 .5 2 .5 .5 2 .5 .5 2\n",
    "obb": b"0 0.1 0.1 0.5 0.1 0.5 0.4 0.1 0.4\n1 0.1 0.2 0.3 0.4 0.5 0.1 0.2 0.2\n",
}
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)


@dataclass(frozen=True)
class Kind:
    """A kind of content: `make(folder)` gives its path and a good one, `read(path, content)` writes and opens it."""

    make: Callable[[Path], tuple[Path, object]]
    read: Callable[[Path, object], object]
    damage: Callable[[object, Random], object] = mutate
    files: bool = True  # False: nothing in it comes from a stranger, and it may start processes


def of_bytes(name: str, content: Callable[[Path], bytes], read: Callable[[Path], object]) -> Kind:
    """A kind of file whose bytes are damaged."""

    def write_and_read(path: Path, data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return Kind(lambda folder: (folder / name, content(folder)), write_and_read)


# Checkpoints ---------------------------------------------------------------------------------------------------------


def network(folder: Path, head: str = "Detect, [nc]") -> Path:
    """The YAML of a tiny network."""
    (folder / "tiny.yaml").write_text(TINY.replace("{head}", head), encoding="utf-8")
    return folder / "tiny.yaml"


def checkpoint(folder: Path) -> bytes:
    """A checkpoint of ours, which also lies in the folder as good.pt."""
    YOLO(network(folder)).save(folder / "good.pt")
    return (folder / "good.pt").read_bytes()


def module(folder: Path) -> bytes:
    """A network pickled whole, as the public package saves it, which also lies in the folder as good.pt."""
    saved = {"model": YOLO(network(folder)).model, "train_args": {"task": "detect"}, "epoch": 3}
    torch.save(saved, folder / "good.pt")
    return (folder / "good.pt").read_bytes()


def pickle_of(make: Callable[[Path], bytes], damage: Callable[[bytes, Random], bytes] = mutate) -> Kind:
    """A kind of checkpoint of which the pickle is damaged, whose checksum is then right."""

    def pickle(folder: Path) -> tuple[Path, bytes]:
        make(folder)
        with zipfile.ZipFile(folder / "good.pt") as file:
            return folder / "bad.pt", file.read(next(name for name in file.namelist() if name.endswith("/data.pkl")))

    return Kind(pickle, lambda path, data: YOLO(exchange(path.with_name("good.pt"), path, "/data.pkl", data)), damage)


def exchange(good: Path, path: Path, entry: str, data: bytes) -> Path:
    """Write to `path` the archive `good` with another content of one entry, whose checksum is right."""
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            target.writestr(name, data if name.endswith(entry) else source.read(name))
    return path


def saved_values(folder: Path) -> tuple[Path, object]:
    """What is in a checkpoint of ours."""
    checkpoint(folder)
    return folder / "bad.pt", torch.load(folder / "good.pt", weights_only=True)


def read_values(path: Path, data: object) -> object:
    """Open a checkpoint of these values."""
    torch.save(data, path)
    return YOLO(path)


def safetensors(folder: Path) -> bytes:
    """Weights in the format of that name."""
    from safetensors.torch import save

    return save(YOLO(network(folder)).model.state_dict())


def interrupted(folder: Path) -> tuple[Path, object]:
    """What is in the last.pt of a run that was stopped after the first of two epochs, copied to folder/copy."""
    from benchmarks.fuzz_options import task_run

    options = task_run(folder, "detect")
    model = YOLO(options.pop("model"))

    def keep(trainer: object) -> None:
        if trainer.epoch == 0:
            shutil.copytree(trainer.save_dir, folder / "copy", dirs_exist_ok=True)

    model.add_callback("on_model_save", keep)
    model.train(**options | {"epochs": 2, "batch": 4})
    last = folder / "copy" / "weights" / "last.pt"
    return last, torch.load(last, weights_only=True)


def resume(path: Path, data: object) -> object:
    """Resume a run from a checkpoint of these values, if the network of it can be built."""
    torch.save(data, path)
    return YOLO(path).train(resume=True)


def damage_state(data: dict, rng: Random) -> dict:
    """The content of last.pt with changes that its training state and its options get most of."""
    place = rng.choice(("training", "training", "training", "args", None))
    return mutate_values(data, rng) if place is None else data | {place: mutate_values(data[place], rng)}


# Images, videos, labels and their caches -----------------------------------------------------------------------------


def image(suffix: str) -> Callable[[Path], bytes]:
    """A small image in the format of a suffix."""

    def encode(_: Path) -> bytes:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(PIXELS[..., ::-1]).save(
            buffer, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix)
        )
        return buffer.getvalue()

    return encode


def read_picture(path: Path) -> object:
    """Check an image, as the scan does, and decode it, whatever the check found."""
    with suppress(DatasetError):
        check_image(path)
    return read_image(path)


def video(suffix: str, code: str) -> Callable[[Path], bytes]:
    """A video of five small frames."""

    def encode(folder: Path) -> bytes:
        path = folder / f"good.{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), 10, PIXELS.shape[1::-1])
        for shift in range(5):
            writer.write(np.roll(PIXELS, 8 * shift, 1))
        writer.release()
        return path.read_bytes()

    return encode


def labels(task: str) -> Kind:
    """A kind of label file: the rows of a task."""
    data = {"names": {0: "a", 1: "b"}, "nc": 2, "nc_in_files": 2, "channels": 3}
    data |= {"kpt_shape": [3, 3], "flip_idx": [1, 0, 2]} if task == "pose" else {}
    parse = task_class(task)(get_options({}), data).label_format().parse

    def read(path: Path) -> object:
        with suppress(RowError):  # the scan names file and line
            return parse(read_rows(path)[0], 2)

    return of_bytes("bad.txt", lambda _: ROWS[task], read)


def store() -> LabelStore:
    """Labels of two images."""
    rows = ParsedRows(np.zeros(2, np.float32), np.full((2, 4), 0.5, np.float32))
    return LabelStore.pack(["a.jpg", "b.jpg"], [(20, 30)] * 2, [rows, rows], [("c.jpg", "broken")])


def label_cache(folder: Path) -> bytes:
    """The cache of a scan."""
    save_cache(folder / "labels.cache", "key", store())
    return (folder / "labels.cache").read_bytes()


def use_cache(path: Path) -> object:
    """Load the cache of a scan and ask for all that is in it."""
    if (found := load_cache(path, "key")) is not None:
        return [(found.file(i), found.labels_of(i)) for i in range(len(found))], found.out_of_bounds, found.counts
    return None


def cached_image(folder: Path) -> bytes:
    """What cache=disk keeps of folder/a.png."""
    cv2.imwrite(str(folder / "a.png"), PIXELS)
    np.save(folder / "a.png.npy", PIXELS)
    return (folder / "a.png.npy").read_bytes()


def read_cached(path: Path) -> object:
    """Image of a disk cache, which must be as it was expected, or none."""
    cache = DiskCache(
        LabelStore.pack([str(path.with_name("a.png"))], [PIXELS.shape[:2]], [], []), np.array([PIXELS.shape[:2]]), 3
    )
    found = cache.get(0)
    assert found is None or (found.shape, found.dtype) == (PIXELS.shape, np.uint8)
    return found


# Texts ---------------------------------------------------------------------------------------------------------------


def of_yaml(text: Callable[[Path], str], read: Callable[[Path], object]) -> Kind:
    """A kind of YAML of which the values are damaged."""

    def make(folder: Path) -> tuple[Path, object]:
        return folder / "bad.yaml", yaml.safe_load(text(folder))

    def write_and_read(path: Path, data: object) -> object:
        path.write_text(yaml.dump(data, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        return read(path)

    return Kind(make, write_and_read, mutate_values)


def data_yaml(folder: Path) -> str:
    """A dataset YAML whose folder is there."""
    (folder / "images").mkdir(exist_ok=True)
    return DATA.format(folder=folder)


def source_list(folder: Path) -> bytes:
    """A list of images that are there."""
    (folder / "sub").mkdir(exist_ok=True)
    for name in ("a.png", "sub/b.png"):
        (folder / name).write_bytes(image("png")(folder))
    return b"a.png\nsub\nsub/*.png\n"


def read_results(path: Path) -> object:
    """The rows of results.csv, as a resumed run and the chart of it read them."""
    table = ResultsTable(path)
    table.resume(3)
    with suppress(OSError, ValueError):  # the chart of a table that no run wrote is nobody's
        read_csv(path)
    return table.rows


# Exported networks ---------------------------------------------------------------------------------------------------


def exported(format: str, folder: Path) -> bytes:
    """A tiny network in the format, which also lies in the folder as good.*."""
    shutil.copy(network(folder), folder / "good.yaml")
    YOLO(folder / "good.yaml").save(folder / "good.pt")
    return Path(
        YOLO(folder / "good.pt").export(format=format, imgsz=64, **{"simplify": False} if format == "onnx" else {})
    ).read_bytes()


def predict(path: Path) -> object:
    """Open an exported network, and predict with it."""
    return YOLO(path).predict(np.zeros((64, 64, 3), np.uint8), verbose=False, device="cpu")


def metadata(format: str) -> Kind:
    """A kind of exported network of which the metadata are damaged."""

    def make(folder: Path) -> tuple[Path, object]:
        exported(format, folder)
        return folder / f"bad.{format}", YOLO(folder / f"good.{format}").model.metadata

    return Kind(
        make,
        lambda path, data: predict({"onnx": with_props, "torchscript": with_config}[format](path, data)),
        mutate_values,
    )


def with_props(path: Path, data: object) -> Path:
    """Write an ONNX file of other metadata."""
    import onnx

    model = onnx.load(path.with_name("good.onnx"))
    del model.metadata_props[:]
    texts = data if isinstance(data, dict) else {"names": data}
    plain = {str(name): str(value).encode("utf-8", "replace").decode() for name, value in texts.items()}
    onnx.helper.set_model_props(model, {name.encode("utf-8", "replace").decode(): text for name, text in plain.items()})
    path.write_bytes(model.SerializeToString())
    return path


def with_config(path: Path, data: object) -> Path:
    """Write a TorchScript file of other metadata."""
    text = json.dumps(data, default=str, skipkeys=True)
    return exchange(path.with_name("good.torchscript"), path, "extra/config.txt", text.encode())


KINDS: dict[str, Kind] = {
    "checkpoint": of_bytes("bad.pt", checkpoint, YOLO),
    "module": of_bytes("bad.pt", module, YOLO),
    "safetensors": of_bytes("bad.safetensors", safetensors, load_checkpoint),
    "pickle": pickle_of(checkpoint),
    "module_pickle": pickle_of(module),
    "calls": pickle_of(module, with_call),
    "hostile_objects": pickle_of(checkpoint, nested_calls),
    "values": Kind(saved_values, read_values, mutate_values),
    "resume": Kind(interrupted, resume, damage_state),
    **{
        suffix: of_bytes(f"bad.{suffix}", image(suffix), read_picture)
        for suffix in ("jpg", "png", "webp", "bmp", "tif", "gif", "jp2")
    },
    "avi": of_bytes("bad.avi", video("avi", "MJPG"), lambda path: list(islice(load_source(path), 50))),
    "mp4": of_bytes("bad.mp4", video("mp4", "mp4v"), lambda path: list(islice(load_source(path), 50))),
    "mkv": of_bytes("bad.mkv", video("mkv", "MJPG"), lambda path: list(islice(load_source(path), 50))),
    **{f"labels_{task}": labels(task) for task in ROWS},
    "label_cache": of_bytes("labels.cache", label_cache, use_cache),
    "image_cache": of_bytes("a.png.npy", cached_image, read_cached),
    "source_txt": of_bytes("list.txt", source_list, lambda path: list(load_source(path))),
    "source_csv": of_bytes("list.csv", source_list, lambda path: list(load_source(path))),
    "results": of_bytes(
        "results.csv", lambda _: b"epoch,time,train/box_loss,lr/pg0\n1,2.5,3.1,0.01\n2,5,,0.02\n", read_results
    ),
    "data_yaml": of_bytes("data.yaml", lambda folder: data_yaml(folder).encode(), load_data_yaml),
    "data_values": of_yaml(data_yaml, load_data_yaml),
    "model_yaml": of_bytes("bad.yaml", lambda _: TINY.replace("{head}", "Detect, [nc]").encode(), YOLO),
    "model_values": of_yaml(lambda _: TINY.replace("{head}", "Pose, [nc, kpt_shape]"), YOLO),
    "options_yaml": of_bytes("options.yaml", lambda _: OPTIONS.encode(), lambda path: get_options({"cfg": path})),
    "options_values": of_yaml(lambda _: OPTIONS, lambda path: get_options({"cfg": path})),
    "words": Kind(
        lambda _: (Path("words"), b"imgsz=320 lr0=1e-3 classes=[0,2] name='x' source=[0,{a:1e-3}] freeze=model.2"),
        lambda _, data: (
            parse_value(data.decode("latin-1")),
            get_options(parse_overrides(data.decode("latin-1").split(" "))),
        ),
    ),
    "onnx_metadata": metadata("onnx"),
    "torchscript_metadata": metadata("torchscript"),
    "onnx": of_bytes("bad.onnx", partial(exported, "onnx"), predict),
    "torchscript": of_bytes("bad.torchscript", partial(exported, "torchscript"), predict),
}
