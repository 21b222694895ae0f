# SPDX-License-Identifier: Apache-2.0
"""What the parts of one bench share: folders, pictures, weights, and who takes part."""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import ours
from children import peer, run
from contestants import Contestant, all_contestants, tuned_openvino
from pictures import KINDS, Kind, draw, files_of, subset

MOST_RANKS = 16
TRIAL_IMAGES_A_CORE = 16
FEWEST_TRIAL_IMAGES = 64


@dataclass
class Session:
    """One bench.

    Attributes:
        out: Where everything goes.
        images: The user's folder of classes; None for pictures that are drawn here.
        count: Images a round of the photographs, or of the user's; None picks.
        rounds: How often the contestants take turns.
        float32: Whether OpenVINO in float32 takes part as well.
    """

    out: Path
    images: Path | None = None
    count: int | None = None
    rounds: int = 5
    float32: bool = False
    cores: list[int] = field(default_factory=lambda: sorted(os.sched_getaffinity(0)))
    _began: float = field(default_factory=time.monotonic)

    @property
    def ranks(self) -> int:
        """Ranks of this project when it may use all cores."""
        return min(len(self.cores), MOST_RANKS)

    @property
    def scratch(self) -> Path:
        """For what runs leave and the next ones may remove."""
        return self.out / "scratch"

    @property
    def trial_images(self) -> int:
        """Images with which speeds are found out before the rounds."""
        picked = max(FEWEST_TRIAL_IMAGES, TRIAL_IMAGES_A_CORE * len(self.cores))
        return min(picked, self.count or picked)

    def say(self, text: str) -> None:
        """Tell what begins."""
        print(
            f"bench: {time.monotonic() - self._began:6.0f} s  {text}", file=sys.stderr, flush=True
        )

    @cached_property
    def kinds(self) -> list[Kind]:
        """The kinds of pictures; the user's are one of their own."""
        if self.images is None:
            return list(KINDS)
        return [Kind("given", f"pictures in {self.images.name}", 0, 0, "")]

    def pictures(self, kind: Kind, count: int) -> Path:
        """A folder of classes with so many pictures, or as many of the user's as there are."""
        source = self.images
        if source is None or kind not in self.kinds:
            source = self.out / "pictures" / kind.name
            missing = count - len(files_of(source))
            if missing > 0:
                self.say(f"drawing {missing:,} pictures, {kind.title}")
            draw(source, kind, count)
        return subset(source, count, self.out / "sets" / f"{kind.name}-{count}")

    @cached_property
    def weights(self) -> Path:
        """Inception-v3 with seeded random weights, in the forms that all contestants read."""
        folder = self.out / "weights"
        folder.mkdir(parents=True, exist_ok=True)
        weights = folder / "seeded.weights.h5"
        wanted = [weights, folder / "frozen.pb"]
        if importlib.util.find_spec("openvino"):
            wanted.append(folder / "openvino.xml")
        if not all(path.exists() for path in wanted):
            self.say("making the weights")
            run(peer("prepare", weights))
        return weights

    @cached_property
    def contestants(self) -> list[Contestant]:
        """Everyone, OpenVINO with the options that suit it best here."""
        options: list[str] = []
        if importlib.util.find_spec("openvino"):
            self.say("finding OpenVINO's best options")
            trial = self.pictures(self.kinds[0], self.trial_images)
            options = tuned_openvino(self.weights, trial, len(self.cores), self.scratch / "tuning")
            self.say(f"OpenVINO is fastest with {' '.join(options)}")
        return all_contestants(self.weights, self.cores, self.ranks, options, self.float32)

    @cached_property
    def own_rate(self) -> float:
        """Images a second of this project's ranks on the first kind of pictures, in a trial."""
        images = self.pictures(self.kinds[0], self.trial_images)
        outcome = ours.fit(images, self.weights, self.scratch / "trial", self.ranks)
        return outcome.images / outcome.seconds

    def load(self, seconds: float) -> Path:
        """Pictures that keep this project's ranks busy for about so long."""
        count = self.count or max(self.trial_images, int(seconds * self.own_rate))
        return self.pictures(self.kinds[0], count)
