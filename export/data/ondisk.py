"""Arrays that stay on the disk until somebody reads them.

A year of batches does not fit into memory beside what is computed from it. So a dataset holds
`Member`s of its files, and what is derived from it (crops, columns of a reference) goes onto a
`Shelf`. Both are used like the array they stand for (`a[part]`, `len(a)`, `a.shape`,
`np.asarray(a)`), and each use reads it anew: keep the result where it is needed twice.

Read, not mapped: mapped pages count as resident memory for as long as there is room for them.
"""

from __future__ import annotations

import ctypes
import tempfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from export.faults import ExportError

RECENT_BYTES = 256 << 20
"""Read arrays that are kept: the blocks of a batch are asked for one after the other, and a small
dataset is read only once."""
GIVE_BACK_BYTES = 32 << 20
"""Read in between two calls of `give_back`."""
SHELF_BYTES = 64 << 20
"""Up to here a shelf stays in memory."""

Array = npt.NDArray[Any]


class DatasetError(ExportError):
    """The dataset cannot be read; the text names file, value and remedy."""


class OnDisk:
    """An array that is somewhere else; `read` fetches it."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)

    def read(self) -> Array:
        """The whole array."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: Any) -> Array:
        return self.read()[part]

    def __array__(self, dtype: npt.DTypeLike = None, copy: bool | None = None) -> Array:
        whole = self.read()
        if copy or (dtype is not None and np.dtype(dtype) != whole.dtype):
            return whole.astype(dtype or whole.dtype)
        return whole


class Member(OnDisk):
    """One array of an .npz file, as `dtype`. Reading raises DatasetError."""

    __slots__ = ("name", "path")

    def __init__(
        self, path: Path, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32
    ) -> None:
        super().__init__(shape, dtype)
        self.path, self.name = path, name

    def read(self) -> Array:
        """The array, from memory if it was read lately."""
        kept = _recent.get(self)
        return _recent.put(self, self._load()) if kept is None else kept

    def _load(self) -> Array:
        try:
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                found = arrays[self.name].astype(self.dtype, copy=False)
            if found.shape != self.shape:
                raise ValueError(f"{self.name} has shape {found.shape}, not {self.shape}")
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise unreadable(self.path, error) from error
        return found


def unreadable(path: Path, error: BaseException) -> DatasetError:
    """What to tell of a file that is no batch."""
    return DatasetError(f"{path}: cannot be read ({error}); simulate again")


class _Recent:
    """The arrays read last, up to RECENT_BYTES."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[Member, Array] = OrderedDict()
        self._bytes = 0
        self._read = 0

    def get(self, member: Member) -> Array | None:
        if member in self._arrays:
            self._arrays.move_to_end(member)
            return self._arrays[member]
        return None

    def put(self, member: Member, array: Array) -> Array:
        if array.nbytes <= RECENT_BYTES:
            self._arrays[member] = array
            self._bytes += array.nbytes
        while self._bytes > RECENT_BYTES:
            self._bytes -= self._arrays.popitem(last=False)[1].nbytes
        self._read += array.nbytes
        if self._read > GIVE_BACK_BYTES:
            self._read = 0
            give_back()
        return array


_recent = _Recent()


def give_back() -> None:
    """Return free memory to the system; does nothing where the C library cannot.

    Between what is kept of one batch and of the next lie the holes of what was computed from it,
    tens of megabytes each. glibc holds on to them: resident memory grew by 2 MB per batch read.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


class Shelf:
    """A scratch file for arrays, gone when it is closed; in TMPDIR once it outgrows memory."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=SHELF_BYTES)  # noqa: SIM115 - close()
        self._end = 0

    def put(self, array: Array) -> Shelved:
        """Lay an array on it."""
        self._file.seek(self._end)
        self._file.write(np.ascontiguousarray(array).tobytes())
        start, self._end = self._end, self._end + array.nbytes
        return Shelved(self, start, array.shape, array.dtype)

    def take(self, start: int, size: int) -> bytes:
        """Bytes of it."""
        self._file.seek(start)
        return self._file.read(size)

    def close(self) -> None:
        """Everything on it is gone."""
        self._file.close()

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Shelved(OnDisk):
    """An array on a shelf. A slice of the first axis reads only that much."""

    __slots__ = ("_shelf", "_start")

    def __init__(
        self, shelf: Shelf, start: int, shape: tuple[int, ...], dtype: npt.DTypeLike
    ) -> None:
        super().__init__(shape, dtype)
        self._shelf, self._start = shelf, start

    def read(self) -> Array:
        """The whole array."""
        return self[:]

    def __getitem__(self, part: Any) -> Array:
        if not isinstance(part, slice) or part.step not in (None, 1):
            return self[:][part]
        first, last, _ = part.indices(self.shape[0])
        row = self.dtype.itemsize * int(np.prod(self.shape[1:]))
        count = max(0, last - first)
        # A bytearray, because torch warns of arrays that cannot be written to.
        data = bytearray(self._shelf.take(self._start + first * row, count * row))
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
