# SPDX-License-Identifier: Apache-2.0
"""The contest: everyone in turn on the same files, round after round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import limit
from children import Failed
from contestants import Contestant, Measured, Peer, Rows
from pictures import Kind
from session import Session
from summary import images_a_round, relative_error

SLOWEST_SECONDS = 20.0
FASTEST_SECONDS = 6.0


def speed(session: Session) -> dict[str, Any]:
    """Images a second of everyone, from files on disk to bottlenecks on disk, start-up apart."""
    return {kind.name: Contest(session, kind).hold() for kind in session.kinds}


class Contest:
    """Everyone on one kind of pictures."""

    def __init__(self, session: Session, kind: Kind) -> None:
        """Nothing is run yet."""
        self._session = session
        self._kind = kind
        self._left_out: dict[str, str] = {}

    def hold(self) -> dict[str, Any]:
        """A trial that tells how many images suit, then the rounds."""
        trials, errors = self._try_out()
        share = self._kind.share
        if self._session.count:
            count = max(1, int(self._session.count * share))
        else:
            seconds = SLOWEST_SECONDS * share, FASTEST_SECONDS * share
            count = images_a_round(list(trials.values()), *seconds)
        images = self._session.pictures(self._kind, count)
        precision = trials["ours"]["precision"]
        rounds = [self._round(number, images, precision) for number in range(self._session.rounds)]
        return {
            "kind": self._kind.title,
            "titles": {one.name: one.title for one in self._session.contestants},
            "precision": precision,
            "errors": errors,
            "left_out": self._left_out,
            "rounds": rounds,
        }

    def _try_out(self) -> tuple[dict[str, Measured], dict[str, float]]:
        """Each once on a few images: whether it works, how fast, and how near the reference."""
        session = self._session
        count = max(1, int(session.trial_images * self._kind.share))
        images = session.pictures(self._kind, count)
        reference = self._reference(images)
        trials, errors = {}, {}
        for one in session.contestants:
            measured = self._turn(one, images, "trial")
            if measured:
                trials[one.name] = measured
                rows = one.bottlenecks(images, session.scratch / one.name)
                errors[one.name] = relative_error(rows, reference)
        if "ours" not in trials:
            raise Failed(f"{self._kind.title}: retrain itself did not run")
        return trials, errors

    def _reference(self, images: Path) -> Rows:
        peer = Peer("reference", "", "reference", self._session.weights)
        scratch = self._session.scratch / peer.name
        peer.measure(images, scratch)
        return peer.bottlenecks(images, scratch)

    def _round(self, number: int, images: Path, precision: str) -> dict[str, Measured]:
        """Everyone once; the arithmetic limit too, since a machine is not always equally fast."""
        found = {}
        for one in self._session.contestants:
            measured = self._turn(one, images, f"round {number + 1} of {self._session.rounds}")
            if measured:
                found[one.name] = measured
        found["limit"] = limit.measure(self._session.cores, precision)
        return found

    def _turn(self, one: Contestant, images: Path, when: str) -> Measured | None:
        """One contestant once; None, and told, where it fails."""
        if one.name in self._left_out:
            return None
        try:
            measured = one.measure(images, self._session.scratch / one.name)
        except Failed as error:
            self._left_out[one.name] = str(error)
            self._session.say(f"{one.title} fails and is left out: {error}")
            return None
        rate = measured["images"] / measured["seconds"]
        self._session.say(f"{self._kind.title}, {when}: {one.title} {rate:.1f} images/s")
        return measured
