"""Pickles are read as data: what would run is refused by name, and damage is one sentence."""

import builtins
import collections
import contextlib
import copyreg
import datetime
import functools
import os
import pathlib
import pickle
import subprocess
import sys
import tracemalloc
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.pickles.unpickling import Global, Record, Storage, TensorRef, load_plain

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.binary(min_size=1, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.integers(-(2**63), 2**64 - 1) | st.text(max_size=4), inner, max_size=4)
        | st.sets(st.integers(-(2**63), 2**64 - 1), max_size=4)
    ),
    max_leaves=12,
)


class Calls:
    """Pickles to a call."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


TARGETS = ((os, "system"), (os, "remove"), (os, "getcwd"), (subprocess, "Popen"), (builtins, "eval"))


def read(raw: bytes):
    """`load_plain`, watched: nothing that attacks aim at is called, and nothing but text codecs is imported."""
    before = set(sys.modules)
    with contextlib.ExitStack() as stack:
        targets = [stack.enter_context(mock.patch.object(module, name)) for module, name in TARGETS]
        try:
            return load_plain(raw)
        finally:
            assert not any(target.called for target in targets)
            assert all(name.startswith("encodings.") for name in set(sys.modules) - before)


@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_comes_back(data, protocol):
    assert read(pickle.dumps(data, protocol)) == data


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_reads_shared_and_circular_containers(protocol):
    shared = [1, 2.5, "x", True, None, -5, -(10**18)]
    circular = {"shared": (shared, shared)}
    circular["self"] = circular
    loaded = read(pickle.dumps(circular, protocol))
    assert loaded["self"] is loaded
    assert loaded["shared"][0] is loaded["shared"][1]
    assert loaded["shared"][0] == shared


BY_NAME = [
    (b"cos\nsystem\n(S'x'\ntR.", "os.system"),
    (b"cposix\nsystem\n(S'x'\ntR.", "posix.system"),
    (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
    (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.", "builtins.exec"),
    (b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93\x8c\x01a\x8c\x01b\x86R.", "builtins.getattr"),
    (b"\x80\x04\x8c\x0bcollections\x8c\x19OrderedDict.fromkeys.call\x93)R.", "collections.OrderedDict.fromkeys.call"),
    (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x94h\x00\x8c\x01x\x85R.", "os.system"),  # through the memo
    (b"\x80\x02cos\nsystem\nq\x07h\x07U\x01x\x85R.", "os.system"),
    (b"(S'x'\nios\nsystem\n.", "os.system"),  # INST
    (b"(ios\nsystem\n.", "os.system"),
    (b"(cos\nsystem\nS'x'\no.", "os.system"),  # OBJ
    (b"(ccollections\nOrderedDict\no.", "collections.OrderedDict"),
    (b"\x82\x01.", "EXT1"),
    (b"\x83\x01\x00.", "EXT2"),
    (b"\x84\x01\x00\x00\x00.", "EXT4"),
    (b"\x82\x01)R.", "EXT1"),
    (b"Pos.system\n.", "PERSID"),
    (b"\x80\x05\x97.", "NEXT_BUFFER"),
    (b"(lp0\n)R.", "list"),  # a call of something that is no name
    (b"cos\nsystem\n)\x81)R.", "Record"),  # a call of an object
    (b"cantigravity\nfly\n)R.", "antigravity.fly"),
    (b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.", "copy_reg._reconstructor"),
    (b"ctorch.storage\n_load_from_bytes\n(S'x'\ntR.", "torch.storage._load_from_bytes"),
    (b"cevil\x1b[2J\nname\x07\n)R.", r"evil\?\[2J.name\?"),
]


@pytest.mark.parametrize(("attack", "name"), BY_NAME)
def test_what_would_run_is_refused_by_name(attack, name):
    with pytest.raises(CheckpointError, match=f"(call|call a|run the opcode) {name}, .*nothing ran"):
        read(attack)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("function", "args"),
    [
        (os.getcwd, ()),
        (subprocess.check_output, ("x",)),
        (getattr, (pathlib.Path, "unlink")),
        (functools.partial, (print, 1)),
        (copyreg._reconstructor, (SimpleNamespace, object, None)),
        (torch.load, ("x.pt",)),
        (np.load, ("x.npy",)),
        (pickle.loads, (b"N.",)),
        (datetime.date, (2024, 1, 1)),
        (collections.Counter, ()),
    ],
)
def test_python_calls_are_refused(function, args, protocol):
    with pytest.raises(CheckpointError, match=f"call .*{function.__name__}"):
        read(pickle.dumps({"weights": [Calls(function, *args)]}, protocol))


def test_a_call_inside_the_arguments_of_an_allowed_one_is_refused():
    for wrapped in (Calls(collections.OrderedDict, [("a", Calls(os.getcwd))]), Calls(set, [Calls(os.getcwd)])):
        with pytest.raises(CheckpointError, match="getcwd"):
            read(pickle.dumps(wrapped))


def test_an_allowed_name_cannot_be_made_by_a_foreign_module():
    for name in ("os.set", "builtins.OrderedDict", "torch._utils.set", "builtins.set.__init__"):
        module, _, function = name.rpartition(".")
        with pytest.raises(CheckpointError, match=name):
            read(f"c{module}\n{function}\n)R.".encode())


@pytest.mark.parametrize("cls", ["os\nsystem", "subprocess\nPopen", "antigravity\nX", "builtins\neval"])
def test_new_objects_of_any_class_are_inert_records(cls):
    record = read(f"c{cls}\n(S'touch x'\nt\x81}}S'a'\nI1\nsb.".encode("latin-1"))
    assert isinstance(record, Record)
    assert str(record.cls) == cls.replace("\n", ".")
    assert record.args == ("touch x",)
    assert record.state == {"a": 1}


class WithHooks:
    """Does something when it is made or given a state."""

    made = 0

    def __new__(cls, *args):
        WithHooks.made += 1
        return super().__new__(cls)

    def __setstate__(self, state):
        WithHooks.made += 1


def test_no_hook_of_a_class_is_called():
    data = pickle.dumps([WithHooks()], 4)
    before = WithHooks.made
    (record,) = read(data)
    assert WithHooks.made == before
    assert record.cls.name == "WithHooks"


def test_states_items_and_slots_are_kept():
    odd = b"cm\nC\n)\x81}(S'a'\nI1\nu}S'b'\nI2\ns\x86b."  # (attributes, slots)
    assert read(odd).state == {"a": 1, "b": 2}
    assert read(b"cm\nC\n)\x81I7\nb.").state == {"": 7}
    assert read(b"cm\nC\n)\x81(I1\nI2\nu.").items == [(1, 2)]
    assert read(b"cm\nC\n)\x81(I1\nI2\ne.").items == [1, 2]
    assert read(b"\x80\x04cm\nC\n)}\x92.").cls == Global("m", "C")


def test_classes_and_functions_are_names():
    assert read(b"ctorch.nn.functional\nrelu\n.") == Global("torch.nn.functional", "relu")
    assert read(pickle.dumps([torch.float32, len], 4)) == [Global("torch", "float32"), Global("builtins", "len")]


def test_allowed_calls_give_plain_values():
    data = {
        "ordered": collections.OrderedDict(a=1),
        "set": {1, 2},
        "frozen": frozenset([3]),
        "size": torch.Size([2, 3]),
        "device": torch.device("cuda", 1),
        "double": np.float64(0.25),
        "half": np.float16(0.5),
        "int": np.int64(-7),
        "bool": np.bool_(True),
        "bytes": b"\x00\xff",
    }
    assert read(pickle.dumps(bytearray(b"\x00\xff"), 5)) == b"\x00\xff"
    for protocol in (2, 3, 4, 5):
        loaded = read(pickle.dumps(data, protocol))
        assert loaded == {**data, "ordered": {"a": 1}, "size": (2, 3), "device": "cuda:1"}
        assert [type(loaded[k]) for k in ("double", "half", "int", "bool")] == [float, float, int, bool]
    assert read(b"cpathlib\nPosixPath\n(S'/'\nS'a'\nS'b.pt'\ntR.") == "/a/b.pt"
    assert read(b"cpathlib._local\nWindowsPath\n(S'C:\\\\'\nS'b.pt'\ntR.") == "C:\\b.pt"
    assert read(b"ctorchvision.transforms.functional\nInterpolationMode\n(S'bilinear'\ntR.") == "bilinear"
    assert read(pickle.dumps(np.dtype(">f8").type(1.5))) == 1.5
    assert read(pickle.dumps(SimpleNamespace(imgsz=640), 2)).state == {"imgsz": 640}


STORAGE = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI6\ntQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n("


def tensor(offset: int, size: tuple, stride: tuple) -> bytes:
    """Pickle of a view of a storage of six elements."""
    shape = b"".join(b"(" + b"".join(b"I%d\n" % n for n in ns) + b"t" for ns in (size, stride))
    return REBUILD + STORAGE + b"I%d\n" % offset + shape + b"I00\nNtR."


def test_tensors_are_references_into_their_storage():
    ref = read(tensor(1, (2, 2), (2, 1)))
    assert isinstance(ref, TensorRef)
    assert (ref.offset, ref.size, ref.stride) == (1, (2, 2), (2, 1))
    assert isinstance(ref.storage, Storage)
    assert (ref.storage.kind, ref.storage.key, ref.storage.numel) == ("FloatStorage", "0", 6)


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (7,), (1,)), (3, (2, 2), (2, 1)), (-1, (1,), (1,)), (0, (2,), (-1,)), (0, (-1,), (1,)), (0, (2,), (1, 1)),
     (0, (2**40,), (0,))],
)  # fmt: skip
def test_tensors_beyond_their_storage_are_refused(offset, size, stride):
    with pytest.raises(CheckpointError, match="damaged"):
        read(tensor(offset, size, stride))


IDENTITIES = [
    b"S'os.system'\n",
    b"(t",
    b"(S'module'\ncos\nsystem\nS'0'\nS'cpu'\nI6\nt",
    b"(S'storage'\nS'x'\nS'0'\nS'cpu'\nI6\nt",
    b"(S'storage'\ncos\nsystem\nI0\nS'cpu'\nI6\nt",
    b"(S'storage'\ncos\nsystem\nS'0'\nS'cpu'\nI-6\nt",
]


@pytest.mark.parametrize("identity", IDENTITIES)
def test_odd_persistent_ids_are_refused(identity):
    with pytest.raises(CheckpointError, match="damaged"):
        read(identity + b"Q.")


EMPTY_STACK = [b"", b".", b"N", b"h\x00.", b"0.", b"(.", b"N\x85", b"R.", b"\x93.", b"(((((1"]
WRONG_KIND = [b"Nb.", b"]Nb.", b"I1\nI2\na.", b"}I1\ns.", b"}](Nu.", b"}]Ns.", b"I1\nI2\n\x93.", b"NN\x81."]
WRONG_ARGS = [b"c__builtin__\nset\nNR.", b"c__builtin__\nset\n(I1\ntR.", b"Ix\n.", b"cos\n"]
CUT_SHORT = [b"\xff\xd8\xff\xe0", b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f", b"\x8a\xff", b"U\x05ab", b"\x80"]


@pytest.mark.parametrize("damaged", EMPTY_STACK + WRONG_KIND + WRONG_ARGS + CUT_SHORT)
def test_damage_is_one_sentence(damaged):
    with pytest.raises(CheckpointError) as caught:
        read(damaged)
    assert "\n" not in str(caught.value)


def test_bombs_do_not_go_off():
    nested = b"(t" + b"2\x86" * 60  # a tuple of itself twice, 60 deep: hashing it would take 2^60 steps
    with pytest.raises(CheckpointError, match="as key"):
        read(b"}" + nested + b"Ns.")
    with pytest.raises(CheckpointError, match="as key"):
        read(b"\x80\x04\x8f(" + nested + b"\x90.")
    deep = read(b"]" * 50_000 + b"a" * 49_999 + b".")
    assert len(deep) == 1


@pytest.mark.parametrize(
    "opcode", [b"T", b"X", b"B", b"\x8b", b"r", b"\x8d", b"\x8e", b"\x95", b"\x96"], ids=lambda opcode: opcode.hex()
)
def test_no_memory_for_a_length_that_is_only_claimed(opcode):
    for claimed in (2**31 - 1, 2**40, 2**62):
        size = claimed.to_bytes(8, "little") if opcode >= b"\x8d" else min(claimed, 2**31 - 1).to_bytes(4, "little")
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError, match="damaged"):
                read(opcode + size)
            assert tracemalloc.get_traced_memory()[1] < 2**20
        finally:
            tracemalloc.stop()


SAMPLE = pickle.dumps(
    {
        "model": Calls(collections.OrderedDict, [("a", np.float32(1.5))]),
        "names": {0: "RBC"},
        "x": (1, 2.5, [None, True]),
    },
    2,
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_flipped_and_cut_bytes_never_run_and_never_raise_anything_else(data):
    raw = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        read(raw)
    except CheckpointError as exc:
        assert "\n" not in str(exc)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_never_raise_anything_else(raw):
    try:
        read(raw)
    except CheckpointError as exc:
        assert "\n" not in str(exc)
