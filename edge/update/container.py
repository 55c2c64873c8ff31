"""The update file: magic, format, signed documents with their lengths, then the files' bytes.

    8 bytes  "NCM-EDGE"
    u16, u16 format (1), number of documents     big-endian
    u32, n   length and bytes of each document:  the manifest, then root 1, 2, ... in order
    rest     the files of the manifest in the order of their names, nothing between, nothing behind

No archive: no names outside the signed manifest, no compression, no links. Every length is checked
against the size of the file before a byte of the content is read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from edge.update.refusals import Code, Refused

MAGIC = b"NCM-EDGE"
FORMAT = 1
MAX_DOCUMENT = 64 << 10
MAX_DOCUMENTS = 64
MAX_BYTES = 256 << 20
"""Largest update file; a model of ours is about 1 MB."""
_HEAD = struct.Struct(">8sHH")
_LENGTH = struct.Struct(">I")

Read = Callable[[int], bytes]
"""Up to n bytes from the stick; fewer only at the end of the file."""


def head(documents: Sequence[bytes]) -> bytes:
    """Everything in front of the files."""
    parts = [_HEAD.pack(MAGIC, FORMAT, len(documents))]
    for document in documents:
        parts += (_LENGTH.pack(len(document)), document)
    return b"".join(parts)


def read_documents(read: Read, size: int) -> list[bytes]:
    """The documents of a file of `size` bytes. Raises Refused."""
    if size > MAX_BYTES:
        raise Refused(Code.TOO_LARGE, f"{size} bytes, permitted are {MAX_BYTES}")
    start = read(_HEAD.size)
    if not start.startswith(MAGIC):
        short = len(start) < len(MAGIC) and MAGIC.startswith(start)
        raise Refused(
            Code.TRUNCATED if short else Code.NOT_A_BUNDLE, f"begins with {start[:8].hex() or '-'}"
        )
    if len(start) < _HEAD.size:
        raise Refused(Code.TRUNCATED, f"{size} bytes")
    _, version, count = _HEAD.unpack(start)
    if version != FORMAT:
        raise Refused(Code.FORMAT, f"container format {version}, this program reads {FORMAT}")
    if not 2 <= count <= MAX_DOCUMENTS:
        raise Refused(Code.BAD_DOCUMENT, f"{count} documents, permitted are 2..{MAX_DOCUMENTS}")
    left = size - _HEAD.size
    documents = []
    for place in range(count):
        (length,) = _LENGTH.unpack(read_exactly(read, _LENGTH.size))
        left -= _LENGTH.size
        if length > MAX_DOCUMENT:
            raise Refused(
                Code.BAD_DOCUMENT,
                f"document {place + 1} has {length} bytes, permitted {MAX_DOCUMENT}",
            )
        if length > left:
            raise Refused(Code.TRUNCATED, f"document {place + 1} ends behind the file")
        documents.append(read_exactly(read, length))
        left -= length
    return documents


def check_size(size: int, documents: Sequence[bytes], lengths: Sequence[int]) -> None:
    """Raise Refused unless documents and files fill exactly `size` bytes."""
    expected = len(head(documents)) + sum(lengths)
    if size != expected:
        raise Refused(
            Code.TRUNCATED if size < expected else Code.TRAILING_DATA,
            f"{size} bytes, signed are {expected}",
        )


def read_exactly(read: Read, count: int) -> bytes:
    """`count` bytes, or Refused: the file became shorter than it was."""
    data = read(count)
    if len(data) != count:
        raise Refused(Code.TRUNCATED, f"ends {count - len(data)} bytes early")
    return data
