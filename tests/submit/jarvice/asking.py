# SPDX-License-Identifier: Apache-2.0
"""The emulator asked by plain HTTP, without any client of ours."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any, NamedTuple

from .server import Jarvice


class Reply(NamedTuple):
    """Code and text of an answer."""

    status: int
    text: str

    @property
    def json(self) -> Any:
        """The text's meaning."""
        return json.loads(self.text)


def send(url: str, data: bytes | None = None) -> Reply:
    """Any request; a refusal is a reply as well."""
    try:
        with urllib.request.urlopen(url, data, timeout=5) as answer:
            return Reply(answer.status, answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.read().decode())


def ask(server: Jarvice, endpoint: str, **words: object) -> Reply:
    """As the account's owner, in a form."""
    form = {"username": server.user, "apikey": server.key, **words}
    return send(f"{server.url}/jarvice/{endpoint}", urllib.parse.urlencode(form).encode())


def body(server: Jarvice, line: str, **more: object) -> dict[str, Any]:
    """A batch job of this shell line."""
    return {
        "container": {"image": "library/ubuntu:jammy", "jobscript": line},
        "machine": {"type": "n2", "nodes": 1},
        "vault": {"name": "ephemeral"},
        "user": {"username": server.user, "apikey": server.key},
        **more,
    }


def post(server: Jarvice, endpoint: str, document: object) -> Reply:
    """A document of JSON, which says itself who sends it."""
    return send(f"{server.url}/jarvice/{endpoint}", json.dumps(document).encode())


def batch(server: Jarvice, line: str, **more: object) -> int:
    """Submit one; its number."""
    reply = post(server, "batch", body(server, line, **more))
    assert reply.status == 200, reply
    return int(reply.json["number"])


def status(server: Jarvice, number: int) -> str:
    """How a job stands."""
    return str(ask(server, "status", number=number).json[str(number)]["job_status"])


def until(holds: Callable[[], object]) -> None:
    """Wait for what should soon be so."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it never came about"
        time.sleep(0.01)


def ended(server: Jarvice, number: int) -> str:
    """How a job stands once it has ended."""
    job = next(job for job in server.jobs if job.number == number)
    until(lambda: job.ended)
    return status(server, number)


def output(server: Jarvice, number: int) -> str:
    """What a job's command said, without what the platform says first."""
    ended(server, number)
    log = ask(server, "output", number=number, lines=0).text
    head, said = log.split("#" * 79 + "\n", 1)
    assert all(line.startswith("INIT[1]: ") for line in head.splitlines()), head
    return said


def listed(server: Jarvice, number: int) -> dict[str, Any]:
    """What the list of ended jobs tells of one."""
    return dict(ask(server, "jobs", completed="true").json[str(number)])
