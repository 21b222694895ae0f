# SPDX-License-Identifier: Apache-2.0
"""A run's small files as lines of text, for where only a job's output comes home.

    python -m jobs.parcel RUN

A parcel is a zip in base64 between two lines that tell its size and hash. Lines are longer than
mail has them, for some schedulers keep the last 10,000 lines of an output only. Where a parcel
would grow too large, the largest files stay away, and it says which.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import json
import os
import re
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jobs.errors import JobError, UsageError, shown

MOST_TEXT = 4 << 20
"""Characters of a parcel."""
MOST_CONTENT = 128 << 20
"""Bytes of all its files, unpacked."""
LINE = 1024
"""Characters of base64 in a line; container logs break lines that are 16 times as long."""

RESULTS, MARK, CONFIG = "results.json", "stages/complete.json", "config.yaml"
NAMES = (
    *f"{CONFIG} environment.json manifest.csv quarantine.csv groups.csv predictions.csv".split(),
    *f"suspects.csv analysis.json report.html {MARK} {RESULTS}".split(),
)
"""All that a parcel may hold; in this order, for the last two say that all else is there."""
MADE_HERE = ("head", "model", "lock")
"""What a run makes in its directory, and no parcel brings."""

_REST = 64 << 10
"""Room of it for the mark, and for what the parcel tells of itself."""
_VERSION = 1
_ABOUT = "parcel.json"
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time of every file in the zip, so that the same run gives the same text."""
_END_OF_TIME = 1 << 40
_SEAL = r"retrain parcel (\d{1,6}): (\d{1,12}) bytes, SHA-256 ([0-9a-f]{64}) ===$"
_BEGIN, _END = re.compile(rf"=== {_SEAL}"), re.compile(rf"=== end of {_SEAL}")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")

Files = dict[str, bytes]


@dataclass(frozen=True)
class LeftOut:
    """A file that a parcel had no room for."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Unpacked:
    """What a parcel brought."""

    status: str
    """As in results.json."""
    came: tuple[str, ...]
    """Names, relative to the run directory."""
    left_out: tuple[LeftOut, ...]


def pack(run: Path) -> str:
    """Make the parcel of a run.

    Args:
        run: A run directory with results.json, in whatever state the run is.
    Returns:
        Lines, the last one ended too.
    Raises:
        UsageError: There is no results.json.
        JobError: A file cannot be read, or results.json alone is too large.
    """
    try:
        files, left_out = _read(run)
        written = (run / RESULTS).stat().st_mtime
        mark = _read_mark(run)
    except OSError as error:
        raise JobError(f"{shown(str(error.filename))}: cannot be read: {error.strerror}.") from None
    packed = {name: len(zlib.compress(content)) for name, content in files.items()}
    while len(text := _as_text(_zipped(files, mark, left_out, written))) > MOST_TEXT:
        others = (name for name in files if name != RESULTS)
        largest = max(others, key=packed.__getitem__, default="")
        if not largest:
            raise _too_large(run)
        left_out.append(LeftOut(largest, len(files.pop(largest))))
    return text


def _read(run: Path) -> tuple[Files, list[LeftOut]]:
    """The files that go along, but for the mark; and those that alone are too many bytes."""
    files: Files = {}
    left_out: list[LeftOut] = []
    room = MOST_CONTENT - _REST
    for name in (RESULTS, *NAMES[:-2]):
        path = run / name
        if path.is_symlink() or not path.is_file():  # a link could lead to what is no part of it
            continue
        size = path.stat().st_size
        if size > room:
            left_out.append(LeftOut(name, size))
            continue
        files[name] = path.read_bytes()
        room -= len(files[name])
    if RESULTS not in files:
        if left_out:
            raise _too_large(run)
        raise UsageError(
            f"{shown(str(run))}: no run directory: {RESULTS} is not there.",
            "Give the folder that was the run's --out.",
        )
    return files, left_out


def _too_large(run: Path) -> JobError:
    return JobError(f"{shown(str(run / RESULTS))}: too large for a job's output.")


def _read_mark(run: Path) -> dict[str, str]:
    """The hashes in the final mark; none where the run is not finished."""
    path = run / MARK
    if path.is_symlink() or not path.is_file():
        return {}
    try:
        return _hashes(path.read_bytes())
    except ValueError:
        return {}


def _hashes(content: bytes) -> dict[str, str]:
    """The files in a final mark, with their hashes.

    Raises:
        ValueError: It is none.
    """
    files = _tree(content).get("files")
    if not isinstance(files, dict) or not all(isinstance(one, str) for one in files.values()):
        raise ValueError
    return files


def _tree(content: bytes) -> dict[str, Any]:
    """An object of JSON.

    Raises:
        ValueError: It is none.
    """
    try:
        tree = json.loads(content)
    except RecursionError:
        raise ValueError from None
    if not isinstance(tree, dict):
        raise ValueError
    return tree


def _json(tree: Mapping[str, Any]) -> bytes:
    return (json.dumps(tree, indent=2) + "\n").encode("ascii")


def _zipped(
    files: Files, mark: dict[str, str], left_out: Sequence[LeftOut], written: float
) -> bytes:
    """The parcel's zip.

    Its final mark is the run's, but for files that stay away: what the mark covers is then what
    can be seen to be whole, and a file that was damaged before is seen to be so at home.
    """
    about = {
        "version": _VERSION,
        "written": written,
        "left_out": [[one.name, one.bytes] for one in left_out],
    }
    content = {_ABOUT: _json(about), **{name: files[name] for name in NAMES if name in files}}
    if mark:
        content[MARK] = _json({"files": {name: mark[name] for name in files if name in mark}})
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in content.items():
            entry = zipfile.ZipInfo(name, _LONG_AGO)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, one)
    return made.getvalue()


def _as_text(raw: bytes) -> str:
    seal = f"retrain parcel {_VERSION}: {len(raw)} bytes, SHA-256 {_sha256(raw)} ==="
    text = base64.b64encode(raw).decode("ascii")
    lines = [text[at : at + LINE] for at in range(0, len(text), LINE)]
    return "\n".join([f"=== {seal}", *lines, f"=== end of {seal}", ""])


def _sha256(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def unpack(text: str, folder: Path) -> Unpacked:
    """Write the run directory that the last whole parcel in a job's output holds.

    Args:
        text: The output, with whatever else was printed.
        folder: Gets the files: all of them or none where it is new or empty; else it must be the
            same run's, and each file is replaced whole, the results last.
    Raises:
        UsageError: The folder is something else.
        JobError: There is no whole parcel, it holds what no run makes, or a write failed.
    """
    files, written, left_out = _opened(_last_whole(text))
    status = _status(files[RESULTS])
    folder = Path(os.path.realpath(folder))  # what is made beside it is on its disk
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        if _is_taken(folder):
            _require_same(folder, files)
        _write(folder, files, written)
    except OSError as error:
        raise JobError(
            f"{shown(str(folder))}: cannot be written: {error.strerror or error}.",
            "Free space or check the folder's permissions, then start the same command again.",
        ) from None
    return Unpacked(status, tuple(name for name in NAMES if name in files), left_out)


@dataclass(frozen=True)
class _Found:
    """A parcel with both of its ends."""

    size: int
    sha256: str
    lines: list[str]

    def whole(self) -> bytes | None:
        """What it holds; None where it is not as its ends say."""
        if self.size > MOST_TEXT:
            return None
        try:
            raw = base64.b64decode("".join(self.lines), validate=True)
        except (binascii.Error, ValueError):
            return None
        return raw if len(raw) == self.size and _sha256(raw) == self.sha256 else None


def _last_whole(text: str) -> bytes:
    found = list(_parcels(text))
    for one in reversed(found):
        if (raw := one.whole()) is not None:
            return raw
    ends = [end for line in text.splitlines() if (end := _either_end(line.rstrip()))]
    if not ends:
        raise JobError(
            "the job's output: no results in it.",
            "The run ended before it had any; the last lines of its output say why.",
        )
    if int(ends[-1][1]) > _VERSION:
        raise JobError(
            f"the job's output: results in form {ends[-1][1]}; this version knows {_VERSION}.",
            "Take the version of retrain that is in the job's image, or a newer one.",
        )
    raise JobError(
        "the job's output: the results in it are cut off or damaged.",
        "Ask for the output again; else start the same job again: a finished run prints them anew.",
    )


def _either_end(line: str) -> re.Match[str] | None:
    return _BEGIN.search(line) or _END.search(line)


def _parcels(text: str) -> Iterator[_Found]:
    """Parcels with both ends, in order; what others printed in between is passed over."""
    seal: tuple[str, ...] | None = None
    lines: list[str] = []
    for line in map(str.rstrip, text.splitlines()):
        if begins := _BEGIN.search(line):
            seal, lines = begins.groups(), []
        elif ends := _END.search(line):
            if seal and ends.groups() == seal and int(seal[0]) == _VERSION:
                yield _Found(int(seal[1]), seal[2], lines)
            seal = None
        elif seal and _BASE64.fullmatch(line):
            lines.append(line)


def without(text: str) -> str:
    """A job's output for people: a line in place of each parcel, of one that is on its way too."""
    kept, within = [], False
    for line in text.splitlines(keepends=True):
        if not within and _BEGIN.search(line.rstrip()):
            kept.append("(the results, for `retrain pull`)\n")
            within = True
        elif not within:
            kept.append(line)
        elif _END.search(line.rstrip()):
            within = False
    return "".join(kept)


class _Refused(JobError):
    """A parcel that no run of ours made."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"the job's output: its results {what}; nothing was written.",
            "Look at that output before you trust it: retrain did not write it so.",
        )


def _opened(raw: bytes) -> tuple[Files, float, tuple[LeftOut, ...]]:
    """The files of a zip that may be anybody's, when the results were written, what is missing."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            entries = archive.infolist()
            _require_known(entries)
            files = {one.filename: _read_entry(archive, one) for one in entries}
        about = _tree(files.pop(_ABOUT))
        if MARK in files:
            _hashes(files[MARK])
        return files, _time(about["written"]), tuple(_missing(about["left_out"]))
    except (
        *(zipfile.BadZipFile, zlib.error, ValueError, TypeError, KeyError, IndexError),
        *(EOFError, OSError, RuntimeError, OverflowError),
    ):
        raise _Refused("are no whole run directory") from None


def _require_known(entries: Sequence[zipfile.ZipInfo]) -> None:
    names = [one.filename for one in entries]
    for name in names:
        if name not in (_ABOUT, *NAMES):
            raise _Refused(f"hold {shown(name, 60)}, which no run makes")
    if len(set(names)) < len(names) or not {_ABOUT, RESULTS} <= set(names):
        raise ValueError
    if any(one.compress_type != zipfile.ZIP_DEFLATED for one in entries):
        raise ValueError  # of other kinds zipfile unpacks all before it counts
    if sum(one.file_size for one in entries) > MOST_CONTENT:
        raise _Refused(f"would be more than {MOST_CONTENT:,} bytes")


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """A file of as many bytes as it announces; one that would unpack to more is not unpacked."""
    with archive.open(entry) as file:
        content = file.read(entry.file_size + 1)
    if len(content) != entry.file_size:
        raise ValueError
    return content


def _time(told: float) -> float:
    """Seconds since 1970 that a file can be given."""
    if not 0 <= told < _END_OF_TIME:
        raise ValueError
    return float(told)


def _missing(told: Sequence[tuple[str, int]]) -> Iterator[LeftOut]:
    for name, size in told:
        if name not in NAMES:
            raise ValueError
        yield LeftOut(name, int(size))


def _status(results: bytes) -> str:
    try:
        status = _tree(results)["status"]
    except (ValueError, KeyError):
        status = None
    if not isinstance(status, str):
        raise _Refused(f"hold a {RESULTS} that tells no status")
    return status


def _is_taken(folder: Path) -> bool:
    """Whether there is something that is not to be replaced as a whole."""
    return folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))


def _require_same(folder: Path, files: Files) -> None:
    """See that a folder is the same run's, brought home before: by its settings, as `retrain run`.

    Raises:
        UsageError: It is not.
    """
    todo = "Give another folder, or move that one away."
    if not folder.is_dir():
        raise UsageError(f"{shown(str(folder))}: is no folder.", todo)
    here = next((name for name in MADE_HERE if (folder / name).exists()), "")
    if here:
        raise UsageError(f"{shown(str(folder))}: a run was made there: it holds {here}.", todo)
    try:
        same = (folder / CONFIG).read_bytes() == files.get(CONFIG)
    except OSError:
        same = False
    if not same:
        raise UsageError(
            f"{shown(str(folder))}: holds another run, or none: {CONFIG} is not this run's.", todo
        )


def _write(folder: Path, files: Files, written: float) -> None:
    """Write all files beside the folder, then put them in its place."""
    with tempfile.TemporaryDirectory(
        prefix=f".{folder.name[:100]}.", suffix=".tmp", dir=folder.parent
    ) as made:
        new = Path(made) / "run"
        new.mkdir()
        for name, content in files.items():
            (new / name).parent.mkdir(exist_ok=True)
            _write_synced(new / name, content)
        os.utime(new / RESULTS, (written, written))  # pages tell when a run was finished
        if _is_taken(folder):
            _replace(folder, new)
        else:
            os.rename(new, folder)


def _write_synced(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(folder: Path, new: Path) -> None:
    """Replace each file whole; what did not come along with the new ones does not stay."""
    for name in NAMES:
        if (new / name).exists():
            (folder / name).parent.mkdir(exist_ok=True)
            os.replace(new / name, folder / name)
        else:
            with suppress(FileNotFoundError):
                (folder / name).unlink()


def main(words: Sequence[str]) -> NoReturn:
    """Print a run's parcel; an error is told as all commands of retrain tell it."""
    try:
        if len(words) != 1:
            raise UsageError("python -m jobs.parcel: wanted one run directory.")
        text = pack(Path(words[0]))
    except JobError as error:
        print(f"retrain: {error.message}", *filter(None, [error.todo]), sep="\n  ", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.stdout.write(text)
    sys.exit()


if __name__ == "__main__":
    main(sys.argv[1:])
