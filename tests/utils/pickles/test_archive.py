"""Files that are no checkpoint, are damaged, or would run something: each is one sentence, and nothing runs."""

import errno
import io
import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from ultralytics.utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from ultralytics.utils.errors import CheckpointError

WEIGHTS = {"conv.weight": torch.ones(20, 10), "conv.bias": torch.zeros(20)}


def archive(path: Path, entries: dict[str, bytes], **options) -> Path:
    """A zip file with these entries."""
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def only_entries(path: Path) -> dict[str, bytes]:
    """What is in a zip file."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def legacy() -> bytes:
    """A state dict in the format of torch before 1.6."""
    buffer = io.BytesIO()
    torch.save({"a": torch.ones(3)}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def torchscript(path: Path) -> None:
    """The archive layout of TorchScript."""
    archive(path, {"a/data.pkl": b"N.", "a/constants.pkl": b").", "a/code/x.py": b"", "a/version": b"3\n"})


def refusal(path: Path) -> str:
    """The one sentence with which a file is refused."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF" * 50, "no checkpoint.*torch.save"),
        (b"train: images\n", "no checkpoint"),
        (b"\x80\x04}q\x00.", "no checkpoint"),
        (b"PK\x03\x04" + b"x" * 99, "cut short"),
        (legacy(), "before 1.6"),
    ],
)
def test_foreign_files_are_one_sentence(tmp_path, content, reason):
    (tmp_path / "a.pt").write_bytes(content)
    assert re.search(reason, refusal(tmp_path / "a.pt"))


def test_foreign_archives_are_one_sentence(tmp_path):
    path = tmp_path / "a.pt"
    assert "none that torch.save wrote" in refusal(archive(path, {"word/document.xml": b"<x/>"}))
    torchscript(path)
    assert "TorchScript" in refusal(path)
    torch.save({"note": "hello"}, path)
    assert "no weights" in refusal(path)
    torch.save([torch.ones(2)], path)
    assert "no weights" in refusal(path)
    torch.save({"format": "yolo-plain-9", "model": {}}, path)
    assert "yolo-plain-9" in refusal(path)
    save_checkpoint(path, Checkpoint(WEIGHTS))
    entries = only_entries(path)
    assert "compressed" in refusal(archive(path, entries, compression=zipfile.ZIP_DEFLATED))
    big = {name: b"big" if name.endswith("byteorder") else data for name, data in entries.items()}
    assert "endian" in refusal(archive(path, big))
    storage = next(name for name in entries if "/data/" in name)
    assert "damaged" in refusal(archive(path, {n: d for n, d in entries.items() if n != storage}))
    assert "damaged" in refusal(archive(path, {n: d[:-1] if n == storage else d for n, d in entries.items()}))


def test_an_attack_is_refused_by_name_and_runs_nothing(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"model": nn.Linear(2, 2), "train_args": {"x": Attack()}}, tmp_path / "a.pt")
    message = refusal(tmp_path / "a.pt")
    assert f"call {os.system.__module__}.system" in message
    assert "state_dict" in message
    assert not (tmp_path / "ran").exists()


def test_modules_without_end_are_refused(tmp_path):
    network = nn.Sequential(nn.Linear(2, 2))
    network.add_module("again", network)
    torch.save(network, tmp_path / "a.pt")
    assert "contain each other" in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.7, 0.99])
def test_truncated_files_are_one_sentence(tmp_path, fraction):
    save_checkpoint(tmp_path / "a.pt", Checkpoint(WEIGHTS))
    save_file(WEIGHTS, tmp_path / "a.safetensors")
    for path in (tmp_path / "a.pt", tmp_path / "a.safetensors"):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
        assert "cut short" in refusal(path)


def test_missing_files_say_where_weights_come_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refusal(Path("yolov8n.pt"))
    for said in (str(tmp_path), "nothing is ever downloaded", "release page", "train your own"):
        assert said in message
    save_checkpoint("yolov8s.pt", Checkpoint(WEIGHTS))
    assert "there is yolov8s.pt" in refusal(Path("yolov8n.pt"))
    assert "is a folder" in refusal(tmp_path)


def test_unreadable_files_say_why(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "a.pt", Checkpoint(WEIGHTS))

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)
    assert os.strerror(errno.EACCES) in refusal(tmp_path / "a.pt")


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> dict[str, bytes]:
    """Entries of a small checkpoint of pickled modules."""
    path = tmp_path_factory.mktemp("small") / "a.pt"
    torch.save({"model": nn.Sequential(nn.Linear(2, 2)), "train_args": {"imgsz": 64}}, path)
    return only_entries(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_altered_pickles_with_valid_checksums_raise_nothing_else(small, tmp_path_factory, data):
    pickled = next(name for name in small if name.endswith("data.pkl"))
    raw = bytearray(small[pickled])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("altered") / "a.pt"
    archive(path, small | {pickled: bytes(raw[: data.draw(st.integers(len(raw) // 2, len(raw)))])})
    try:
        load_checkpoint(path)
    except CheckpointError as exc:
        assert str(exc).startswith(str(path))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_altered_files_raise_nothing_else(small, tmp_path_factory, data):
    path = archive(tmp_path_factory.mktemp("altered") / "a.pt", small)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(raw)
    try:
        load_checkpoint(path)
    except CheckpointError as exc:
        assert str(path) in str(exc)
