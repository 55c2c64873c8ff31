"""An emulated PC with a USB port: QEMU without acceleration, a Debian kernel, this machine's root.

The root is read over 9p and written into memory; the state directory is an ext4 disk of its own,
so that killing the emulator is a power cut. The console, with the whole journal, is what is seen of
it; plugging and pulling go over QMP. The kernel is not this machine's: `NCM_EDGE_KERNEL` names the
folder into which a Debian package was unpacked,

    apt-get download $(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: //p')
    dpkg -x linux-image-*.deb DIR && depmod -b DIR "$(ls DIR/lib/modules)"
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.tiers.nspawn import ROOT, WRAPPER, Unavailable

KERNEL = "NCM_EDGE_KERNEL"
TOOLS = ("qemu-system-x86_64", "busybox", "cpio", "gzip", "mkfs.ext4", "mkfs.vfat", "mcopy")
MODULES = ("virtio_pci", "9p", "9pnet_virtio", "overlay", "virtio_blk", "crc32c_generic", "ext4")
PATIENCE_S = 600.0
"""An emulated processor is some thirty times slower, and this machine may be busy."""
MASKED = (
    "systemd-tmpfiles-setup.service", "systemd-tmpfiles-setup-dev.service", "dbus.service",
    "dbus.socket", "systemd-modules-load.service",
    "systemd-journal-flush.service", "systemd-update-utmp.service", "systemd-timesyncd.service",
)  # fmt: skip
"""Of no use here, and slow over 9p."""
ARGUMENTS = (
    "console=ttyS0 loglevel=7 panic=-1 no_timer_check mitigations=off systemd.unit=basic.target"
    " systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info"
)
INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for m in /modules/*; do $B insmod $m; done
$B mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=loose,ro host /host
$B mount -t tmpfs -o size=1g,mode=755 top /top
$B mkdir /top/upper /top/work
$B mount -t overlay -o lowerdir=/host,upperdir=/top/upper,workdir=/top/work over /new
# Its own kind of machine, not the container this one may be.
$B rm -f /new/.dockerenv /new/run/.containerenv
U=/new/etc/systemd/system H=/new/opt/ncm-edge
for u in {masked}; do $B ln -sf /dev/null $U/$u; done
$B mkdir -p /new/usr/lib/modules /new/opt/python $H/bin $H/app $H/packages /new/var/lib/ncm-edge
$B mkdir -p /new/etc/sysusers.d /new/etc/udev/rules.d /new/etc/ncm-edge
$B mount --bind /host{modules} /new/usr/lib/modules
$B mount --bind /host{python} /new/opt/python
$B mount --bind /host{packages} $H/packages
$B mount --bind /host{app} $H/app
$B cp $H/app/systemd/*.service $H/app/systemd/*.mount $U/
$B cp $H/app/systemd/*.rules /new/etc/udev/rules.d/
$B cp /known.rules /new/etc/udev/rules.d/99-known.rules
$B cp $H/app/systemd/sysusers.conf /new/etc/sysusers.d/ncm-edge.conf
$B cp -r $H/app/firmware_config/. /new/etc/ncm-edge/
$B mkdir -p /new/etc/ncm-edge/trust
$B cp /root.json /new/etc/ncm-edge/trust/root.json
$B cp /wrapper $H/bin/ncm-edge
$B mount -t ext4 /dev/vda /new/var/lib/ncm-edge
$B mount --move /dev /new/dev
$B umount /proc /sys
exec $B switch_root /new /usr/lib/systemd/systemd
"""

KNOWN = """\
ACTION=="add", SUBSYSTEM=="block", ENV{ID_BUS}=="usb", ENV{ID_FS_LABEL}=="?*", \
RUN+="/bin/sh -c 'echo udev knows $env{ID_FS_LABEL} >/dev/kmsg'"
"""
"""The test is told on the console when all rules have seen a stick."""


def requirements() -> Path:
    """The folder of the kernel. Raises Unavailable."""
    for tool in TOOLS:
        if shutil.which(tool) is None:
            raise Unavailable(f"{tool} is not installed")
    if KERNEL not in os.environ:
        raise Unavailable(f"{KERNEL} does not name an unpacked kernel package (tests/tiers/vm.py)")
    kernel = Path(os.environ[KERNEL])
    if not all(list(kernel.glob(name)) for name in ("boot/vmlinuz-*", "lib/modules/*/modules.dep")):
        raise Unavailable(f"{kernel}: holds no boot/vmlinuz-* or no modules.dep")
    return kernel


def initrd(kernel: Path, root_json: Path, folder: Path) -> Path:
    """The first root: loads what it takes to find the second one, and puts the product into it."""
    (modules,) = kernel.glob("lib/modules/*")
    rows = [line.split(":") for line in (modules / "modules.dep").read_text("ascii").splitlines()]
    needs = {Path(path).stem.split(".")[0].replace("-", "_"): (path, rest.split())
             for path, rest in rows}  # fmt: skip
    order: list[str] = []
    for name in MODULES:
        path, before = needs[name]
        order += [item for item in (*reversed(before), path) if item not in order]
    tree = folder / "initrd"
    for name in ("bin", "proc", "sys", "dev", "host", "top", "new", "modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(str(shutil.which("busybox")), tree / "bin" / "busybox")
    for place, name in enumerate(order):
        shutil.copy(modules / name, tree / "modules" / f"{place:02d}-{Path(name).name}")
    shutil.copy(root_json, tree / "root.json")
    (tree / "known.rules").write_text(KNOWN, encoding="utf-8")
    python = Path(sys.executable).resolve().name
    init = INIT.format(
        masked=" ".join(MASKED), modules=modules.parent.resolve(), python=sys.base_prefix,
        packages=sysconfig.get_path("purelib"), app=ROOT,
    )  # fmt: skip
    for name, text in {"init": init, "wrapper": WRAPPER.format(python=python)}.items():
        (tree / name).write_text(text, encoding="utf-8")
        (tree / name).chmod(0o755)
    packed = folder / "initrd.gz"
    pack = f"find . | cpio --quiet -o -H newc | gzip -1 > {packed}"
    subprocess.run(["sh", "-c", pack], cwd=tree, check=True)
    return packed


def stick(image: Path, label: str, update: Path) -> Path:
    """A FAT image with an update."""
    subprocess.run(["mkfs.vfat", "-C", "-n", label, str(image), "16384"],
                   check=True, capture_output=True)  # fmt: skip
    subprocess.run(["mcopy", "-i", str(image), str(update), "::update.ncm"], check=True)
    return image


class Vm:
    """A machine that runs."""

    def __init__(self, process: subprocess.Popen[bytes], qmp: Path, log: Path) -> None:
        self.process, self._rest, self.seen, self._log = process, b"", "", log
        assert process.stdout is not None
        self._fd = process.stdout.fileno()
        self._socket = socket.socket(socket.AF_UNIX)
        end_s = time.monotonic() + 30
        while time.monotonic() < end_s:
            with contextlib.suppress(OSError):
                self._socket.connect(str(qmp))
                break
        self._qmp = self._socket.makefile("rw", encoding="utf-8")
        self._qmp.readline()
        self.ask("qmp_capabilities")

    def close(self) -> None:
        """Let go of the monitor; the machine is ended by who started it."""
        with contextlib.suppress(OSError):
            self._qmp.close()
        self._socket.close()

    def ask(self, command: str, **arguments: Any) -> Any:
        """A QMP command."""
        self._qmp.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._qmp.flush()
        while True:
            answer = json.loads(self._qmp.readline())
            if "error" in answer:
                raise AssertionError(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def wait(self, text: str, timeout_s: float = PATIENCE_S) -> str:
        """The next line of the console with `text`."""
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            line, newline, rest = self._rest.partition(b"\n")
            if newline:
                self._rest = rest
                self.seen += line.decode(errors="replace").strip() + "\n"
                if text in line.decode(errors="replace"):
                    return line.decode(errors="replace")
            else:
                self._listen(left_s)
        raise AssertionError(f"the console did not show {text!r} but:\n{self.seen[-4000:]}")

    def _listen(self, patience_s: float) -> None:
        """Take what the console says within `patience_s`, and keep a copy of it."""
        if not select.select([self._fd], [], [], patience_s)[0]:
            return
        data = os.read(self._fd, 65536)
        assert data, f"the machine ended:\n{self.seen[-4000:]}"
        self._rest += data
        with self._log.open("ab") as log:
            log.write(data)

    def plug(self, image: Path, name: str = "stick") -> None:
        """A stick into the port; a slow one, so that it can be pulled while it is read."""
        self.ask("blockdev-add", driver="throttle", **{
            "node-name": name, "throttle-group": "slow", "read-only": True,
            "file": {"driver": "file", "filename": str(image), "read-only": True},
        })  # fmt: skip
        self.ask("device_add", driver="usb-storage", id=f"usb-{name}", drive=name, bus="xhci.0")

    def bytes_read(self, name: str = "stick") -> int:
        """From a stick, so far."""
        for row in self.ask("query-blockstats"):
            if f"/usb-{name}/" in row.get("qdev", ""):
                return int(row["stats"]["rd_bytes"])
        raise AssertionError(f"{name} is not in the port")

    def read_at_least(self, count: int) -> None:
        """Wait until that much of the stick has been read."""
        end_s = time.monotonic() + PATIENCE_S
        while self.bytes_read() < count:
            assert time.monotonic() < end_s, f"nobody reads the stick:\n{self.seen[-2000:]}"
            self._listen(0.2)

    def pull(self, name: str = "stick") -> None:
        """The stick out of the port."""
        self.ask("device_del", id=f"usb-{name}")
        self.wait("USB disconnect")
        end_s = time.monotonic() + 60
        while True:
            try:
                self.ask("blockdev-del", **{"node-name": name})
                return
            except AssertionError:
                if time.monotonic() > end_s:
                    raise
                self._listen(0.2)

    def cut(self) -> None:
        """The power is gone."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def booted(folder: Path, disk: Path, root_json: Path, bytes_per_s: int) -> Iterator[Vm]:
    """A machine with `disk` for its state; sticks give `bytes_per_s`. Raises Unavailable.

    What its console said stands in `folder`/console.log, also of one that hangs.
    """
    kernel = requirements()
    folder.mkdir()
    (image,) = kernel.glob("boot/vmlinuz-*")
    qmp = folder / "qmp"
    process = subprocess.Popen(
        ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
         "-m", "2048", "-display", "none", "-monitor", "none", "-no-reboot", "-serial", "stdio",
         "-kernel", str(image), "-initrd", str(initrd(kernel, root_json, folder)),
         "-append", ARGUMENTS, "-device", "qemu-xhci,id=xhci",
         "-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap",
         "-drive", f"file={disk},if=virtio,format=raw,cache=writethrough",
         "-object", f"throttle-group,id=slow,x-bps-read={bytes_per_s}",
         "-qmp", f"unix:{qmp},server,nowait"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        with contextlib.closing(Vm(process, qmp, folder / "console.log")) as machine:
            yield machine
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
