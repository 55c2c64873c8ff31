"""Rows -> one small blob, and back without any loss. N rows, P tags.

An instrument sends steps, not noise: 11.23 bar comes from a converter with a resolution. Each tag's
values of the blob are therefore kept as whole numbers of the largest power of ten that reproduces
every one of them bit for bit; the few that no power fits are kept as the bits of their float32.
Differences in time, split into byte planes, then shrink well under zlib: 51 tags at 1 Hz take
2.7 MB for 18 h, and 6.4 MB if no tag had a resolution.

    blob = zlib( N, P, planes K, marks, exponent[P], K byte planes of zigzag differences [P, N],
                 times f8[N], and where marks is 1: quality u1[N, P], reason u1[N, P] )

zlib's own check sum tells a damaged blob.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from edge.core.tags import ByteArray, FloatArray, Quality

Times = npt.NDArray[np.float64]
_HEAD = struct.Struct("<IIBB")
_EXPONENTS = tuple(range(7))
_BITS = 255
"""In place of an exponent: the bits of the float32."""
_LEVEL = 6
_MAX_INT = 2**30


class DamagedMinuteError(ValueError):
    """The blob is not one of `encode`, or was damaged."""


def encode(times: Times, values: FloatArray, quality: ByteArray, reason: ByteArray) -> bytes:
    """The blob of `times` [N], `values`, `quality`, `reason` [N, P]. BAD values are not kept."""
    rows, tags = values.shape
    bad = (quality == Quality.BAD) | ~np.isfinite(values)
    kept = _held(values, bad)
    whole, exponents = _whole(kept)
    steps = np.diff(whole, axis=0, prepend=0)
    zigzag = ((steps << 1) ^ (steps >> 63)).astype(np.uint64)
    # 33 bits hold every difference of two 32-bit numbers; most need two bytes.
    count = max(1, -(-int(zigzag.max(initial=0)).bit_length() // 8))
    planes = np.ascontiguousarray(zigzag.T.astype("<u8")).view(np.uint8).reshape(tags, rows, 8)
    marks = [np.where(bad, np.uint8(Quality.BAD), quality).astype(np.uint8),
             np.ascontiguousarray(reason, np.uint8)]  # fmt: skip
    marked = any(mark.any() for mark in marks)
    body = b"".join((
        _HEAD.pack(rows, tags, count, marked),
        exponents.tobytes(),
        planes[:, :, :count].transpose(2, 0, 1).tobytes(),
        np.ascontiguousarray(times, "<f8").tobytes(),
        *(mark.tobytes() for mark in marks if marked),
    ))  # fmt: skip
    return zlib.compress(body, _LEVEL)


def decode(blob: bytes) -> tuple[Times, FloatArray, ByteArray, ByteArray]:
    """(times float64[N], values float32[N, P], quality, reason uint8[N, P]).

    Raises DamagedMinuteError.
    """
    try:
        body = zlib.decompress(blob)
        rows, tags, count, marked = _HEAD.unpack_from(body)
    except (zlib.error, struct.error) as error:
        raise DamagedMinuteError(f"not a minute of rows: {error}") from error
    cells = rows * tags
    sizes = (tags, count * cells, 8 * rows, *((cells, cells) if marked else ()))
    if len(body) != _HEAD.size + sum(sizes) or not 1 <= count <= 8:
        raise DamagedMinuteError(f"{len(body)} bytes for {rows} rows of {tags} tags")
    parts, at = [], _HEAD.size
    for size in sizes:
        parts.append(np.frombuffer(body, np.uint8, size, at))
        at += size
    planes = np.zeros((tags, rows, 8), np.uint8)
    planes[:, :, :count] = parts[1].reshape(count, tags, rows).transpose(1, 2, 0)
    zigzag = planes.view("<u8")[:, :, 0].astype(np.int64)
    whole = np.cumsum((zigzag >> 1) ^ -(zigzag & 1), axis=1).T
    values = _numbers(whole, parts[0])
    if not marked:
        quality, reason = np.zeros((2, rows, tags), np.uint8)
    else:
        quality, reason = (part.reshape(rows, tags).copy() for part in parts[3:])
        values[quality == Quality.BAD] = np.nan
    return parts[2].copy().view("<f8").astype(np.float64), values, quality, reason


def _held(values: FloatArray, bad: npt.NDArray[np.bool_]) -> FloatArray:
    """Missing values replaced by the one before them: a gap then costs nothing."""
    if not bad.any():
        return values
    last = np.maximum.accumulate(np.where(bad, -1, np.arange(len(values))[:, None]), axis=0)
    held = np.take_along_axis(values, np.maximum(last, 0), axis=0)
    return np.where(last < 0, np.float32(0), held).astype(np.float32)


def _whole(values: FloatArray) -> tuple[npt.NDArray[np.int64], ByteArray]:
    """(whole numbers int64[N, P], exponent of ten or `_BITS` uint8[P])."""
    exact = values.astype(np.float64)
    whole = values.view(np.int32).astype(np.int64)
    exponents = np.full(values.shape[1], _BITS, np.uint8)
    for exponent in _EXPONENTS:
        open_ = exponents == _BITS
        if not open_.any():
            break
        scaled = np.rint(exact[:, open_] * 10.0**exponent)
        small = (np.abs(scaled) < _MAX_INT).all(axis=0)
        # Back from whole numbers, compared as bits: minus zero is another value than zero.
        numbers = np.where(small, scaled, 0.0).astype(np.int64)
        back = (numbers / 10.0**exponent).astype(np.float32)
        fits = small & (back.view(np.int32) == values[:, open_].view(np.int32)).all(axis=0)
        places = np.flatnonzero(open_)[fits]
        whole[:, places] = numbers[:, fits]
        exponents[places] = exponent
    return whole, exponents


def _numbers(whole: npt.NDArray[np.int64], exponents: ByteArray) -> FloatArray:
    bits = exponents == _BITS
    values = (whole / 10.0 ** np.where(bits, 0, exponents)).astype(np.float32)
    if bits.any():
        raw = np.ascontiguousarray(whole[:, bits].astype(np.int32))
        values[:, bits] = raw.view(np.float32)
    return values
