"""Arrays of a file that came from outside: no code, and no more memory than it may have.

An .npz is a zip archive: a few kilobytes of it unpack to any size, and the header of an array may
claim more than the archive holds. Both are looked at before a byte is unpacked.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib

import numpy as np
from numpy.lib import format as npy

from edge.core.tags import FloatArray

MAX_ARRAYS = 64
MAX_BYTES = 256 << 20
"""Of all arrays of one file, unpacked; a whole bundle of ours has a tenth of it."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


class ArraysError(ValueError):
    """The file holds no arrays that may be loaded; the text says why."""


def load(data: bytes) -> dict[str, FloatArray]:
    """The arrays of an .npz file as float32. Raises ArraysError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check(archive)
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return {name: np.asarray(arrays[name], np.float32) for name in arrays.files}
    except ArraysError:
        raise
    except (
        OSError, ValueError, EOFError, KeyError, TypeError, SyntaxError, RuntimeError, MemoryError,
        zipfile.BadZipFile, zlib.error, NotImplementedError,
    ) as error:  # fmt: skip
        raise ArraysError(f"not a numpy archive ({error})") from None


def _check(archive: zipfile.ZipFile) -> None:
    members = archive.infolist()
    names = {member.filename for member in members}
    if len(members) > MAX_ARRAYS or len(names) != len(members):
        raise ArraysError(f"{len(members)} arrays; permitted are {MAX_ARRAYS}, each name once")
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES:
        raise ArraysError(f"unpacks to {size} bytes; permitted are {MAX_BYTES}")
    for member in members:
        if not member.filename.endswith(".npy"):
            raise ArraysError(f'holds "{member.filename[:60]}"; permitted are arrays only')
        with archive.open(member) as stream:
            version = npy.read_magic(stream)  # type: ignore[no-untyped-call]
            if version not in _HEADERS:
                raise ArraysError(f"{member.filename}: array format {version} is not known")
            shape, _, kind = _HEADERS[version](stream)  # type: ignore[no-untyped-call]
        if kind.kind not in "biuf":
            raise ArraysError(f"{member.filename}: holds {kind}; permitted are numbers")
        if math.prod(shape) * kind.itemsize > member.file_size:
            raise ArraysError(f"{member.filename}: claims {shape}, more than the file holds")
