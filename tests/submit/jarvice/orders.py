# SPDX-License-Identifier: Apache-2.0
"""What the bodies of submit and batch ask for, checked in the order in which the service does."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from .answers import INVALID, MALFORMED, Json, Refused
from .command import App, constants, words
from .machines import QUEUES, Machine
from .site import Site

_T = TypeVar("_T")


@dataclass(frozen=True)
class Order:
    """One job as it was asked for; `walltime` in seconds, `script` for a batch job of its own."""

    app: str
    command: str
    argv: list[str]
    machine: Machine
    nodes: int
    vault: str
    readonly: bool
    label: str | None
    body: Json
    variables: dict[str, str] = field(default_factory=dict)
    script: bytes | None = None
    walltime: float | None = None
    verbose: bool = True


def of_submit(site: Site, body: Json) -> Order:
    """A command of an app.

    Raises:
        Refused: with the answer to give.
    """
    name = _get(body, "app", str)
    key = _get(body, "application.command", str)
    _common(body)
    site.check_user(body["user"], "Not Authorized")
    app = next((app for app in site.apps if app.id == name), None)
    if app is None:
        raise Refused(404, "Application Not Found")
    command = app.appdef["commands"].get(key)
    if command is None:
        raise Refused(400, INVALID)
    machine, nodes = _size(site, body)
    _fits(app, command, machine, nodes)
    vault, label = _vault(site, body), _label(body)
    signs = constants(machine, nodes, label or "", vault) | site.account_signs()
    argv, variables = words(command, _get(body, "application.parameters", dict, {}), signs)
    limit = _get(body, "application.walltime", str, "") or command.get("walltime")
    return Order(
        app=name,
        command=key,
        argv=argv,
        machine=machine,
        nodes=nodes,
        vault=vault,
        readonly=_get(body, "vault.readonly", bool, False),
        label=label,
        body=body,
        variables=variables,
        walltime=_seconds(limit or app.appdef.get("walltime")),
        verbose=bool(command.get("verboseinit", False)),
    )


def of_batch(site: Site, body: Json) -> Order:
    """A script in an image; there is no limit to its time.

    Raises:
        Refused: with the answer to give.
    """
    image = _get(body, "container.image", str)
    text = _get(body, "container.jobscript", str)
    _common(body)
    site.check_user(body["user"], "Not Authorized")
    if not image.strip() or not text.strip():
        raise Refused(400, "Invalid container in request")
    machine, nodes = _size(site, body)
    script = _script(text)
    return Order(
        app="jarvice-batch",
        command="Batch",
        argv=["/bin/sh", "-c", text] if script is None else ["/etc/JARVICE/jobscript"],
        machine=machine,
        nodes=nodes,
        vault=_vault(site, body),
        readonly=_get(body, "vault.readonly", bool, False),
        label=_label(body),
        body=body,
        script=script,
    )


def _get(body: Json, path: str, kind: Callable[..., _T], default: _T | None = None) -> _T:
    """The value at `a.b`, of this type."""
    value: object = body
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if value is None and default is not None:
        return default
    if type(value) is not kind:
        raise Refused(400, MALFORMED)
    return value  # type: ignore[return-value]  # just compared


def _common(body: Json) -> None:
    """What both kinds of job need, whatever its value."""
    if "nae" in body:
        raise Refused(400, MALFORMED)
    for path in ("machine.type", "vault.name", "user.username", "user.apikey"):
        _get(body, path, str)


def _size(site: Site, body: Json) -> tuple[Machine, int]:
    name = _get(body, "machine.type", str)
    nodes = _get(body, "machine.nodes", int, 1)
    machine = next((machine for machine in site.machines if machine.name == name), None)
    if machine is None or not machine.nodes[0] <= nodes <= machine.nodes[1]:
        raise Refused(400, INVALID)
    if _get(body, "queue", str, "small") not in QUEUES:
        raise Refused(404, "Queue not found")
    return machine, nodes


def _fits(app: App, command: Json, machine: Machine, nodes: int) -> None:
    """A command may narrow what its app allows."""
    globs = command.get("machines") or app.appdef["machines"]
    most = command.get("scale_max") or app.appdef.get("scale_max") or nodes
    known = any(fnmatch.fnmatch(machine.name, glob) for glob in globs)
    if not known or nodes > most or machine.arch != app.arch:
        raise Refused(400, INVALID)
    if not {"FILE", "NONE"} & set(app.appdef["vault-types"]):
        raise Refused(400, INVALID)


def _vault(site: Site, body: Json) -> str:
    name = _get(body, "vault.name", str)
    if name not in site.vaults:
        raise Refused(400, INVALID)
    return name


def _label(body: Json) -> str | None:
    return _get(body, "job_label", str, "") or None


def _seconds(limit: str | None) -> float | None:
    if not limit:
        return None
    form = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", limit)
    if form is None:
        raise Refused(400, INVALID)
    hours, minutes, seconds = map(int, form.groups())
    return hours * 3600.0 + minutes * 60 + seconds


def _script(text: str) -> bytes | None:
    """A whole script, where the text is one in base64; else it is a line for the shell."""
    try:
        script = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return script if script.startswith(b"#!") else None
