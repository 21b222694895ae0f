# SPDX-License-Identifier: Apache-2.0
"""The notebook in examples/, run from its first cell to its last."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from worlds import ROOT, environment

NOTEBOOK = ROOT / "examples" / "houses-and-pools.ipynb"
SMALL = """
FOLDER = UNSEEN = None
PICTURES = 24
SETTINGS = ["backbone.name=efficientnet_lite0", "backbone.weights=random", "evaluate.folds=4"]
OUT = "runs/houses"
"""


def read() -> Any:
    return nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook with its outputs, on a few pictures and a network that nobody has to fetch."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = read()
    [settings] = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    settings.source = SMALL
    client = NotebookClient(
        notebook,
        timeout=100,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=environment(HOME=str(folder), IPYTHONDIR=str(folder / "ipython")))
    return notebook


def outputs(notebook: Any, beginning: str) -> str:
    """All that the cell printed and showed that begins so."""
    [cell] = [one for one in notebook.cells if one.source.startswith(beginning)]
    return json.dumps(cell.outputs)


def test_it_goes_from_a_folder_to_labels_of_what_was_never_seen(executed: Any) -> None:
    assert "house_with_pool: 11" in outputs(executed, "import subprocess")
    assert "24 files can be read" in outputs(executed, 'retrain("check"')
    assert "retrain predict runs/houses photo.jpg" in outputs(executed, 'retrain("run"')
    shown = outputs(executed, "run = trainer.Run")
    assert "text/html" in shown
    assert "always guessing" in shown
    assert "house_without_pool" in outputs(executed, "predictions = run.predictions")
    assert "image/png" in outputs(executed, "scored = predictions")
    labels = outputs(executed, "after = run.predict")
    assert "image/png" in labels
    assert labels.count("plot-000") >= 4
    assert "0.5" in labels


def test_it_is_kept_without_outputs() -> None:
    cells = [one for one in json.loads(NOTEBOOK.read_text())["cells"] if one["cell_type"] == "code"]
    assert cells
    assert all(one["outputs"] == [] and one["execution_count"] is None for one in cells)


def test_it_is_a_notebook_as_jupyter_defines_one() -> None:
    nbformat.validate(read())
