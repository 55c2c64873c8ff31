"""Arrays from outside: what would run code or fill the memory is refused before it is unpacked."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.runtime.arrays import MAX_ARRAYS, MAX_BYTES, ArraysError, load


def npz(**arrays: object) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


def zipped(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def header(shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


class Evil:
    """Pickled, it would run code when it is read."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return print, ("ran",)


def bomb() -> bytes:
    return zipped([("a.npy", header((MAX_BYTES // 4,)) + bytes(MAX_BYTES + 1024))])


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "no archive": (lambda: b"not a zip", "not a numpy archive"),
    "nothing": (lambda: b"", "not a numpy archive"),
    "a zip bomb": (bomb, "unpacks to"),
    "a claim beyond the file": (
        lambda: zipped([("a.npy", header((1 << 40,)) + bytes(64))]), "more than the file holds",
    ),
    "a claim in many axes": (
        lambda: zipped([("a.npy", header((1 << 13,) * 5) + bytes(64))]), "more than the file",
    ),
    "pickled objects": (
        lambda: zipped([("a.npy", header((1,), "|O") + b"x")]), "permitted are numbers",
    ),
    "a pickle": (lambda: npz(a=np.array([Evil()], object)), "permitted are numbers"),
    "text": (lambda: npz(a=np.array(["x"])), "permitted are numbers"),
    "another file": (lambda: zipped([("run.py", b"print()")]), "arrays only"),
    "a path upwards": (lambda: zipped([("../a", b"x")]), "arrays only"),
    "arrays without end": (
        lambda: zipped([(f"{n}.npy", header((0,))) for n in range(MAX_ARRAYS + 1)]), "arrays;",
    ),
    "no array": (lambda: zipped([("a.npy", b"hello")]), "not a numpy archive"),
    "a cut": (lambda: npz(a=np.zeros(100))[:-40], "not a numpy archive"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, text = BAD[name]
    data = make()
    tracemalloc.start()
    try:
        with pytest.raises(ArraysError, match=text):
            load(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20  # nothing was unpacked
    assert capsys.readouterr().out == ""


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused() -> None:
    with pytest.raises(ArraysError, match="each name once"):
        load(zipped([("a.npy", header((0,))), ("a.npy", header((0,)))]))


def test_numbers_come_back_as_they_were() -> None:
    found = load(npz(a=np.arange(6, dtype=np.float64).reshape(2, 3), b=np.float32(2.5)))
    assert found["a"].tolist() == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    assert found["b"] == 2.5
    assert {array.dtype for array in found.values()} == {np.dtype(np.float32)}


PLAIN = npz(a=np.ones(20))
PACKED = zipped([("a.npy", header((20,)) + bytes(80))])


@given(st.sampled_from([PLAIN, PACKED]), st.integers(0), st.integers(1, 255))
def test_a_flipped_byte_never_crashes(whole: bytes, at: int, flip: int) -> None:
    data = bytearray(whole)
    data[at % len(data)] ^= flip
    try:
        load(bytes(data))
    except ArraysError:
        return


@given(st.binary(max_size=400))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(ArraysError):
        load(noise)
