"""Container images without a container engine: written by hand from files, or built from a Dockerfile by buildah.

An archive is one file in the docker-archive form, which containerd (`ctr images import`), crane (`crane push`) and
buildah (`docker-archive:`) read. `busybox` images start at once and say what they are told, and each text makes
another digest; `debian_python` is the base on which a product's Dockerfile can be built where no registry is reachable.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
BUSYBOX = Path("/bin/busybox")  # Debian: busybox-static
PYTHON_PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv", "python-is-python3")
NOT_NEEDED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")


@dataclass(frozen=True, slots=True)
class Image:
    reference: str
    layer: Path | bytes  # a tar
    config: Mapping[str, Any] = field(default_factory=dict)  # OCI image configuration, "config"


def busybox(reference: str, *command: str) -> Image:
    """An image with busybox's programs that runs `command`."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as layer:
            _add(layer, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
            for program in _quiet(BUSYBOX, "--list").split():
                if program != "busybox":
                    link = tarfile.TarInfo(f"bin/{program}")
                    link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                    layer.addfile(link)
        return Image(reference, file.getvalue(), {"Cmd": command, "Env": ["PATH=/bin"]})


def of_host(reference: str, *programs: str) -> Image:
    """An image with programs of this machine, and the libraries that they are linked to."""
    paths = {f"/usr/bin/{program}" for program in programs}
    paths |= {library for path in paths for library in re.findall(r"(/\S+) \(0x", _quiet("ldd", path))}
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as layer:
            for path in sorted(paths):
                _add(layer, path[1:], Path(path).read_bytes(), mode=0o755)
        return Image(reference, file.getvalue(), {"Env": ["PATH=/usr/bin"]})


def debian_python(reference: str, layer: Path) -> Image:
    """Debian's Python as an image that resembles python:3.11-slim. `layer` is made (40 s, 190 MB) unless it exists."""
    if not layer.exists():
        made = layer.with_suffix(".part.tar")
        excludes = [f"--dpkgopt=path-exclude={pattern}" for pattern in NOT_NEEDED]
        # In an image of its own, pip may install for the system (PEP 668).
        own = "--customize-hook=rm -f $1/usr/lib/python3*/EXTERNALLY-MANAGED"
        _quiet(
            "mmdebstrap", "--variant=apt", f"--include={','.join(PYTHON_PACKAGES)}", *excludes, own, "bookworm", made
        )
        made.rename(layer)
    return Image(
        reference,
        layer,
        {"Cmd": ["python3"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
    )


def write_archive(path: Path, image: Image) -> None:
    layer = image.layer if isinstance(image.layer, bytes) else image.layer.read_bytes()
    config = json.dumps({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "config": image.config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        # As many as layers, or buildah builds nothing upon it; with a time, or it keeps nothing that it built.
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "tests"}],
    }).encode()  # fmt: skip
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    with tarfile.open(path, "w") as archive:
        _add(archive, "layer.tar", layer)
        _add(archive, name, config)
        _add(
            archive,
            "manifest.json",
            json.dumps([{"Config": name, "RepoTags": [image.reference], "Layers": ["layer.tar"]}]).encode(),
        )


def build(context: Path, *, base: Path, reference: str, archive: Path, storage: Path) -> None:
    """`archive` holds the image that `context`'s Dockerfile makes, with the image in `base` as argument BASE_IMAGE.

    Runs on the host, where pip may reach its index: the host's certificates and pip configuration are mounted while
    the build runs and do not stay in the image. buildah keeps its layers in `storage`, as a cache.
    """
    # In a mount namespace of its own, since a build that fails leaves its mounts behind.
    buildah = [
        "unshare",
        "--mount",
        "buildah",
        f"--root={storage / 'root'}",
        f"--runroot={storage / 'run'}",
        "--storage-driver=overlay",
    ]
    base_image = _quiet(*buildah, "pull", f"docker-archive:{base.resolve()}")
    with tempfile.TemporaryDirectory() as directory:
        settings = Path(directory) / "pip.conf"
        settings.write_text(_pip_settings())
        mounts = [f"--volume={settings}:/etc/pip.conf:ro"]
        mounts += [
            f"--volume={host}:/etc/ssl/certs/ca-certificates.crt:ro"
            for host in [os.environ.get("SSL_CERT_FILE")]
            if host
        ]
        _quiet(
            *buildah,
            "bud",
            "--format=docker",  # the OCI form has no health check
            "--isolation=chroot",
            "--layers",
            *mounts,
            f"--build-arg=BASE_IMAGE={base_image}",
            f"--tag={reference}",
            context,
        )
    archive.unlink(missing_ok=True)
    _quiet(*buildah, "push", reference, f"docker-archive:{archive.resolve()}:{reference}")


def _pip_settings() -> str:
    """The host's pip configuration, files and PIP_ variables together, without what names a path of the host."""
    listed = subprocess.run(["pip", "config", "list"], check=True, capture_output=True, text=True).stdout.splitlines()
    settings = dict(line.split("=", 1) for line in listed)
    kept = {
        key.split(".")[-1]: value.strip("'") for key, value in settings.items() if not value.strip("'").startswith("/")
    }
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in kept.items()), ""])


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)  # all times are zero: the same files make the same digest
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def _quiet(*args: str | Path) -> str:
    done = subprocess.run(args, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{args[0]}: status {done.returncode}\n{done.stderr}")
    return done.stdout.strip()
