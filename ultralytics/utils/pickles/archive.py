"""The zip file that torch.save writes: a pickle, and the bytes of its tensors beside it."""

import io
import math
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ultralytics.utils.errors import CheckpointError
from ultralytics.utils.pickles.unpickling import TensorRef, load_plain

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # first bytes of files written by torch before 1.6


@contextmanager
def open_archive(path: Path) -> Iterator["Archive"]:
    """Open a file of torch.save to read it without running anything in it.

    Raises CheckpointError for what is no such file, and the errors of zipfile and torch for a damaged one.
    """
    with path.open("rb") as file:
        start = file.read(len(_LEGACY))
    if not start:
        raise CheckpointError("it is empty; copy or download it again")
    if start == _LEGACY:
        raise CheckpointError(
            "it is in the format of torch before 1.6; load and torch.save it again with a newer torch"
        )
    if not start.startswith(b"PK"):  # how zip files start
        raise CheckpointError(
            f"it is no checkpoint (it starts with {start[:8]!r}); expected a file that torch.save wrote"
        )
    with zipfile.ZipFile(path) as file:
        yield Archive(file)


class Archive:
    """An open file of torch.save: the object in it, and its tensors one by one."""

    def __init__(self, file: zipfile.ZipFile) -> None:
        names = file.namelist()
        # All entries lie in one folder, called like the file at its first saving.
        folders = [n.removesuffix("data.pkl") for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(folders) != 1:
            raise CheckpointError("it is a zip file, but none that torch.save wrote; expected a .pt file with weights")
        self._folder = folders[0]
        if f"{self._folder}constants.pkl" in names:
            raise CheckpointError(
                "it is a TorchScript export, which is code; use the .pt file that it was exported from"
            )
        # Entries may overlap: a few bytes would be read again and again.
        size = file.fp.seek(0, io.SEEK_END)
        if sum(entry.file_size for entry in file.infolist()) > size:
            raise CheckpointError("its entries are larger than the file, as torch.save never writes them")
        self._zip = file
        self._storages: dict[str, Tensor] = {}
        self.max_elements = 2**20 + 4 * size  # of all tensors by their names: some may be shared, but not for ever
        self._elements = self.max_elements  # that may still be handed out

    def load(self) -> Any:
        """Read what was saved, as `load_plain` gives it."""
        # Files of older versions of torch lack this entry.
        if f"{self._folder}byteorder" in self._zip.namelist() and self._read("byteorder") != sys.byteorder.encode():
            raise CheckpointError(
                f"its bytes are not in {sys.byteorder}-endian order; save it again on a machine like this"
            )
        return load_plain(self._read("data.pkl"))

    def tensor(self, ref: TensorRef) -> Tensor:
        """Read a tensor. Those that shared memory when they were saved do so again."""
        storage = ref.storage
        if storage.kind not in _DTYPES:
            raise CheckpointError(f"it holds tensors of the unknown kind {storage.kind[:60]!r}")
        dtype = _DTYPES[storage.kind]
        if storage.key not in self._storages:
            data = bytearray(self._read(f"data/{storage.key}"))  # writable, as tensors are
            # frombuffer refuses a buffer of no bytes.
            self._storages[storage.key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        self._elements -= math.prod(ref.size)
        if self._elements < 0:
            raise CheckpointError("its tensors have many times as many elements as the file could hold")
        elements = self._storages[storage.key]
        if elements.dtype != dtype or len(elements) != storage.numel:
            raise ValueError(f"data/{storage.key[:20]} is not of {storage.numel} elements")
        return elements.as_strided(ref.size, ref.stride, ref.offset)  # TensorRefs lie inside their storage

    def _read(self, entry: str) -> bytes:
        """Read the bytes of an entry, which zipfile compares with their checksum."""
        info = self._zip.getinfo(self._folder + entry)
        # A few compressed kilobytes can be gigabytes of zeros.
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError(
                "its entries are compressed, as torch.save never does; load and save it again with torch"
            )
        return self._zip.read(info)
