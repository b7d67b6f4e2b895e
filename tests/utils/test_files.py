"""YAML in and out, run folders, writes that cannot half happen, names somebody meant."""

import errno
import os
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ultralytics.utils import files
from ultralytics.utils.errors import ConfigError, DependencyError, YOLOError
from ultralytics.utils.files import (
    atomic_write,
    import_extra,
    increment_path,
    load_yaml,
    nearest,
    parse_value,
    read_csv,
    save_yaml,
    write_csv,
)

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Co", "Cn")), max_size=12)
NUMBERS = st.integers(-(10**12), 10**12) | st.floats(allow_nan=False)
LEAVES = (
    TEXT | NUMBERS | st.booleans() | st.none() | st.sampled_from(["1e-3", "08", "no", "1_000", "12:30", "~", "0x1f"])
)


def write(path: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E+4", -2e4),
        ("5.", 5.0),
        (".5", 0.5),
        ("08", 8),
        ("010", 10),
        ("0x1F", 31),
        ("True", True),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("1e", "1e"),
        ("'1e-3'", "1e-3"),
        ("~", None),
        ("", None),
        ("[-1, 0.5, nearest, 'None']", [-1, 0.5, "nearest", "None"]),
    ],
)
def test_load_yaml_reads_plain_values_as_people_mean_them(tmp_path, written, value):
    loaded = load_yaml(write(tmp_path / "a.yaml", f"key: {written}"))["key"]
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_load_yaml_reads_unicode_with_and_without_mark(tmp_path, encoding):
    path = write(tmp_path / "中文.yaml", "names:\r\n  0: 细胞\r\n".encode(encoding))
    assert load_yaml(path) == {"names": {0: "细胞"}}


def test_load_yaml_falls_back_to_the_encoding_of_the_system(tmp_path, monkeypatch):
    path = write(tmp_path / "a.yaml", "names: [细胞]".encode("gbk"))
    monkeypatch.setattr(files.locale, "getpreferredencoding", lambda _: "gbk")
    assert load_yaml(path) == {"names": ["细胞"]}


def test_load_yaml_merges_and_repeats_anchors(tmp_path):
    text = "a: &a {x: 1, <<: {q: 2}}\nb: {<<: *a, x: 3}\n"
    assert load_yaml(write(tmp_path / "a.yaml", text)) == {"a": {"q": 2, "x": 1}, "b": {"q": 2, "x": 3}}


def test_load_yaml_of_an_empty_file_is_empty(tmp_path):
    assert load_yaml(write(tmp_path / "a.yaml", "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("a: 1\nb:\n\t- 1\n", 3, "tab"),
        ("a: 1\nb: [1, 2\n", 3, "expected"),
        ("a: 1\n b: 2\n", 2, "mapping values"),
        ("a: 1\nb: 2\na: 3\n", 3, "'a' is there twice"),
        ("a: 1\nb: *x\n", 2, "undefined alias"),
        ("a: 1\nb: !!python/object/apply:os.getcwd []\n", 2, "constructor"),
        ("a: 1\nb: \x07\n", 2, "special characters"),
        ("a: 1\nb: 中\n".encode("gbk"), 2, "UTF-8"),
    ],
)
def test_load_yaml_names_file_and_line(tmp_path, monkeypatch, content, line, reason):
    monkeypatch.setattr(files.locale, "getpreferredencoding", lambda _: "utf-8")
    path = write(tmp_path / "a.yaml", content)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_yaml(path)
    assert str(caught.value).startswith(f"{path}, line {line}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    ["a: !!int x", "a: !!bool x", "a: !!float ''", "a: !!int [1]", "a: " + "[" * 600, "a: !!timestamp 2024-13-45"],
)
def test_load_yaml_takes_no_other_error(tmp_path, content):
    with pytest.raises(ConfigError, match=r"a\.yaml.*not valid YAML"):
        load_yaml(write(tmp_path / "a.yaml", content))
    assert parse_value(content[3:]) == content[3:]


BOMB = "a: &a {}\n" + "\n".join(f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]" for a, b in pairwise("abcdefghijklmnopq"))
MERGES = "a: &a {x: 1}\n" + "\n".join(
    f"{b}: &{b} {{<<: [{', '.join(['*' + a] * 9)}]}}" for a, b in pairwise("abcdefghijk")
)


@pytest.mark.parametrize("content", [BOMB, "a: &a [*a]\n"], ids=["aliases", "circle"])
def test_aliases_without_end_are_refused(tmp_path, content):
    """A kilobyte that would be gigabytes once it is printed."""
    with pytest.raises(ConfigError, match=r"a\.yaml.*(aliases repeat|recursive)"):
        load_yaml(write(tmp_path / "a.yaml", content))
    assert parse_value(content) == content


def test_merges_of_merges_are_refused_or_harmless(tmp_path):
    """Some versions of PyYAML keep every copy of a key that is merged, others one."""
    try:
        assert set(load_yaml(write(tmp_path / "a.yaml", MERGES))) == set("abcdefghijk")
    except ConfigError as exc:
        assert "endless merges" in str(exc)


def test_integers_of_more_than_64_bits_stay_text(tmp_path):
    digits = "9" * 5000
    assert load_yaml(write(tmp_path / "a.yaml", f"a: {digits}\nb: 0x{digits}\nc: {2**64 - 1}"))["c"] == 2**64 - 1
    assert parse_value(digits) == digits and parse_value(str(2**64)) == str(2**64)


@given(st.text(st.sampled_from("a1:-[]{}#&*!|>'\"%@`\n \t,?.é\x07"), max_size=20) | st.binary(max_size=20))
def test_load_yaml_of_anything_is_a_dict_or_an_error_that_names_the_file(tmp_path_factory, content):
    path = write(tmp_path_factory.mktemp("yaml") / "a.yaml", content)
    try:
        assert isinstance(load_yaml(path), dict)
    except ConfigError as exc:
        assert str(path) in str(exc)


def test_load_yaml_wants_a_file_with_a_mapping(tmp_path):
    for path in (tmp_path / "missing.yaml", tmp_path, write(tmp_path / "list.yaml", "- 1\n")):
        with pytest.raises(ConfigError) as caught:
            load_yaml(path)
        assert str(path) in str(caught.value)


@given(st.dictionaries(TEXT | st.integers(0, 99), LEAVES | st.lists(LEAVES, max_size=3), max_size=4))
def test_yaml_round_trip(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    save_yaml(path, data)
    assert load_yaml(path) == data


def test_save_yaml_writes_paths_tuples_and_order(tmp_path):
    data = {"z": Path("runs", "exp"), "a": (1, "1e-3"), "m": {0: "细胞"}}
    save_yaml(tmp_path / "new" / "a.yaml", data)
    text = (tmp_path / "new" / "a.yaml").read_text(encoding="utf-8")
    assert list(load_yaml(tmp_path / "new" / "a.yaml").items()) == [
        ("z", str(Path("runs", "exp"))),
        ("a", [1, "1e-3"]),
        ("m", {0: "细胞"}),
    ]
    assert yaml.safe_load(text)["a"] == [1, "1e-3"]
    assert "细胞" in text


def test_write_csv_has_the_columns_of_all_rows_and_empty_cells_for_none(tmp_path):
    path = tmp_path / "new" / "a.csv"
    write_csv(path, [{"epoch": 1, "a, b": None}, {"epoch": 2, "x": 0.5, "a, b": "细胞"}])
    assert path.read_bytes() == 'epoch,"a, b",x\n1,,\n2,细胞,0.5\n'.encode()
    assert read_csv(path) == [{"epoch": "1", "a, b": "", "x": ""}, {"epoch": "2", "a, b": "细胞", "x": "0.5"}]


def test_write_csv_takes_the_columns_it_is_given_in_their_order(tmp_path):
    write_csv(tmp_path / "a.csv", [{"a": 1, "b": 2, "c": 3}], columns=("c", "a"))
    assert (tmp_path / "a.csv").read_bytes() == b"c,a\n3,1\n"
    write_csv(tmp_path / "a.csv", [], columns=("c", "a"))
    assert (tmp_path / "a.csv").read_bytes() == b"c,a\n"
    assert read_csv(tmp_path / "a.csv") == []


def test_write_csv_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", b"old")
    monkeypatch.setattr(os, "replace", fail_with(errno.ENOSPC))
    with pytest.raises(YOLOError, match=r"a\.csv"):
        write_csv(path, [{"a": 1}])
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a.csv", b"old")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_read_csv_strips_cells_and_takes_short_long_and_blank_rows(tmp_path, encoding):
    content = "\r\n epoch , 损失\r\n1, 0.5 \r\n\r\n2\r\n3,4,5\r\n"
    assert read_csv(write(tmp_path / "a.csv", content.encode(encoding))) == [
        {"epoch": "1", "损失": "0.5"},
        {"epoch": "2", "损失": ""},
        {"epoch": "3", "损失": "4"},
    ]


def test_read_csv_of_an_empty_file_has_no_rows_and_a_missing_file_is_the_systems_error(tmp_path):
    assert read_csv(write(tmp_path / "a.csv", "")) == []
    assert read_csv(write(tmp_path / "a.csv", "epoch,loss\n")) == []
    with pytest.raises(FileNotFoundError):
        read_csv(tmp_path / "missing.csv")


CELLS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), max_size=6)


@given(st.lists(st.dictionaries(st.sampled_from(["a", "b, c", '"d"']), CELLS, min_size=1), min_size=1, max_size=4))
def test_csv_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    write_csv(path, rows)
    columns = dict.fromkeys(column for row in rows for column in row)
    assert read_csv(path) == [{column: row.get(column, "") for column in columns} for row in rows]


def test_increment_path_counts_from_two_and_creates_nothing(tmp_path):
    wanted = tmp_path / "exp.v1"
    assert increment_path(wanted) == wanted
    assert not wanted.exists()
    for expected in ("exp.v12", "exp.v13"):
        (increment_path(wanted)).mkdir()
        assert increment_path(wanted) == tmp_path / expected
    assert increment_path(wanted, exist_ok=True) == wanted
    (tmp_path / "a.txt").touch()
    assert increment_path(tmp_path / "a.txt") == tmp_path / "a2.txt"
    assert increment_path(wanted, sep="_", mkdir=True) == tmp_path / "exp.v1_2"
    assert (tmp_path / "exp.v1_2").is_dir()


def fail_with(code: int):
    """A stand-in for a call that the operating system refuses."""

    def call(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_atomic_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, call, code):
    path = write(tmp_path / "last.pt", b"old")
    monkeypatch.setattr(os, call, fail_with(code))
    with pytest.raises(YOLOError) as caught:
        atomic_write(path, lambda file: file.write(b"new"))
    assert str(path) in str(caught.value)
    assert os.strerror(code) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    assert path.read_bytes() == b"old"


class FullDisk:
    """A file on a disk that takes `room` bytes more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        """Write, or find the disk full."""
        self.room -= len(data)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)

    def flush(self):
        """Hand on what was written."""
        self.file.flush()


@pytest.mark.parametrize("room", [0, 100, 5000])
def test_atomic_write_finds_the_reason_behind_torch(tmp_path, room):
    path = write(tmp_path / "last.pt", b"old")
    with pytest.raises(YOLOError, match=os.strerror(errno.ENOSPC)):
        atomic_write(path, lambda file: torch.save({"a": torch.zeros(5000)}, FullDisk(file, room)))
    assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
    assert path.read_bytes() == b"old"


def test_atomic_write_passes_on_what_is_not_the_systems_fault(tmp_path):
    for error in (KeyboardInterrupt, ValueError):

        def interrupted(file, error=error):
            file.write(b"half")
            raise error

        with pytest.raises(error):
            atomic_write(tmp_path / "last.pt", interrupted)
    assert list(tmp_path.iterdir()) == []


def test_atomic_write_makes_the_folder_or_says_why_not(tmp_path):
    atomic_write(tmp_path / "a" / "b.bin", lambda file: file.write(b"1"))
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"1"
    with pytest.raises(YOLOError, match=r"b\.bin"):
        atomic_write(tmp_path / "a" / "b.bin" / "c.bin", lambda file: file.write(b"1"))


def test_nearest_offers_what_was_meant():
    known = ["imgsz", "lr0", "lrf", "iou", "conf", "batch", "DynamicConv"]
    assert nearest("img_size", known) == ["imgsz"]
    assert set(nearest("lr", known)) == {"lr0", "lrf"}
    assert nearest("iou_thres", known) == ["iou"]
    assert nearest("dynamicconv", known) == ["DynamicConv"]
    assert nearest("DynamicConv2d", known, n=1) == ["DynamicConv"]
    assert nearest("zzz", known) == []


def test_import_extra_imports_or_says_what_to_install():
    assert import_extra("json", "export").dumps([1]) == "[1]"
    with pytest.raises(DependencyError, match=r'pip install "\.\[coco\]"'):
        import_extra("surely_not_there", "coco")
