# SPDX-License-Identifier: Apache-2.0
"""What came from JARVICE, or from something in its place, as an error that says what to do."""

from __future__ import annotations

import re
from typing import Any

from jobs.errors import JobError, NoAnswer, UsageError, shown
from jobs.jarvice_account import URL, Account
from jobs.jarvice_http import Answer, Outcome, Silence, read_json

SUBMITTING = ("submit", "batch")
BAD, UNKNOWN_KEY, FORBIDDEN, MISSING, LATE, TOO_MANY = 400, 401, 403, 404, 408, 429
NOT_OFFERED = 501
_API = f"Is {URL} the address of a JARVICE API? Some end in /api."
_TODO = {
    BAD: "Nothing was done. Look at the machine, the app, the vault and what the app is told.",
    FORBIDDEN: "Nothing was done. Ask who runs this JARVICE what the account may do.",
    MISSING: "Nothing was done. Look at the app's ID, and whether the account may use it.",
    TOO_MANY: "Nothing was done. Wait until other jobs have ended, or ask for a higher limit.",
    NOT_OFFERED: "Nothing was done. Ask who runs this JARVICE.",
}
_OWN_WORDS = re.compile(r"(((running )?(job|queue|application) (is )?)?not found)?")


def error_of(account: Account, endpoint: str, outcome: Outcome) -> JobError:
    """What to raise for what came, where it was not what was asked for."""
    if isinstance(outcome, Silence):
        return _of_silence(account, endpoint, outcome)
    if 300 <= outcome.code < 400:
        return _of_redirect(account, endpoint, outcome)
    if outcome.is_page and (outcome.code < 300 or outcome.code in (UNKNOWN_KEY, FORBIDDEN)):
        return UsageError(
            f"{at(account, endpoint)}: a web page came instead of an answer ({outcome.code}).",
            f"Perhaps of a login or a proxy on the way. {_API}",
        )
    if outcome.code < 300:
        return unreadable(account, endpoint, outcome)
    return _of_code(account, endpoint, outcome)


def object_in(account: Account, endpoint: str, answer: Answer) -> dict[str, Any] | JobError:
    """The JSON object of an answer that should be one, or the error to raise in its place.

    It is not raised here, where a traceback would hold all that was answered.
    """
    tree = read_json(answer.text)
    if tree is None:
        return unreadable(account, endpoint, answer)
    if not isinstance(tree, dict):
        return strange(account, endpoint, "an object")
    if set(tree) == {"error"}:
        return JobError(f"{at(account, endpoint)}: {said(account, answer)}")
    return tree


def strange(account: Account, endpoint: str, wanted: str) -> JobError:
    """For JSON of another shape than the API's."""
    return JobError(f"{at(account, endpoint)}: the answer is strange: wanted {wanted}.", _API)


def unreadable(account: Account, endpoint: str, answer: Answer) -> NoAnswer:
    """For an answer that is not JSON, or only the beginning of it."""
    text = answer.text.strip()
    what = f"is cut off, or no JSON: {said(account, answer)}" if text else "is empty."
    return NoAnswer(f"{at(account, endpoint)}: the answer {what}", _later(endpoint))


def at(account: Account, endpoint: str) -> str:
    """Where it happened."""
    return f"{account.url}: {endpoint}"


def said(account: Account, answer: Answer) -> str:
    """The server's own words, on one line, without user and key."""
    if answer.is_page:
        return "a web page"
    tree = read_json(answer.text)
    words = tree.get("error") if isinstance(tree, dict) else tree
    text = words if isinstance(words, str) else answer.text
    return shown(account.masked(" ".join(text.split())), 200) or "no reason given"


def is_own(answer: Answer) -> bool:
    """Whether a 404 is the API's, and so speaks of what was asked for, not of a wrong address.

    Inferred: the API's own are JSON with the key `error`, empty, or one of its short texts; those
    of a proxy are pages, `404 page not found` or other JSON.
    """
    tree = read_json(answer.text)
    text = tree if isinstance(tree, str) else answer.text
    own_words = bool(_OWN_WORDS.fullmatch(text.strip().lower()))
    return not answer.is_page and (own_words or (isinstance(tree, dict) and "error" in tree))


def _later(endpoint: str) -> str:
    if endpoint in SUBMITTING:
        return "Nothing was submitted; try again later."
    return "The jobs run on all the same; ask again later."


def _of_silence(account: Account, endpoint: str, silence: Silence) -> JobError:
    message = f"{at(account, endpoint)}: {shown(account.masked(silence.why), 200)}."
    if silence.may_pass:
        return NoAnswer(message, f"Is {URL} right, and the network there? {_later(endpoint)}")
    if silence.was_sent:
        return JobError(message)
    return JobError(message, "SSL_CERT_FILE names a file with the certificates of your own site.")


def _of_redirect(account: Account, endpoint: str, answer: Answer) -> JobError:
    place = shown(account.masked(answer.location), 120) or "nowhere"
    return UsageError(
        f"{at(account, endpoint)}: sends on to {place} ({answer.code}).",
        f"It is not followed, for it would get the API key. Set {URL} to the API itself.",
    )


def _of_code(account: Account, endpoint: str, answer: Answer) -> JobError:
    code = answer.code
    if code == LATE or (code >= 500 and code != NOT_OFFERED):
        message = f"{at(account, endpoint)}: JARVICE has trouble ({code}): {said(account, answer)}"
        return NoAnswer(message, _later(endpoint))
    message = f"{at(account, endpoint)}: JARVICE refused it ({code}): {said(account, answer)}"
    if code == UNKNOWN_KEY:
        return UsageError(
            message,
            f"User and key are from {account.source}. "
            "The API key stands in the portal under Account; it is not the password.",
        )
    if code == TOO_MANY and endpoint not in SUBMITTING:
        return NoAnswer(message, _later(endpoint))
    if code == MISSING and not is_own(answer):
        return UsageError(message, _API)
    return (UsageError if code in (BAD, MISSING) else JobError)(message, _TODO.get(code, ""))
