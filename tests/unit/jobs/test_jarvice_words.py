# SPDX-License-Identifier: Apache-2.0
"""What the JARVICE API and a job's output say, as values."""

from __future__ import annotations

import pytest

from jobs.errors import UsageError
from jobs.jarvice_words import (
    Machine,
    choose,
    exit_code,
    label_of,
    machines_of,
    seen_of,
    whole,
    with_marker,
    without_init,
)
from jobs.states import (
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    STOPPED,
    UNKNOWN,
    Left,
    Seen,
    judge,
)


@pytest.mark.parametrize(
    ("word", "means", "over"),
    [
        ("SUBMITTED", QUEUED, False),
        ("SEQUENTIALLY QUEUED", QUEUED, False),
        ("PROCESSING STARTING", RUNNING, False),
        ("COMPLETED", DONE, True),
        ("COMPLETED WITH ERROR", FAILED, True),
        ("TERMINATED", STOPPED, True),
        ("CANCELED", CANCELLED, True),
        ("EXEMPT", DONE, True),
        ("ARCHIVED", UNKNOWN, False),
    ],
)
def test_word_of_a_status_as_a_state(word: str, means: str, over: bool) -> None:
    seen = seen_of({"job_status": word, "job_end_time": 30})
    assert (seen.word, seen.means, seen.is_over) == (word, means, over)


def test_exempt_is_no_end_before_there_is_an_end_time() -> None:
    assert seen_of({"job_status": "EXEMPT", "job_end_time": 0}).means == RUNNING
    assert seen_of({"job_status": "EXEMPT"}).means == RUNNING


def test_times_are_seconds_and_a_job_has_only_those_that_have_come() -> None:
    tree = {"job_status": "SUBMITTED", "job_submit_time": 10, "job_start_time": 0}
    assert seen_of(tree) == Seen("SUBMITTED", QUEUED, submitted=10.0)
    tree = {**tree, "job_status": "PROCESSING STARTING", "job_start_time": "20"}
    assert seen_of(tree) == Seen("PROCESSING STARTING", RUNNING, submitted=10.0, started=20.0)
    tree = {**tree, "job_status": "COMPLETED", "job_end_time": 30.5}
    assert seen_of(tree) == Seen("COMPLETED", DONE, submitted=10.0, started=20.0, ended=30.5)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        [],
        {},
        {"job_status": None, "job_submit_time": None},
        {"job_status": 7, "job_submit_time": True, "job_start_time": "soon"},
        {"job_status": "", "job_end_time": "nan", "job_start_time": 10**400},
    ],
)
def test_entry_that_tells_nothing_is_unknown(entry: object) -> None:
    assert seen_of(entry) == Seen("", UNKNOWN)


def test_reason_is_the_servers_own_on_one_line() -> None:
    tree: dict[str, object]
    tree = {"job_status": "SUBMITTED", "job_substatus_text": "Waiting\n for \x1b[31mlicences"}
    assert seen_of(tree).reason == "JARVICE says Waiting for \\x1b[31mlicences"
    tree = {"job_status": "SUBMITTED", "job_substatus": 12}
    assert seen_of(tree).reason == "held by JARVICE (substatus 12)"
    assert seen_of({"job_status": "\x1b]0;"}).word == "\\x1b]0;"


@pytest.mark.parametrize(
    ("word", "code", "means"),
    [
        ("COMPLETED", 0, DONE),
        ("CANCELED", 0, DONE),
        ("COMPLETED WITH ERROR", 75, STOPPED),
        ("COMPLETED", 75, STOPPED),
        ("TERMINATED", 75, STOPPED),
        ("CANCELED", 3, FAILED),
        ("COMPLETED", 2, FAILED),
        ("EXEMPT", 0, DONE),
        ("ARCHIVED", 0, DONE),
        ("COMPLETED", None, FAILED),
        ("COMPLETED WITH ERROR", None, FAILED),
        ("TERMINATED", None, STOPPED),
        ("CANCELED", None, CANCELLED),
        ("ARCHIVED", None, UNKNOWN),
    ],
)
def test_marker_outranks_the_word_of_a_job_that_has_ended(
    word: str, code: int | None, means: str
) -> None:
    seen = with_marker(seen_of({"job_status": word, "job_end_time": 9}), code)
    assert (seen.word, seen.means, seen.code) == (word, means, code)


@pytest.mark.parametrize("word", ["SUBMITTED", "PROCESSING STARTING", "ARCHIVED"])
def test_marker_says_nothing_of_a_job_that_goes_on(word: str) -> None:
    seen = seen_of({"job_status": word})
    assert with_marker(seen, 0) == seen


def test_exit_code_of_the_program_is_the_one_to_wait_with() -> None:
    seen = with_marker(seen_of({"job_status": "COMPLETED WITH ERROR", "job_end_time": 9}), 3)
    assert judge(Left(), seen).code == 3
    seen = with_marker(seen_of({"job_status": "COMPLETED", "job_end_time": 9}), None)
    assert judge(Left(), seen).why == "its output does not tell how it ended"


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("", None),
        ("JOB_EXIT_CODE=0", 0),
        ("a\nJOB_EXIT_CODE=3\n", 3),
        ("JOB_EXIT_CODE=0\nb\nJOB_EXIT_CODE=75\r\nINIT[1]: bye\n", 75),
        ("50%\r100%\rJOB_EXIT_CODE=1 \n", 1),
        ("said JOB_EXIT_CODE=0\n", None),
        ("+ echo JOB_EXIT_CODE=0\n", None),
        ("JOB_EXIT_CODE=0 or so\n", None),
        ("JOB_EXIT_CODE=\nJOB_EXIT_CODE=-1\nJOB_EXIT_CODE=256\nJOB_EXIT_CODE=1000\n", None),
        ("JOB_EXIT_CODE=2\nJOB_EXIT_CODE=999\n", 2),
    ],
)
def test_exit_code_is_that_of_the_last_marker(output: str, code: int | None) -> None:
    assert exit_code(output) == code


@pytest.mark.parametrize("hashes", [79, 80])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_of_the_platform_are_left_out(hashes: int, end: str) -> None:
    head = f"INIT[1]: one{end}INIT[1]: two{end}{end}{'#' * hashes}{end}"
    assert (
        without_init(f"{head}ours{end}INIT[1]: ours too{end}") == f"ours{end}INIT[1]: ours too{end}"
    )
    assert without_init(head.rstrip()) == ""


@pytest.mark.parametrize(
    ("output", "ours"),
    [
        ("", ""),
        ("INIT[1]: one\nINIT[1]: tw", ""),
        ("INIT[1]: one\nours\n", "ours\n"),
        (f"ours\n{'#' * 79}\nmore\n", f"ours\n{'#' * 79}\nmore\n"),
        (f"INIT[1]: one\n{'#' * 78}\n", f"{'#' * 78}\n"),
    ],
)
def test_output_without_the_platforms_line_of_hashes_keeps_what_is_ours(
    output: str, ours: str
) -> None:
    assert without_init(output) == ours


def test_label_may_stand_in_the_submission_or_be_left_untold() -> None:
    assert label_of({"job_label": "a", "job_api_submission": {"job_label": "b"}}) == "a"
    assert label_of({"job_api_submission": {"job_label": "b"}}) == "b"
    assert label_of({"job_label": None}) == ""
    assert label_of({"job_api_submission": None}) is None
    assert label_of(None) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(41, 41), ("41", 41), (41.0, 41), (0, 0), (4.5, None), (-1, None), (True, None), ("x", None)],
)
def test_whole_number(value: object, number: int | None) -> None:
    assert whole(value) == number


MACHINES = {
    "np9g4": Machine("np9g4", "ppc64le", 40, 4, 512, 1, 8, 4.5),
    "np9g1": Machine("np9g1", "ppc64le", 10, 1, 128, 1, 16, None),
    "n1": Machine("n1"),
}


def test_machine_types_come_from_what_a_server_tells() -> None:
    tree: dict[str, object] = {
        "np9g4": {
            "mc_arch": "ppc64le",
            "mc_cores": 40,
            "mc_gpus": "4",
            "mc_ram": 512.0,
            "mc_scale_min": 1,
            "mc_scale_max": "8",
            "mc_price": "4.50",
        },
        "np9g1": {"mc_arch": "ppc64le", "mc_cores": 10, "mc_gpus": 1, "mc_ram": 128}
        | {"mc_scale_max": 16, "mc_price": None},
        "n1": None,
    }
    assert machines_of(tree) == MACHINES


def test_machine_type_is_chosen_by_name_and_number_of_nodes() -> None:
    assert choose(MACHINES, "np9g4", 8) == MACHINES["np9g4"]
    assert choose(MACHINES, "n1", 1000) == MACHINES["n1"]


@pytest.mark.parametrize("nodes", [0, 9])
def test_more_or_fewer_nodes_than_a_machine_type_has_are_refused(nodes: int) -> None:
    with pytest.raises(UsageError, match=f"np9g4: .* 1 to 8 nodes; asked for {nodes}"):
        choose(MACHINES, "np9g4", nodes)
    with pytest.raises(UsageError, match="at least 2 nodes"):
        choose({"n2": Machine("n2", fewest=2)}, "n2", 1)


def test_unknown_machine_type_is_told_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        choose(MACHINES, "np8g4", 1)
    assert caught.value.todo.startswith("Did you mean np9g4")


def test_unknown_machine_type_that_is_near_to_none_is_told_with_some() -> None:
    many = {f"m{number}": Machine(f"m{number}") for number in range(10, 40)}
    with pytest.raises(UsageError) as caught:
        choose(many, "\x1b[2J", 1)
    assert caught.value.message == "\\x1b[2J: no such machine type."
    assert caught.value.todo.endswith("m20, m21 and 18 more.")
    with pytest.raises(UsageError) as caught:
        choose({}, "n1", 1)
    assert "none" in caught.value.todo
