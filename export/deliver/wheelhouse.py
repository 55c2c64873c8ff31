"""One archive that installs the appliance on a PC without a network: `make wheelhouse`.

    ncm-edge-0.1.0-cp311-x86_64/
      install.sh         checks all of it, makes a venv below /opt/ncm-edge, runs `ncm-edge install`
      wheels/            the program, everything it needs, pip
      requirements.txt   every wheel with version and SHA-256; pip takes nothing else
      sbom.cdx.json      bill of materials (CycloneDX)
      manifest.json      for which Python and machine
      SHA256SUMS         of every file above

For the Python and the kind of machine it is built on. The same wheels and the same commit give the
same bytes. The units, the example configuration and the documents are in the program's wheel.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

from edge import __version__
from edge.service import sbom
from edge.service.distributions import closure, normal, package

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("edge", "export", "systemd", "docs", "firmware_config", "pyproject.toml", "README.md")
"""Of the repository, what the program's wheel is made of."""
EXAMPLES = """examples:
  make wheelhouse                    CPU; needs the package registry, once
  make wheelhouse EXTRAS=gpu,uvloop
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns 0, or 2 with a message."""
    parser = argparse.ArgumentParser(
        prog="make wheelhouse", description="Builds the archive for a PC without a network.",
        epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--extras", default="cpu", help="extras of ncm-edge (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder of the archive")
    parser.add_argument("--sbom", type=Path, help="only the bill of materials, of what is installed"
                        " here, into this file")  # fmt: skip
    options = parser.parse_args(argv)
    try:
        if options.sbom:
            made = write_sbom(options.sbom)
        else:
            with tempfile.TemporaryDirectory(prefix="ncm-wheels-") as folder:
                wheels = Path(folder)
                collect(wheels, options.extras)
                made = assemble(wheels, options.out, extras=options.extras, wall_s=commit_s())
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(error.cmd)}\nfailed; nothing was written", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{made}: {made.stat().st_size / 1e6:.1f} MB, SHA-256 {digest(made)}")
    return 0


def collect(wheels: Path, extras: str) -> None:
    """Fill a folder with every wheel. Raises CalledProcessError."""
    own = own_wheel(wheels)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "wheel", "--wheel-dir", str(wheels), f"{own}[{extras}]", "pip"],
                   check=True)  # fmt: skip


def own_wheel(wheels: Path, *, isolated: bool = True) -> Path:
    """Build the program's wheel from a clean copy: what an earlier build left is not in it.

    `isolated`: with setuptools from the registry, else with the one that is installed here.
    """
    with tempfile.TemporaryDirectory(prefix="ncm-source-") as folder:
        source = Path(folder)
        for name in PARTS:
            path = ROOT / name
            if path.is_dir():
                shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, source / name)
        pip = ["-m", "pip", "--disable-pip-version-check", "--quiet", "wheel", "--no-deps"]
        here = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
        words = [*pip, "--wheel-dir", str(wheels), "."] if isolated else ["-c", here, str(wheels)]
        subprocess.run(
            [sys.executable, *words], cwd=source, check=True,
            stdout=None if isolated else subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": str(commit_s())},
        )  # fmt: skip
    return next(wheels.glob(f"ncm_edge-{__version__}-*.whl"))


def assemble(wheels: Path, out: Path, *, extras: str, wall_s: int) -> Path:
    """The archive from a folder of wheels; returns its path."""
    known = {path: _distribution(path) for path in sorted(wheels.glob("*.whl"))}
    files = {"requirements.txt": requirements(known).encode()}
    files["install.sh"] = Path(__file__).with_name("install.sh").read_bytes()
    about = {
        "version": __version__, "extras": extras, "python": platform.python_version(),
        "abi": f"{sys.version_info.major}.{sys.version_info.minor}", "machine": platform.machine(),
    }  # fmt: skip
    files["manifest.json"] = (json.dumps(about, indent=1) + "\n").encode()
    files["sbom.cdx.json"] = _bill(known, wall_s).encode()
    large = {f"wheels/{path.name}": path for path in known}  # gigabytes with CUDA: never in memory
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    sums |= {name: digest(path) for name, path in large.items()}
    files["SHA256SUMS"] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-{platform.machine()}"
    folder = f"ncm-edge-{__version__}-{extras.replace(',', '-')}-{tag}"
    out.mkdir(parents=True, exist_ok=True)
    archive = out / f"{folder}.tar.gz"
    partial = archive.with_suffix(".new")
    # Wheels are compressed already: the least effort costs no size.
    with (
        partial.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=wall_s) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in sorted({*files, *large}):
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.mode = 0o755 if name == "install.sh" else 0o644
            entry.mtime = wall_s
            source = large[name].open("rb") if name in large else io.BytesIO(files[name])
            with source:
                entry.size = source.seek(0, os.SEEK_END)
                source.seek(0)
                tar.addfile(entry, source)
    partial.replace(archive)
    return archive


def requirements(known: dict[Path, Distribution]) -> str:
    """Every wheel but pip's with its version and hash, as pip checks them."""
    lines = [
        f"{normal(one.metadata['Name'])}=={one.metadata['Version']} --hash=sha256:{digest(path)}"
        for path, one in known.items()
        if normal(one.metadata["Name"]) != "pip"
    ]
    return "\n".join(sorted(lines)) + "\n"


def write_sbom(path: Path) -> Path:
    """The bill of materials of the packages installed here; returns its path."""
    from edge.service.distributions import installed

    path.parent.mkdir(parents=True, exist_ok=True)
    bill = sbom.document(closure(installed()), models(), wall_s=commit_s())
    path.write_text(json.dumps(bill, indent=1) + "\n", encoding="utf-8")
    return path


def models() -> dict[str, dict[str, str]]:
    """Files and hashes of the bundles that ship."""
    return {
        folder.name: {path.name: digest(path) for path in sorted(folder.iterdir())}
        for folder in sorted((ROOT / "firmware_config" / "models").iterdir())
    }


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def commit_s() -> int:
    """When what is built was made, epoch seconds: SOURCE_DATE_EPOCH, else the newest commit."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    done = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    text = done.stdout.strip()
    return int(text) if text.isdecimal() else int((ROOT / "pyproject.toml").stat().st_mtime)


def _distribution(wheel: Path) -> Distribution:
    """What a wheel says of itself; it is not unpacked."""
    with zipfile.ZipFile(wheel) as opened:
        name = next(n for n in opened.namelist() if n.endswith(".dist-info/METADATA"))
    return PathDistribution(zipfile.Path(wheel, name.rpartition("/")[0] + "/"))


def _bill(known: dict[Path, Distribution], wall_s: int) -> str:
    by_name = {normal(one.metadata["Name"]): (path, one) for path, one in known.items()}
    graph = closure({name: one for name, (_, one) in by_name.items()})
    listed = {one.name for one in graph}
    graph += [package(one) for name, (_, one) in by_name.items() if name not in listed]
    parts = [replace(one, sha256=digest(by_name[one.name][0])) for one in graph]
    return json.dumps(sbom.document(parts, models(), wall_s=wall_s), indent=1) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
