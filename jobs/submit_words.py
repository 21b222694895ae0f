# SPDX-License-Identifier: Apache-2.0
"""What `retrain submit` is told, and what it says and does on each kind of cluster."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.errors import DONE, UsageError, command_line, printed, shown
from jobs.journal import Entry
from jobs.submit import check, check_settings, hand_over

if TYPE_CHECKING:
    from jobs.jarvice_words import Machine
    from jobs.nimbix_order import Order

SCHEDULERS = ("slurm", "nimbix")
_ONLY = {
    "slurm": {
        "site": "--site",
        "gpus": "--gpus-per-node",
        "limit": "--time",
        "options": "--sbatch",
        "sweep": "--sweep",
        "scaling": "--scaling",
        "at_once": "--limit",
    },
    "nimbix": {
        "walltime": "--walltime",
        "machine": "--machine",
        "vault": "--vault",
        "image": "--image",
        "app": "--app",
    },
}
"""Options that mean nothing elsewhere."""
Submitted = tuple[int, list[Entry]]
"""The exit code, and what is in the queue now."""


@dataclass(frozen=True)
class Words:
    """The words of `retrain submit`, by the names of its parameters."""

    config: str
    overrides: Sequence[str]
    place: str | None
    site: str | None
    nodes: int | None
    gpus: int | None
    limit: str
    out: str
    again: bool
    options: Sequence[str]
    sweep: Sequence[str]
    scaling: str
    at_once: int | None
    walltime: str
    machine: str
    vault: str
    image: str
    app: str
    waits: bool
    dry_run: bool


def submit(words: Words) -> Submitted:
    """Hand over what the words say, and tell how to go on.

    Raises:
        JobError: They are wrong, or it was refused.
    """
    _require_fitting(words)
    return _to_nimbix(words) if words.place == "nimbix" else _to_slurm(words)


def _require_fitting(words: Words) -> None:
    if words.place is None:
        raise UsageError("--on: is missing.", f"Say where to: --on {' or '.join(SCHEDULERS)}.")
    if words.place not in SCHEDULERS:
        raise UsageError(
            f"{shown(words.place)}: no such scheduler.", f"There are: {', '.join(SCHEDULERS)}."
        )
    for place, options in _ONLY.items():
        for field in fields(words):
            if field.name in options and getattr(words, field.name) and place != words.place:
                raise UsageError(f"{options[field.name]}: only with --on {place}.")


def _to_slurm(words: Words) -> Submitted:
    from jobs.sites import read_site
    from jobs.slurm import Slurm
    from jobs.spec import make

    slurm = Slurm()
    where = read_site(words.site, slurm.cluster)
    many = bool(words.sweep or words.scaling or words.at_once)
    code = DONE if many else check(words.config, words.overrides)
    if code:
        return code, []
    spec = make(
        words.config,
        words.overrides,
        Path(words.out) if words.out else None,
        words.nodes,
        words.gpus,
        words.limit,
        words.again,
        where,
        words.options,
    )
    if many:
        from jobs.many_words import submit_many

        return submit_many(spec, words.sweep, words.scaling, words.at_once, words.dry_run)
    if words.dry_run:
        variables = [f"{name}={value}" for name, value in slurm.variables(spec).items()]
        env = ["env", *variables] if variables else []
        click.echo(command_line([*env, *slurm.command(spec)]))
        return DONE, []
    entry = hand_over(slurm, spec)
    _tell(entry, shown(str(entry.run)))
    return DONE, [entry]


def _to_nimbix(words: Words) -> Submitted:
    from jobs.nimbix import Nimbix
    from jobs.nimbix_order import make

    order = make(
        words.config,
        words.overrides,
        words.walltime,
        words.out,
        words.nodes,
        words.vault,
        words.image,
        words.app,
        words.again,
    )
    code = _check_settings(order)
    if code:
        return code, []
    nimbix = Nimbix(words.machine)
    if words.dry_run:
        method, path, body = nimbix.command(order)
        click.echo(f"{method} {path}\n{body}")
        return DONE, []
    machine = nimbix.machine(order)
    entry = hand_over(nimbix, order)
    _tell(
        entry, f"{order.place} in the vault {shown(order.vault)}; `retrain pull` brings them here"
    )
    printed(f"Costs     {_costs(order, machine)}\n")
    return DONE, [entry]


def _check_settings(order: Order) -> int:
    """Of a configuration in the vault nobody can see here more than what is set beside it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{Path(order.source).stem or 'data'}.yaml")
        path.write_text(json.dumps({"data": {"images": order.source}}), encoding="utf-8")
        return check_settings(str(path), order.settings)


def _costs(order: Order, machine: Machine) -> str:
    from jobs.nimbix_order import clock

    nodes = "1 node" if order.nodes == 1 else f"{order.nodes} nodes"
    until = f"until it is done, or at {clock(order.walltime)}"
    if machine.price is None:
        return f"{nodes} of {machine.type}, at a price not told, {until}"
    price = machine.price * order.nodes
    whole = price * order.walltime / 3600
    return f"{price:,.2f} an hour for {nodes} of {machine.type}, {until}: {whole:,.2f} at most"


def _tell(entry: Entry, results: str) -> None:
    alias = f" ({shown(entry.alias)})" if entry.alias else ""
    printed(
        f"Job       {entry.job}  {shown(entry.name)}, on {entry.scheduler}{alias}\n"
        f"Results   {results}\n"
        f"Messages  {shown(str(entry.log))}\n"
        f"Follow    retrain logs -f {entry.job}   or: retrain status {entry.job}\n"
        f"Stop      retrain cancel {entry.job}   it keeps its work\n"
    )
