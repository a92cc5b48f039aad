# SPDX-License-Identifier: Apache-2.0
"""Makes what a virtual machine boots from, out of Debian's packages: kernel, initramfs, root file system.

Everything is cached below one folder, in a sub-folder named after the hash of this file (the recipe) and of the suite:
a changed recipe makes new guests and drops the old ones. The guests share one kernel:
  small    our own init, which mounts cgroup2 with all controllers and runs the suite as process 1's only child
  criu     the small one with CRIU (iptables is what it locks networks with), and runc to compare with
  systemd  systemd as init, dbus, and an ordinary user with subordinate ids whose user manager gets all controllers
"""
import fcntl
import gzip
import hashlib
import os
import pathlib
import shutil
import subprocess

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
CACHE = pathlib.Path(os.environ.get("DRAY_VM_CACHE", "/var/tmp/dray-vm"))
KERNEL_PACKAGE = "linux-image-cloud-amd64"
USER = "tester"

# libisal2 is the one library of dray's that is always shared; the others are here for dray-registry and a debug build.
COMMON = ["busybox-static", "kmod", "python3", "iproute2", "procps", "libisal2", "libcurl4", "libarchive13",
          "libsqlite3-0", "libseccomp2"]
PACKAGES = {
    "small": COMMON,
    "criu": [*COMMON, "criu", "iptables", "runc"],
    "systemd": [*COMMON, "systemd", "systemd-sysv", "dbus", "dbus-user-session", "libpam-systemd", "uidmap",
                "criu", "iptables"],
}
IMAGE_SIZE = "2G"  # sparse

# In the initramfs: the root disk's driver and nothing else. ext4 and the serial ports are in Debian's cloud kernel.
BOOT_MODULES = ["virtio_pci", "virtio_blk"]
INITRAMFS_INIT = """#!/bin/busybox sh
export PATH=/bin
/bin/busybox mount -t devtmpfs dev /dev
while read -r module; do /bin/busybox insmod "/modules/$module"; done < /modules/order
while ! /bin/busybox mount -t ext4 /dev/vda /root; do /bin/busybox sleep 0.1; done
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init
"""

SMALL_INIT = """#!/bin/busybox sh
# Process 1 of the small guest.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev shm /dev/shm
mount -t tmpfs -o nosuid,nodev,mode=755 run /run
mount -t tmpfs -o nosuid tmp /tmp
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 /sys/fs/cgroup
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
  echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
done
ip link set lo up
mount -t ext4 -o ro /dev/vdb /payload
/payload/vm/agent
# The host ends the machine once it has read the result.
while :; do sleep 1000; done
"""

AGENT_SERVICE = """[Unit]
Description=Runs one of Dray's test suites
After=multi-user.target user@1000.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'mount -t ext4 -o ro /dev/vdb /payload && exec /payload/vm/agent'
[Install]
WantedBy=graphical.target
"""


class Unavailable(Exception):
    """The machine can't do it; says why."""


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        raise Unavailable(f"{' '.join(map(str, command[:4]))} … failed with exit code {done.returncode}:\n"
                          + done.stdout[-3000:])
    return done.stdout


def debian_suite():
    lines = pathlib.Path("/etc/os-release").read_text().splitlines()
    release = dict(line.split("=", 1) for line in lines if "=" in line)
    if release.get("ID", "").strip('"') != "debian":
        raise Unavailable("the guests are made from the host's Debian release, and this is not Debian")
    return release["VERSION_CODENAME"].strip('"')


def fetch_kernel(folder):
    """Unpacks the kernel's package; no hook of it runs."""
    scratch = folder / "packages"
    scratch.mkdir()
    depends = run("apt-cache", "depends", "--no-recommends", "--no-suggests", KERNEL_PACKAGE)
    image = [line.split()[1] for line in depends.splitlines() if "Depends: linux-image-" in line]
    if not image:
        raise Unavailable(f"apt knows no package {KERNEL_PACKAGE} (apt-get update?)")
    run("apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", image[0], cwd=scratch)
    run("dpkg-deb", "-x", next(scratch.glob("*.deb")), scratch / "tree")
    tree = scratch / "tree"
    # Debian 13 has the modules below /usr/lib already.
    modules = next(path for path in (tree / "usr/lib/modules", tree / "lib/modules") if path.is_dir())
    shutil.move(modules, folder / "modules")
    shutil.copy(next((tree / "boot").glob("vmlinuz-*")), folder / "kernel")
    shutil.rmtree(scratch)
    return next((folder / "modules").iterdir()).name


def module_order(folder, version):
    """Files of BOOT_MODULES with what they need, in the order of loading."""
    base = folder / "modules"
    (folder / "lib").mkdir()
    (folder / "lib" / "modules").symlink_to(base)
    run("depmod", "-b", folder, version)
    shutil.rmtree(folder / "lib")
    needs = {}
    for line in (base / version / "modules.dep").read_text().splitlines():
        name, _, rest = line.partition(":")
        needs[name] = rest.split()
    order = []
    for wanted in BOOT_MODULES:
        path = next((name for name in needs if name.split("/")[-1].split(".")[0] == wanted), None)
        if path is None:
            continue  # built into this kernel
        for name in [*reversed(needs[path]), path]:
            if name not in order:
                order.append(name)
    return [base / version / name for name in order]


def cpio_entry(name, mode, data=b""):
    """One entry of a "newc" archive, the form the kernel unpacks."""
    encoded = name.encode() + b"\0"
    fields = [0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
    entry = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
    entry += b"\0" * (-len(entry) % 4) + data
    return entry + b"\0" * (-len(entry) % 4)


def write_initramfs(folder, version):
    archive = b"".join(cpio_entry(name, 0o040755) for name in ("bin", "dev", "root", "modules"))
    archive += cpio_entry("bin/busybox", 0o100755, pathlib.Path(shutil.which("busybox")).read_bytes())
    archive += cpio_entry("init", 0o100755, INITRAMFS_INIT.encode())
    order = module_order(folder, version)
    for path in order:
        data = path.read_bytes()
        if path.suffix == ".xz":
            data = subprocess.run(["xz", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
        archive += cpio_entry(f"modules/{path.name.removesuffix('.xz')}", 0o100644, data)
    listing = "".join(path.name.removesuffix(".xz") + "\n" for path in order)
    archive += cpio_entry("modules/order", 0o100644, listing.encode()) + cpio_entry("TRAILER!!!", 0)
    (folder / "initramfs").write_bytes(gzip.compress(archive, 1))


def write(path, text, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def customize_systemd(root):
    write(root / "etc/systemd/system/dray-vm.service", AGENT_SERVICE)
    # All controllers for the ordinary user's manager; the distribution hands down only some of them.
    write(root / "etc/systemd/system/user@.service.d/delegate.conf", "[Service]\nDelegate=yes\n")
    chroot = ["chroot", root]
    run(*chroot, "useradd", "--create-home", "--uid", "1000", "--shell", "/bin/bash", USER)
    for name in ("subuid", "subgid"):
        write(root / "etc" / name, f"{USER}:100000:65536\n")
    write(root / "var/lib/systemd/linger" / USER, "")
    run(*chroot, "systemctl", "enable", "dray-vm.service")
    run(*chroot, "systemctl", "set-default", "graphical.target")
    # Nobody logs in, and without udev the terminals' device units would only be waited for.
    for unit in ("getty.target", "serial-getty@ttyS0.service", "systemd-timesyncd.service",
                 "systemd-firstboot.service"):
        run(*chroot, "systemctl", "mask", unit)


def make_guest(folder, guest, suite):
    root = folder / "root"
    mirror = [os.environ["DRAY_VM_MIRROR"]] if "DRAY_VM_MIRROR" in os.environ else []
    run("mmdebstrap", "--variant=minbase", "--format=directory", f"--include={','.join(PACKAGES[guest])}",
        "--aptopt=Acquire::Check-Valid-Until \"false\"", "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*", suite, root, *mirror)
    for path in ("var/cache/apt", "var/lib/apt/lists"):
        shutil.rmtree(root / path)
        (root / path).mkdir()
    shutil.copytree(folder.parent / "kernel.d" / "modules", root / "lib/modules", symlinks=True)
    (root / "payload").mkdir()
    write(root / "etc/hostname", f"{guest}-guest\n")
    write(root / "etc/hosts", f"127.0.0.1 localhost {guest}-guest\n::1 localhost\n")
    write(root / "etc/fstab", "")
    if guest in ("small", "criu"):
        write(root / "sbin/init", SMALL_INIT, 0o755)
    else:
        customize_systemd(root)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, "-E", "root_owner=0:0",
        folder / "disk", IMAGE_SIZE)
    shutil.rmtree(root)


def prepare(guest, report):
    """Returns the folder with kernel.d/{kernel,initramfs} and <guest>/disk, made if missing."""
    suite = debian_suite()
    key = hashlib.sha256(pathlib.Path(__file__).read_bytes() + suite.encode()).hexdigest()[:16]
    CACHE.mkdir(parents=True, exist_ok=True)
    folder = CACHE / key
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in CACHE.iterdir():
            if old.is_dir() and old.name != key and not old.name.startswith("run-"):
                shutil.rmtree(old)
        folder.mkdir(exist_ok=True)

        def make(name, action):
            if (folder / name).exists():
                return
            scratch = folder / f"{name}.new"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            action(scratch)
            scratch.rename(folder / name)

        def make_kernel(scratch):
            report(f"unpacking Debian's kernel ({KERNEL_PACKAGE})")
            write_initramfs(scratch, fetch_kernel(scratch))

        def make_disk(scratch):
            report(f"making the guest \"{guest}\" with mmdebstrap; about a minute")
            make_guest(scratch, guest, suite)

        make("kernel.d", make_kernel)
        make(guest, make_disk)
    return folder


def make_payload(image, build, source):
    """The second disk, read-only: Dray's programs and the suites."""
    scratch = image.with_suffix(".d")
    (scratch / "bin").mkdir(parents=True)
    for program in ("dray", "dray-init", "dray-monitor", "dray-registry", "dray-runtime", "unit-core", "unit-store",
                    "unit-runtime"):
        if (build / program).exists():
            shutil.copy(build / program, scratch / "bin")
    shutil.copytree(source, scratch / "vm", ignore=shutil.ignore_patterns("__pycache__"))
    used = sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file())
    run("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", scratch, "-E", "root_owner=0:0", image,
        f"{used // (1 << 20) * 5 // 4 + 16}M")
    shutil.rmtree(scratch)
