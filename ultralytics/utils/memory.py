"""Memory of the process: what is free, and what glibc keeps of what was freed."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
KEPT_BY_A_THREAD = 256 * 1024**2  # bytes, more than the maps of one image
ALL = 2**31 - 1  # the largest number that mallopt takes


def available_memory() -> int | None:
    """Bytes of memory that this process may still take, within its container; None if the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    free = next((int(row.split()[1]) * 1024 for row in text.splitlines() if row.startswith("MemAvailable")), None)
    try:
        group = Path("/sys/fs/cgroup")
        limit, used, parts = (
            (group / f"memory.{name}").read_text(encoding="utf-8") for name in ("max", "current", "stat")
        )
        # Of what is used, files that were read a while ago are given up as soon as memory is short.
        files = next((int(row.split()[1]) for row in parts.splitlines() if row.startswith("inactive_file ")), 0)
        return min(free, int(limit) - int(used) + files)
    except (OSError, ValueError, TypeError):  # no such group, or "max": no limit
        return free


class FreedMemory:
    """Memory that was freed and that glibc, the C library of most of Linux, keeps for what comes next.

    By itself it gives much of that back to the system after each image and takes it anew: thousands of page faults, a
    tenth of the time of a prediction. Nothing is changed where there is another library, or where the environment has
    settings of its own (`MALLOC_...`, `GLIBC_TUNABLES`).
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        tuned = any(name.startswith("MALLOC_") for name in os.environ)
        tuned |= "glibc.malloc" in os.getenv("GLIBC_TUNABLES", "")
        self._library = library if hasattr(library, "mallopt") and not tuned else None
        self._kept = 0  # bytes

    def keep(self, most: int = KEPT_BY_A_THREAD) -> None:
        """Keep up to `most` bytes of each thread from now on, unless it is more already."""
        if self._library and most > self._kept:
            self._library.mallopt(M_MMAP_THRESHOLD, 32 * 1024**2)  # glibc's maximum
            self._set(most)

    @contextmanager
    def all_kept(self) -> Iterator[None]:
        """Context of a training, each step of which needs what the one before has freed: all of it is kept.

        Then it goes back to the system. Threads that start meanwhile, such as the one that loads batches, take their
        memory from the same store.
        """
        before = self._kept
        self.keep(ALL)
        try:
            if self._library:
                self._library.mallopt(M_ARENA_MAX, 1)
            yield
        finally:
            if self._library:
                self._set(before or KEPT_BY_A_THREAD)
                self._library.malloc_trim(0)

    def _set(self, most: int) -> None:
        self._library.mallopt(M_TRIM_THRESHOLD, most)
        self._kept = most


FREED = FreedMemory()
