"""Memory of the process."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ultralytics.utils import memory
from ultralytics.utils.memory import available_memory

PAGE_FAULTS = """
import resource, torch
from ultralytics.engine.runtime import computing_on

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        maps = [torch.zeros(5_000_000) for _ in range(4)]  # 20 MB each
    del maps
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with computing_on(torch.device("cpu"), "a test"):
    faults()
    print(faults())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="page faults are those of Linux")
@pytest.mark.parametrize("own", [{}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=100000"}])
def test_memory_that_maps_have_freed_is_not_taken_from_the_system_anew(own):
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", PAGE_FAULTS]
    done = subprocess.run(command, env=plain | own, capture_output=True, text=True, check=True)
    # A page has 4 KB, a map 4900 of them; by chance one may still be taken anew.
    assert int(done.stdout) > 40_000 if own else int(done.stdout) < 5_000


def test_a_training_keeps_all_whatever_predicts_meanwhile_and_gives_it_back(monkeypatch):
    """A validation in it lowers nothing; afterwards it is as before, and a second training keeps as much."""
    calls = []
    freed = memory.FreedMemory()
    library = SimpleNamespace(
        mallopt=lambda what, value: calls.append((what, value)), malloc_trim=lambda pad: calls.append("trimmed")
    )
    monkeypatch.setattr(freed, "_library", library)

    def limits():
        found = [call[1] if call != "trimmed" else call for call in calls if call[0] in (memory.M_TRIM_THRESHOLD, "t")]
        calls.clear()
        return found

    for _ in range(2):
        with freed.all_kept():
            assert limits() == [memory.ALL]
            freed.keep()
            assert not limits()
        assert limits() == [memory.KEPT_BY_A_THREAD, "trimmed"]
    freed.keep()
    assert not limits()


@pytest.mark.parametrize(("limit", "expected"), [("4000", 1500), ("max", 9 * 1024), ("20000", 9 * 1024)])
def test_memory_of_a_container(limit, expected, tmp_path, monkeypatch):
    """What is left of its limit, droppable files counted as free, or what the machine has, if that is less."""
    files = {"memory.max": limit, "memory.current": "3500", "memory.stat": "anon 1\ninactive_file 1000\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemAvailable: 9 kB\n", encoding="utf-8")
    known = {"/proc/meminfo": tmp_path / "meminfo", "/sys/fs/cgroup": tmp_path}
    monkeypatch.setattr(memory, "Path", known.__getitem__)
    assert available_memory() == expected


def test_available_memory_is_plausible():
    free = available_memory()
    assert free is None or 10**6 < free < 10**14
