"""The file of a backup under attack: whoever writes it also writes a manifest that fits."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.__main__ import main
from edge.cli.backup import NO_BACKUP
from edge.service import archive
from edge.service.archive import ArchiveError, Entry, Manifest, Writer, permitted

TOML = "configuration/appliance.toml"
GOOD = {
    TOML: b'name = "edge-1"\n',
    "configuration/pki/client.key": b"secret",
    "update/lines/ncm-1/record.0.json": b"{}",
    "history/history.head": b"0:" + b"0" * 64,
}


def made(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    writer = Writer(stream)
    for name, data in files.items():
        writer.add(name, iter((data,)), len(data), private=name.endswith(".key"))
    writer.close(manifest(writer.files))
    return stream.getvalue()


def manifest(files: dict[str, Entry]) -> Manifest:
    return Manifest(appliance="edge-1", program="0.1.0", made_s=1, floors={}, files=files)


WHOLE = made(GOOD)


def hostile(*entries: tuple[tarfile.TarInfo, bytes], tail: bytes = b"") -> bytes:
    """The good archive with these members before its manifest, which lists them as well."""
    stream = io.BytesIO()
    writer = Writer(stream)
    for name, data in GOOD.items():
        writer.add(name, iter((data,)), len(data))
    for entry, data in entries:
        stream.write(entry.tobuf(tarfile.GNU_FORMAT))
        stream.write(data + bytes(-len(data) % 512))
        writer.files[entry.name] = Entry(len(data), hashlib.sha256(data).hexdigest())
    writer.close(manifest(writer.files))
    return stream.getvalue() + tail


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", data: bytes = b"x",
           **more: int) -> tuple[tarfile.TarInfo, bytes]:  # fmt: skip
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    entry.size = len(data) if kind == tarfile.REGTYPE else 0
    for key, value in more.items():
        setattr(entry, key, value)
    return entry, data if kind == tarfile.REGTYPE else b""


ATTACKS: dict[str, bytes] = {
    "path upwards": hostile(member("configuration/../../etc/passwd")),
    "path upwards at the end": hostile(member("configuration/..")),
    "absolute path": hostile(member("/etc/passwd")),
    "path with a dot": hostile(member("configuration/./x")),
    "empty segment": hostile(member("configuration//x")),
    "backslash": hostile(member("configuration/..\\..\\x")),
    "line break in a name": hostile(member("configuration/a\nb")),
    "name outside": hostile(member("state/evil")),
    "hidden among the updates": hostile(member("update/lock")),
    "slot named upwards": hostile(member("update/lines/ncm-1/slots/../../x/manifest.json")),
    "line named upwards": hostile(member("update/lines/../x/record.0.json")),
    "symbolic link": hostile(member("configuration/x", tarfile.SYMTYPE, "/etc/shadow")),
    "hard link": hostile(member("configuration/x", tarfile.LNKTYPE, TOML)),
    "link that is called a file": hostile(member("configuration/x", link="/etc/shadow")),
    "character device": hostile(member("configuration/x", tarfile.CHRTYPE)),
    "block device": hostile(member("configuration/x", tarfile.BLKTYPE)),
    "pipe": hostile(member("configuration/x", tarfile.FIFOTYPE)),
    "folder": hostile(member("configuration/x", tarfile.DIRTYPE)),
    "sparse file": hostile(member("configuration/x", tarfile.GNUTYPE_SPARSE)),
    "long name": hostile(member("configuration/" + "a/" * 90 + "b")),
    "extended header": hostile(member("configuration/x", tarfile.XHDTYPE)),
    "twice": hostile(member(TOML, data=GOOD[TOML])),
    "folder under a file": hostile(member("configuration/appliance.toml/x")),
    "negative size": WHOLE[:124] + b"\xff" * 12 + WHOLE[136:],
    "too large": hostile((member("configuration/x", size=archive.MAX_BYTES + 1)[0], b"")),
    "hidden tail": WHOLE + b"tail",
    "something behind the end": WHOLE + bytes(512) + b"x" * 512,
    "something in the padding": WHOLE.replace(b'"edge-1"\n\0', b'"edge-1"\n!', 1),
    "compressed": b"\x1f\x8b" + WHOLE,
    "no manifest": WHOLE[: WHOLE.rindex(b"manifest.json")] + bytes(1024),
    "manifest first": made({})[:-1024] + WHOLE,
    "empty": b"",
    "no tar": b"x" * 4096,
}  # fmt: skip


def test_a_good_one_is_read() -> None:
    found, kept = archive.check(io.BytesIO(WHOLE), frozenset({"configuration/appliance.toml"}))
    assert set(found.files) == set(GOOD)
    assert kept == {"configuration/appliance.toml": GOOD["configuration/appliance.toml"]}
    assert found.files["configuration/pki/client.key"].private
    with tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar:  # anybody's tar reads it
        assert set(tar.getnames()) == {*GOOD, archive.MANIFEST}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused_and_leaves_nothing(
    attack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArchiveError):
        archive.check(io.BytesIO(ATTACKS[attack]))
    file = tmp_path / "x.backup"
    file.write_bytes(ATTACKS[attack])
    (tmp_path / "state").mkdir()
    place = ["--config", str(tmp_path / "etc"), "--state", str(tmp_path / "state")]
    assert main(["restore", str(file), *place]) == NO_BACKUP
    assert "nothing was restored" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["state", "x.backup"]


@given(place=st.integers(0, len(WHOLE) - 1), bit=st.integers(0, 7))
@settings(max_examples=400, deadline=None)
def test_any_flipped_bit_is_refused_or_without_meaning(place: int, bit: int) -> None:
    data = bytearray(WHOLE)
    data[place] ^= 1 << bit
    try:
        found, _ = archive.check(io.BytesIO(bytes(data)))
    except ArchiveError:
        return
    # Tar's own fields that nothing here uses (their check sum lies within the same header).
    assert found == archive.check(io.BytesIO(WHOLE))[0]


@given(data=st.binary(max_size=3000))
@settings(max_examples=200, deadline=None)
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ArchiveError):
        archive.check(io.BytesIO(data))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda body: body.replace(b'"program":"0.1.0"', b'"program":"0.1.9"'), "was changed"),
        (lambda _: b"[]", "cannot be read"),
        (lambda _: b"\xff", "cannot be read"),
        (lambda _: b"[" * 100_000, "cannot be read"),
    ],
)
def test_a_manifest_that_is_none(change: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(ArchiveError, match=says):
        archive.parse(change(manifest({}).data()))


@pytest.mark.parametrize(
    "changes", [{"made_s": 1e30}, {"made_s": float("nan")}, {"appliance": "\x1b[2J"}]
)
def test_a_manifest_that_cannot_be_shown(changes: dict[str, Any]) -> None:
    with pytest.raises(ArchiveError):
        archive.parse(replace(manifest({}), **changes).data())


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("configuration/lines/ncm-1/tags.toml", True),
        ("configuration/a b/µ.toml", True),
        ("configuration/..hidden", True),
        ("configuration/.git", True),
        ("configuration/a/..", False),
        ("configuration/", False),
        ("configuration", False),
        ("update/lines/ncm-1/slots/1-2-abc/bundle/model.onnx", True),
        ("update/lines/ncm-1/slots/1-2-abc/bundle/../x", False),
        ("update/lines/ncm-1/incoming/manifest.json", False),
        ("update/trust/0.root.json", False),
        ("history/history.sqlite-wal", False),
    ],
)
def test_names(name: str, good: bool) -> None:
    assert permitted(name) is good
