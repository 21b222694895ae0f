# SPDX-License-Identifier: Apache-2.0
"""The endpoints: each reads a call and answers, or refuses."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

from . import appdef as rules
from .answers import INVALID, NOT_FOUND, NOT_RUNNING, Answer, Json, Refused, as_json, as_text
from .calls import Call
from .command import App
from .job import COMPLETED, GRACE_SECONDS, RUNNING, TERMINATED, Job
from .machines import QUEUES
from .orders import Order, of_batch, of_submit
from .site import Site
from .views import jobs_entry, status_entry

_POSTED = ("submit", "batch", "validate")
_FIRST_NUMBER = 123065
_DEFAULT_LINES = "100"
_SUSPEND = "20"
_UNKNOWN_JOB = "Job not found"


class Api:
    """A site's endpoints and its jobs."""

    def __init__(self, site: Site) -> None:
        """No job at first."""
        self.site = site
        self.jobs: list[Job] = []
        self._recording = threading.Lock()
        self._open: dict[str, Callable[[Call], Answer]] = {
            "live": self._alive,
            "ready": self._alive,
            "validate": self._validate,
            "apps": self._apps,
            "submit": lambda call: self._record(of_submit(self.site, call.document())),
            "batch": lambda call: self._record(of_batch(self.site, call.document())),
        }
        self._of_account: dict[str, Callable[[Call], Answer]] = {
            "jobs": self._jobs,
            "machines": self._machines,
            "appdef": self._appdef,
            "queues": self._queues,
            "vault": self._vault,
        }
        self._of_job: dict[str, Callable[[Call, Job], Answer]] = {
            "status": self._status,
            "shutdown": self._shutdown,
            "terminate": self._terminate,
            "signal": self._signal,
            "tail": self._tail,
            "output": self._output,
            "info": self._info,
            "connect": self._connect,
        }

    def answer(self, call: Call) -> Answer:
        """What the service answers where nothing goes wrong.

        Raises:
            Refused: with the answer to give instead.
        """
        name = call.endpoint
        if name in _POSTED and call.request.method != "POST":
            raise Refused(400, "Bad Request")
        if name in self._open:
            return self._open[name](call)
        if name in self._of_account:
            self.site.check_user(call.parameters)
            return self._of_account[name](call)
        if name in self._of_job:
            self.site.check_user(call.parameters)
            return self._of_job[name](call, self._selected(call))
        raise Refused(404, NOT_FOUND)

    def _selected(self, call: Call) -> Job:
        """The job that a call names or numbers; both at once are one too many."""
        name, number = (call.parameters.get(key) for key in ("name", "number"))
        if not name and not number:
            raise Refused(400, "No job specified")
        if (name and number) or (number and not number.isdecimal()):
            raise Refused(400, INVALID)
        for job in self.jobs:
            if job.name == name or str(job.number) == number:
                return job
        raise Refused(404, _UNKNOWN_JOB)

    def _record(self, order: Order) -> Answer:
        with self._recording:
            job = Job(self.site, order, _FIRST_NUMBER + len(self.jobs))
            self.jobs.append(job)
            job.start()
        return as_json({"name": job.name, "number": job.number})

    def _young(self, since: float) -> bool:
        return time.time() - since < self.site.moment

    def _status(self, call: Call, job: Job) -> Answer:
        if self._young(job.submitted) and call.strikes("status-late"):
            raise Refused(404, _UNKNOWN_JOB)
        return as_json({str(job.number): status_entry(job, call)})

    def _jobs(self, call: Call) -> Answer:
        completed = call.parameters.get("completed") == "true"
        listed = [job for job in self.jobs if bool(job.ended) == completed]
        if any(self._young(job.submitted) for job in listed) and call.strikes("jobs-late"):
            listed = [job for job in listed if not self._young(job.submitted)]
        return as_json({str(job.number): jobs_entry(job, call) for job in listed})

    def _tail(self, call: Call, job: Job) -> Answer:
        lines = _lines(call)
        self._need_running(job)
        return as_text(job.log(lines))

    def _output(self, call: Call, job: Job) -> Answer:
        lines = _lines(call)
        if not job.ended or (self._young(job.ended) and call.strikes("output-late")):
            raise Refused(404, NOT_FOUND)
        return as_text(job.log(lines))

    def _shutdown(self, call: Call, job: Job) -> Answer:
        self._need_running(job)
        job.stop(COMPLETED, GRACE_SECONDS)
        return as_json({"status": "shutdown requested"})

    def _terminate(self, call: Call, job: Job) -> Answer:
        if not job.stop(TERMINATED):
            raise Refused(404, NOT_RUNNING)
        return as_json({"status": "terminated"})

    def _signal(self, call: Call, job: Job) -> Answer:
        text = call.parameters.get("signal", _SUSPEND)
        if not re.fullmatch(r"[1-9]\d?", text):
            raise Refused(400, INVALID)
        self._need_running(job)
        return as_json({"signal": int(text), "pid": job.signal(int(text))})

    def _info(self, call: Call, job: Job) -> Answer:
        self._need_running(job)
        return as_json({"url": "", "about": "", "help": "", "actions": {}})

    def _connect(self, call: Call, job: Job) -> Answer:
        """No command of the emulator is interactive."""
        raise Refused(404, NOT_RUNNING)

    def _need_running(self, job: Job) -> None:
        if job.status != RUNNING:
            raise Refused(404, NOT_RUNNING)

    def _machines(self, call: Call) -> Answer:
        wanted = call.parameters.get("name")
        found = {
            machine.name: machine.entry()
            for machine in self.site.machines
            if wanted in (None, machine.name)
        }
        return as_json(_some(found, NOT_FOUND))

    def _apps(self, call: Call) -> Answer:
        """Those of one form of AppDef; a stranger sees the public ones."""
        named = "username" in call.parameters or "apikey" in call.parameters
        if named:
            self.site.check_user(call.parameters)
        wanted = call.parameters.get("name")
        version = call.parameters.get("version", "1")
        found = {
            app.id: _app_entry(app, self.site.user)
            for app in self.site.apps
            if wanted in (None, app.id) and str(app.version) == version and (named or app.public)
        }
        return as_json(found if wanted is None else _some(found, NOT_FOUND))

    def _appdef(self, call: Call) -> Answer:
        wanted = call.need("name")
        found = {app.id: app.appdef for app in self.site.apps if app.id == wanted}
        return as_json(_some(found, NOT_FOUND)[wanted])

    def _queues(self, call: Call) -> Answer:
        wanted = call.parameters.get("name")
        found = {name: about for name, about in QUEUES.items() if wanted in (None, name)}
        _some(found, "Queue not found")
        return as_json(found if call.parameters.get("info") == "true" else list(found))

    def _vault(self, call: Call) -> Answer:
        name, path = call.need("vault"), call.need("path")
        return as_json(self.site.listing(name, path, call.parameters.get("sort", "n")))

    def _alive(self, call: Call) -> Answer:
        return as_json({"status": "OK"})

    def _validate(self, call: Call) -> Answer:
        try:
            rules.validate(call.document())
        except rules.Invalid as wrong:
            return as_text(f"{wrong}\n".encode(), 400)
        return as_json({"valid": True})


def _lines(call: Call) -> int:
    text = call.parameters.get("lines", _DEFAULT_LINES)
    if not text.isdecimal():
        raise Refused(400, INVALID)
    return int(text)


def _some(found: dict[str, Json], refusal: str) -> dict[str, Json]:
    if not found:
        raise Refused(404, refusal)
    return found


def _app_entry(app: App, owner: str) -> Json:
    return {
        "data": app.appdef,
        "price": 0.0,
        "owner": "" if app.public else owner,
        "arch": app.arch,
        "id": app.id,
        "certified": app.public,
        "checkedout": False,
        "privs": "",
        "repo": "",
        "src": "",
        "updated": 0,
        "walltime": app.appdef.get("walltime", ""),
    }
