# SPDX-License-Identifier: Apache-2.0
"""What the JARVICE API and a job's output say, as values and in plain words. Pure.

Types are taken as they come: older servers leave keys out, and give numbers as texts.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from jobs import errors
from jobs.errors import UsageError, shown
from jobs.states import CANCELLED, DONE, FAILED, QUEUED, RUNNING, STOPPED, UNKNOWN, Seen

JARVICE: Mapping[str, str] = {
    **dict.fromkeys(("SUBMITTED", "SEQUENTIALLY QUEUED"), QUEUED),
    "PROCESSING STARTING": RUNNING,
    "COMPLETED": DONE,
    "COMPLETED WITH ERROR": FAILED,
    "TERMINATED": STOPPED,
    "CANCELED": CANCELLED,
}
"""What the words of `job_status` mean as long as the program itself says nothing."""
_EXEMPT = "EXEMPT"
"""A word of the accounts, which says nothing of an end; inferred, not documented."""
_PLAIN = {
    "SEQUENTIALLY QUEUED": "another job goes first",
    "TERMINATED": "it was terminated, or its time limit ended it",
    "CANCELED": "JARVICE cancelled it, or it never ran",
}
_MARKER = re.compile(r"(?:^|\r)JOB_EXIT_CODE=(\d{1,3})[ \t\r]*$", re.MULTILINE)
_HASHES = re.compile(r"^#{79,80}(?:\r?\n|$)", re.MULTILINE)
_INIT = re.compile(r"(?:INIT\[.*(?:\n|$))+")
_LISTED = 12
"""Machine types that a message names at most."""


def seen_of(entry: object) -> Seen:
    """A job out of an entry of `status` or `jobs`, as `job_status` alone would have it."""
    tree = entry if isinstance(entry, dict) else {}
    word = _word(tree.get("job_status"))
    submitted, started, ended = (
        _time(tree.get(f"job_{what}_time")) for what in ("submit", "start", "end")
    )
    means = _means(word, ended is not None)
    reason = _reason(tree, word)
    if means == QUEUED:
        return Seen(word, means, reason, submitted=submitted)
    if means == RUNNING:
        return Seen(word, means, reason, submitted=submitted, started=started)
    return Seen(word, means, reason, submitted=submitted, started=started, ended=ended)


def with_marker(seen: Seen, code: int | None) -> Seen:
    """What a job that has ended came to, which its program knows better than `job_status`.

    A job of less than a second ends as CANCELED even where it succeeded, and COMPLETED is also
    what a job shows that was shut down.

    Args:
        seen: By the API's words; one that has not ended is left as it is.
        code: What `exit_code` found in its whole output; None: no marker.
    """
    if not (seen.is_over or seen.ended):
        return seen
    if code is not None:
        means = {errors.DONE: DONE, errors.STOPPED: STOPPED}.get(code, FAILED)
        return replace(seen, means=means, reason="", code=code, by_run=True)
    if seen.means == DONE:
        return replace(seen, means=FAILED, reason="its output does not tell how it ended")
    return seen


def exit_code(output: str) -> int | None:
    """The program's own exit code, by the last line `JOB_EXIT_CODE=N`; None without one."""
    codes = [int(code) for code in _MARKER.findall(output)]
    return next((code for code in reversed(codes) if code <= 255), None)


def without_init(output: str) -> str:
    """The program's output, without what the platform wrote before it.

    An output whose beginning was cut off does not begin with those lines, and is left whole.
    """
    head = _INIT.match(output)
    if not head:
        return output
    hashes = _HASHES.search(output)
    return output[hashes.end() if hashes else head.end() :]


def label_of(entry: object) -> str | None:
    """The label of an entry of `jobs`; None where the entry does not tell."""
    tree = entry if isinstance(entry, dict) else {}
    body = tree.get("job_api_submission")
    for place in (tree, body if isinstance(body, dict) else {}):
        if "job_label" in place:
            return str(place["job_label"] or "")
    return None


def whole(value: object) -> int | None:
    """A whole number that is not negative, also out of a text; None for anything else."""
    number = _number(value)
    return int(number) if number is not None and number.is_integer() and number >= 0 else None


@dataclass(frozen=True)
class Machine:
    """A machine type; what an older server does not tell is 0, empty or None."""

    type: str
    arch: str = ""
    """Such as x86_64 or ppc64le."""
    cores: int = 0
    gpus: int = 0
    ram: int = 0
    """GB."""
    fewest: int = 1
    """Nodes of one job."""
    most: int | None = None
    """The same; None: not told."""
    price: float | None = None
    """An hour, in the currency of the account."""


def machines_of(tree: Mapping[str, object]) -> dict[str, Machine]:
    """The machine types by name, out of what `machines` answers."""
    return {name: _machine(name, entry) for name, entry in tree.items()}


def choose(machines: Mapping[str, Machine], name: str, nodes: int) -> Machine:
    """The machine type of that name.

    Raises:
        UsageError: There is none, or a job on it has fewer or more nodes.
    """
    if name not in machines:
        raise UsageError(f"{shown(name, 60)}: no such machine type.", _instead(machines, name))
    machine = machines[name]
    if machine.fewest <= nodes and (machine.most is None or nodes <= machine.most):
        return machine
    if machine.most is None:
        wanted = f"at least {machine.fewest} nodes"
    elif machine.most == machine.fewest:
        wanted = "1 node" if machine.most == 1 else f"{machine.most} nodes"
    else:
        wanted = f"{machine.fewest} to {machine.most} nodes"
    raise UsageError(f"{shown(name, 60)}: a job on it has {wanted}; asked for {nodes}.")


def cheapest(machines: Mapping[str, Machine], nodes: int, arch: str) -> str:
    """The type that a job goes to where none is named: with GPUs if there are such, and least dear.

    Args:
        machines: All there are.
        nodes: Of the job.
        arch: Such as x86_64; empty for any.
    Raises:
        UsageError: None serves.
    """
    fit = [
        one
        for one in machines.values()
        if one.fewest <= nodes <= (one.most or nodes) and (not arch or one.arch in ("", arch))
    ]
    if not fit:
        kind = f" of {arch}" if arch else ""
        raise UsageError(f"--machine: none{kind} takes a job of {nodes} nodes.", "Name one.")
    best = min(fit, key=lambda one: (not one.gpus, one.price is None, one.price or 0.0, one.type))
    return best.type


def _instead(machines: Mapping[str, Machine], name: str) -> str:
    if not machines:
        return "JARVICE offers this account none: ask who runs it."
    near = difflib.get_close_matches(name, machines, n=3, cutoff=0.5)
    if near:
        return f"Did you mean {' or '.join(shown(word, 60) for word in near)}?"
    few = sorted(machines)[:_LISTED]
    more = len(machines) - len(few)
    listed = ", ".join(shown(word, 60) for word in few)
    return f"There are {listed}{f' and {more} more' if more else ''}."


def _machine(name: str, entry: object) -> Machine:
    tree = entry if isinstance(entry, dict) else {}
    cores, gpus, ram = (
        int(_number(tree.get(f"mc_{what}")) or 0) for what in ("cores", "gpus", "ram")
    )
    arch = tree.get("mc_arch")
    return Machine(
        name,
        shown(arch, 40) if isinstance(arch, str) else "",
        cores,
        gpus,
        ram,
        fewest=whole(tree.get("mc_scale_min")) or 1,
        most=whole(tree.get("mc_scale_max")) or None,
        price=_number(tree.get("mc_price")),
    )


def _word(value: object) -> str:
    return shown(" ".join(value.upper().split()), 60) if isinstance(value, str) else ""


def _means(word: str, has_ended: bool) -> str:
    if word == _EXEMPT:
        return DONE if has_ended else RUNNING  # inferred: a client shows it as "finishing"
    return JARVICE.get(word, UNKNOWN)


def _reason(tree: Mapping[object, object], word: str) -> str:
    """Why it waits or ended: the server's own words, or those for its state."""
    text = tree.get("job_substatus_text")
    if isinstance(text, str) and text.strip():
        return f"JARVICE says {shown(' '.join(text.split()), 120)}"
    number = whole(tree.get("job_substatus"))
    if number and JARVICE.get(word) == QUEUED:
        # What the numbers mean is not public; as for a queued job, a limit or a licence holds it.
        return f"held by JARVICE (substatus {number})"
    return _PLAIN.get(word, "")


def _time(value: object) -> float | None:
    """Seconds since 1970; the API's 0 is a time that has not come."""
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    with suppress(ValueError, OverflowError):
        number = float(value)
        return number if math.isfinite(number) else None
    return None
