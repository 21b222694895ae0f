# SPDX-License-Identifier: Apache-2.0
"""What a run finds out besides its figures: analysis.json, suspects.csv and gallery/."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from trainer import stages
from trainer.analysis import entries, sections
from trainer.analysis.entries import Answers
from trainer.analysis.evaluate import Evaluation
from trainer.analysis.find_neighbours import Found, find_neighbours
from trainer.analysis.gallery import Pictures, make_pictures
from trainer.analysis.learning_curve import learning_curve
from trainer.analysis.neighbours import Near, Neighbours
from trainer.analysis.scores import group_numbers
from trainer.analysis.shown import Chosen
from trainer.arrays import Float32Array
from trainer.config import Config
from trainer.data.dataset import Dataset
from trainer.data.manifest import write_csv
from trainer.data.plan import Plan
from trainer.features.backbone import batch_size
from trainer.features.bottlenecks import Features
from trainer.head.fitted import Fitted
from trainer.head.kept import Keeper
from trainer.head.rows import own_rows
from trainer.head.train import as_development
from trainer.progress import Progress
from trainer.rundir import RunDir, write_folder, write_into, write_json
from trainer.stages import Inputs
from trainer.world.comm import World

NEIGHBOURS = "neighbours"


class Analysis:
    """The analysis of one run, by all ranks together."""

    def __init__(
        self,
        run: RunDir,
        plan: Plan,
        config: Config,
        dataset: Dataset,
        features: Features,
        fitted: Fitted,
        evaluation: Evaluation,
        keeper: Keeper,
        world: World,
        progress: Progress,
    ) -> None:
        """Know what the stages before gave; nothing is done yet."""
        self._run = run
        self._plan = plan
        self._config = config
        self._dataset = dataset
        self._features = features
        self._fitted = fitted
        self._predictions = evaluation.predictions
        self._keeper = keeper
        self._world = world
        self._progress = progress

    @property
    def files(self) -> list[Path]:
        """What it leaves."""
        run = self._run
        return [run.analysis, run.suspects, run.gallery, run.head / NEIGHBOURS]

    def inputs(self, fits: Inputs) -> Inputs:
        """What decides it.

        Args:
            fits: What decided the fits.
        """
        images = self._config.report.images
        return {**fits, "seed": self._config.run.seed, "images": images}

    def made(self, fits: Inputs) -> Neighbours:
        """Do it, or pass it over; Collective.

        Args:
            fits: What decided the fits.
        Returns:
            The kept items, for the saved model.
        Raises:
            Stopped: Some rank was asked to stop.
        """
        inputs = self.inputs(fits)
        unchanged = partial(stages.unchanged, self._run, "analysis", inputs, self.files)
        if self._world.on_root(unchanged) and (kept := self._keeper.load(NEIGHBOURS)):
            self._progress.say("Analysis: done before, passed over")
            return Neighbours.from_arrays(kept)
        return self._make()

    def _make(self) -> Neighbours:
        dataset, world = self._dataset, self._world
        items = dataset.items(dataset.development)
        values = self._features.reader.read(items[own_rows(len(items), world)])
        found = find_neighbours(
            dataset, values, self._features.reader, self._config.run.seed, world
        )
        self._progress.say("Analysis: learning curve, suspects, pictures")
        curve = self._learning_curve(values)
        answers = entries.gather_answers(dataset, self._predictions)
        chosen = entries.choose(answers, dataset)
        near = self._near(found.neighbours, answers, chosen)
        pictures = self._pictures(chosen, answers, near)
        world.on_root(lambda: self._write(found, curve, answers, chosen, near, pictures))
        world.agree()
        return found.neighbours

    def _learning_curve(self, values: Float32Array) -> dict[str, Any] | None:
        dataset = self._dataset
        units = group_numbers([dataset.units[place] for place in dataset.development.tolist()])
        return learning_curve(
            values,
            as_development(dataset),
            self._config.head.class_weight == "balanced",
            self._fitted.l2,
            self._fitted.final,
            units,
            self._config.run.seed,
            self._world,
        )

    def _near(
        self, neighbours: Neighbours, answers: Answers, chosen: Chosen
    ) -> dict[int, list[Near]]:
        """The nearest items of every row that is shown; the same on every rank."""
        rows = chosen.rows()
        if not rows:
            return {}
        items = self._dataset.items(answers.positions[rows])
        nearest = self._world.on_root(
            lambda: neighbours.nearest(
                self._features.reader.read(items),
                entries.barred(answers, rows, self._dataset, neighbours),
            )
        )
        return {row: neighbours.near(nearest, place) for place, row in enumerate(rows)}

    def _pictures(self, chosen: Chosen, answers: Answers, near: dict[int, list[Near]]) -> Pictures:
        network = self._features.network
        if network is None or not self._config.report.images:
            return {}
        wanted = entries.wanted_pictures(chosen, answers, self._dataset, self._fitted, near)
        batch = batch_size(self._config.backbone, network.device)
        return make_pictures(wanted, self._plan, network, batch, self._world, self._progress)

    def _write(
        self,
        found: Found,
        curve: dict[str, Any] | None,
        answers: Answers,
        chosen: Chosen,
        near: dict[int, list[Near]],
        pictures: Pictures,
    ) -> None:
        """Write all files; on rank 0."""
        dataset, limit = self._dataset, found.neighbours.limit

        def told(rows: list[int]) -> list[dict[str, Any]]:
            return [
                entries.entry(answers, row, dataset, near[row], limit, set(pictures))
                for row in rows
            ]

        def fill(folder: Path) -> None:
            for name, content in sorted(pictures.items()):
                write_into(folder, self._run.gallery, name, content)

        self._keeper.save(NEIGHBOURS, found.neighbours.to_arrays())
        write_folder(self._run.gallery, fill)
        write_csv(self._run.suspects, sections.SUSPECTS, sections.suspect_rows(answers, dataset))
        write_json(
            self._run.analysis,
            {
                "schema": 1,
                "shown": {
                    "before_after": told(chosen.before_after),
                    "mistakes": told(chosen.mistakes),
                    "unsure": told(chosen.unsure),
                    "suspects": told(chosen.suspects),
                    "sheet": entries.sheet(chosen, dataset, set(pictures)),
                },
                "suspects": sections.suspects(answers),
                "neighbours": found.summary,
                "learning_curve": curve,
                "calibration": sections.calibration(answers),
                "abstaining": sections.abstaining(answers),
                "head": sections.head(self._fitted),
            },
        )
