# SPDX-License-Identifier: Apache-2.0
"""A job as `status` and `jobs` tell of it, with the faults that tell something else."""

from __future__ import annotations

from .answers import Json
from .calls import Call
from .job import CANCELED, RUNNING, Job

_SHORT_SECONDS = 1.0


def status_entry(job: Job, call: Call) -> Json:
    """What `status` tells: neither label nor exit code."""
    return _basics(job, call) | {"job_project": job.order.body.get("job_project")}


def jobs_entry(job: Job, call: Call) -> Json:
    """What a list of jobs tells."""
    order = job.order
    code = job.exit_code
    if code is not None and call.strikes("clamped"):
        code = min(abs(code), 1)
    seconds = int(job.seconds)
    return _basics(job, call) | {
        "job_number": job.number,
        "job_label": job.label,
        "job_exitcode": code,
        "job_owner_username": job.owner,
        "job_payer": job.owner,
        "job_mc_name": order.machine.name,
        "job_mc_scale": order.nodes,
        "job_nodes": " ".join(job.place.nodes) if job.started else "",
        "job_address": "",
        "job_substatus_text": "Suspended by user" if _suspended(job) else "",
        "job_sched_id": 1,
        "job_sched_job_id": str(job.number) if job.started else "",
        "job_after": "",
        "job_price": order.machine.price,
        "job_billed": 0,
        "job_billing_code": "",
        "job_stats": {
            "compute_time": 0,
            "queue_time": int((job.started or job.ended or job.submitted) - job.submitted),
            "wall_time": seconds,
            "job_count": 1,
            "compute_cost": 0.0,
            "app_cost": 0.0,
        },
        "job_api_submission": {key: kept for key, kept in order.body.items() if key != "user"},
    }


def _basics(job: Job, call: Call) -> Json:
    entry: Json = {
        "job_name": job.name,
        "job_status": _status(job, call),
        "job_substatus": int(_suspended(job)),
        "job_submit_time": int(job.submitted),
        "job_start_time": int(job.started),
        "job_end_time": int(job.ended),
        "job_application": job.order.app,
        "job_command": job.order.command,
        "job_walltime": _clock(job.seconds) if job.started and job.ended else None,
    }
    if call.strikes("unknown-keys"):
        entry |= {"job_carbon": {"grams": [1, None]}, "x_trace": "abc", "job_times": []}
    return entry


def _status(job: Job, call: Call) -> str:
    short = job.ended and job.seconds < _SHORT_SECONDS
    if short and call.strikes("short-canceled"):
        return CANCELED
    return "PROCESSING MIGRATION" if call.strikes("unknown-status") else job.status


def _suspended(job: Job) -> bool:
    return job.suspended and job.status == RUNNING


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
