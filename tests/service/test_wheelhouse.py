"""The program's wheel carries its units; the archive for a PC without a network is whole and exact.

The full thing (every wheel, installed without a network) takes minutes and the package registry:
NCM_WHEELHOUSE=1 runs it, as root, in namespaces of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from edge import __version__
from edge.service import shipped
from export.deliver import wheelhouse

ROOT = Path(__file__).parents[2]
WALL_S = 1_780_000_000


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder with the program's wheel alone, built once for all workers; it asks nobody."""
    pytest.importorskip("setuptools.build_meta", reason="setuptools is not installed: no wheel")
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "wheels-of-all-workers"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(folder.glob("*.whl")):
            wheelhouse.own_wheel(folder, isolated=False)
    return folder


@pytest.fixture(scope="module")
def unpacked(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive, unpacked as a person does."""
    out = tmp_path_factory.mktemp("dist")
    archive = wheelhouse.assemble(wheels, out, extras="cpu", wall_s=WALL_S)
    with tarfile.open(archive) as tar:
        tar.extractall(out, filter="data")
    return next(path for path in out.iterdir() if path.is_dir())


def script(folder: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "install.sh"), *words], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHON": environ.get("PYTHON") or system_python()},
    )  # fmt: skip


def system_python() -> str:
    """A Python that a service could see and that the archive was made for."""
    name = f"/usr/bin/python3.{sys.version_info.minor}"
    if not Path(name).exists():
        pytest.skip(f"{name} is not installed: the archive is for this Python")
    return name


def test_an_installed_wheel_has_all_that_install_needs(wheels: Path, tmp_path: Path) -> None:
    (wheel,) = wheels.glob("ncm_edge-*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    data = {name.partition("/data/")[2] for name in names if ".data/data/" in name}
    for folder in ("systemd", "firmware_config"):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file():
                assert f"share/ncm-edge/{path.relative_to(ROOT)}" in data, "pyproject, data-files"
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]

    target = tmp_path / "venv"
    subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install",
         "--no-deps", "--no-index", "--no-compile", "--ignore-installed", "--prefix", str(target),
         str(wheel)], check=True,
    )  # fmt: skip
    (site,) = target.glob("lib*/python*/site-packages")
    code = (
        "from edge.service import shipped; print(shipped.root()); "
        "print(len(shipped.units()), len(shipped.documents())); "
        "from edge.config.load import load; print(load(shipped.example()).name)"
    )
    # What it depends on comes from the environment of the tests; the program is the installed one.
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place, counts, name = done.stdout.split("\n")[:3]
    assert place == str(target / "share" / "ncm-edge")
    assert counts == f"{len(shipped.units())} {len(shipped.documents())}"
    assert name == "edge-1"


def test_the_archive_says_what_is_in_it(unpacked: Path, wheels: Path) -> None:
    (wheel,) = wheels.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pinned = (unpacked / "requirements.txt").read_text(encoding="utf-8")
    assert pinned == f"ncm-edge=={__version__} --hash=sha256:{digest}\n"
    files = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    sums = dict(
        reversed(line.split("  ")) for line in
        (unpacked / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    )  # fmt: skip
    assert set(sums) == files - {"SHA256SUMS"}
    about = json.loads((unpacked / "manifest.json").read_text(encoding="utf-8"))
    assert about["version"] == __version__
    assert about["abi"] == f"3.{sys.version_info.minor}"
    bill = json.loads((unpacked / "sbom.cdx.json").read_text(encoding="utf-8"))
    (digests,) = bill["metadata"]["component"]["hashes"]
    assert digests["content"] == digest


def test_the_same_wheels_give_the_same_archive(wheels: Path, tmp_path: Path) -> None:
    made = [
        wheelhouse.assemble(wheels, tmp_path / str(n), extras="cpu", wall_s=WALL_S).read_bytes()
        for n in range(2)
    ]
    assert made[0] == made[1]


def test_the_script_is_one(unpacked: Path) -> None:
    for shell in ("bash", "dash"):
        if shutil.which(shell):
            subprocess.run([shell, "-n", str(unpacked / "install.sh")], check=True)
    told = script(unpacked, "--help")
    assert told.returncode == 0
    assert "--dry-run" in told.stdout


def test_a_dry_run_shows_what_would_be_done(unpacked: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "opt" / "ncm-edge"
    done = script(unpacked, "--dry-run", "--prefix", str(prefix), "--start")
    assert done.returncode == 0, done.stderr
    assert f"{prefix}/{__version__}" in done.stdout
    assert f"install --program {prefix}/bin/ncm-edge --start" in done.stdout
    assert not prefix.exists()


def test_a_module_in_the_folder_it_is_called_from_is_not_run(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "venv.py").write_text("open('was-run', 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert script(unpacked, "--dry-run", "--prefix", str(tmp_path / "opt")).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["venv.py"]


@pytest.mark.parametrize("name", ["wheel", "requirements.txt", "manifest.json", "missing"])
def test_a_damaged_archive_installs_nothing(name: str, unpacked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    shutil.copytree(unpacked, folder)
    path = next((folder / "wheels").iterdir()) if name == "wheel" else folder / name
    if name == "missing":
        next((folder / "wheels").iterdir()).unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    done = script(folder, "--prefix", str(tmp_path / "opt"))
    assert done.returncode == 2
    assert "damaged or incomplete" in done.stderr
    assert not (tmp_path / "opt").exists()


@pytest.mark.parametrize(
    ("words", "environ", "says"),
    [
        (("--prefix", "relative"), {}, "absolute path"),
        (("--prefix", "/opt/a b"), {}, "absolute path"),
        (("--prefix",), {}, "wants a folder"),
        (("--prefix", "/"), {}, "no link of this installation"),
        (("--prefix", "/usr"), {}, "no link of this installation"),
        ((), {"PYTHON": "/nowhere/python3"}, "does not run"),
    ],
)
def test_a_mistake_is_named(
    words: tuple[str, ...], environ: dict[str, str], says: str, unpacked: Path
) -> None:
    done = script(unpacked, "--dry-run", *words, **environ)
    assert done.returncode == 2
    assert says in done.stderr


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [("abi", "2.7", "made for Python 2.7"), ("machine", "vax", "made for vax")],
)
def test_another_machine_is_told_what_it_is_made_for(
    key: str, value: str, says: str, unpacked: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "archive"
    shutil.copytree(unpacked, folder)
    about = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    text = json.dumps(about | {key: value}, indent=1) + "\n"
    before = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    sums = (folder / "SHA256SUMS").read_text(encoding="utf-8")
    after = hashlib.sha256(text.encode()).hexdigest()
    (folder / "SHA256SUMS").write_text(sums.replace(before, after), encoding="utf-8")
    done = script(folder, "--dry-run")
    assert done.returncode == 2
    assert says in done.stderr


FULL = """
set -eu
mount -t tmpfs none /mnt
for d in etc usr; do
  mkdir /mnt/$d.upper /mnt/$d.work
  mount -t overlay none -o lowerdir=/$d,upperdir=/mnt/$d.upper,workdir=/mnt/$d.work /$d
done
mount -t tmpfs -o mode=755 none /opt
cd /
"$1"/install.sh --offline
as="setpriv --reuid ncm-edge --regid ncm-edge --clear-groups"
$as /opt/ncm-edge/bin/ncm-edge check --config /etc/ncm-edge
/opt/ncm-edge/bin/ncm-edge inventory --json --config /etc/ncm-edge >/mnt/inventory.json
grep '"version": "1.' /mnt/inventory.json
"$1"/install.sh --offline
/opt/ncm-edge/bin/ncm-edge install --uninstall --offline
test ! -e /etc/systemd/system/ncm-edge.service
test -e /etc/ncm-edge/appliance.toml
"""


@pytest.mark.skipif(
    os.environ.get("NCM_WHEELHOUSE") != "1",
    reason="minutes, and the package registry: NCM_WHEELHOUSE=1 runs it",
)
@pytest.mark.timeout(1200)
def test_the_whole_archive_installs_without_a_network(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may make namespaces and install")
    assert wheelhouse.main(["--out", str(tmp_path)]) == 0
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path, filter="data")
    folder = next(path for path in tmp_path.iterdir() if path.is_dir())
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--propagation", "private", "bash", "-c", FULL, "full",
         str(folder)],
        env={**os.environ, "PYTHON": system_python()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "no faults" in done.stdout
