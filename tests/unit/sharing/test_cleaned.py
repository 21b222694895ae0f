# SPDX-License-Identifier: Apache-2.0
"""The files of a run as they are given away."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from trainer.analysis.neighbours import ARRAYS, Neighbours, Space
from trainer.config import Config
from trainer.data.manifest import read_csv, write_csv
from trainer.head.export import About, read_arrays, require_undamaged, save_model
from trainer.rundir import RunDir
from trainer.sharing.cleaned import (
    cleaned_config,
    cleaned_environment,
    cleaned_results,
    make_relative,
)
from trainer.sharing.scrub import Secrets, hosts

NOTHING = Secrets([])


def test_paths_of_the_configuration_lose_their_folders() -> None:
    config = Config.model_validate(
        {
            "data": {"images": "/home/a/photos/", "split": {"image_dir": "/tf/photos"}},
            "backbone": {"weights": "/home/a/weights.h5"},
            "run": {"cache": "/scratch/cache"},
        }
    )
    tree = cleaned_config(config, NOTHING)
    assert tree["data"]["images"] == "photos"
    assert tree["data"]["bottlenecks"] is None
    assert tree["data"]["split"]["image_dir"] == "photos"
    assert tree["backbone"]["weights"] == "weights.h5"
    assert tree["run"]["cache"] is None
    assert Config.model_validate(tree)


def test_ranks_stay_on_the_same_hosts_under_other_names() -> None:
    other = hosts(["n1.example.org", "n2.example.org"])
    ranks = [{"rank": 0, "host": "n1.example.org"}, {"rank": 1, "host": "n2"}]
    results = {
        "warnings": ["/a/b/c.shard: damaged"],
        "world": {"hosts": ["n1.example.org", "n2"], "ranks": ranks},
        "backbone": {"weights": "/a/b/w.h5", "name": "inception_v3"},
        "data": {"classes": ["/m/01", "/m/02"]},
    }
    cleaned = cleaned_results(results, other, NOTHING)
    assert cleaned["world"]["hosts"] == ["host-1", "host-2"]
    assert [rank["host"] for rank in cleaned["world"]["ranks"]] == ["host-1", "host-2"]
    assert cleaned["warnings"] == ["c.shard: damaged"]
    assert cleaned["backbone"]["weights"] == "w.h5"
    assert cleaned["data"] == results["data"]
    assert ranks[0]["host"] == "n1.example.org"
    environment = {"hosts": ["n2", "n2"], "python": "3.11.7", "world": {"size": 2}}
    assert cleaned_environment(environment, other, NOTHING) == environment | {
        "hosts": ["host-2", "host-2"]
    }


def test_absolute_paths_of_a_manifest_lose_what_they_have_in_common(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    header, prefix = ("path", "label", "group"), "/data/anna/"
    rows = [("/data/anna/x/1_nohash_2.jpg", "a", "/data/anna/x/1"), ("/data/anna/y/2.jpg", "b", "")]
    write_csv(run.manifest, header, rows)
    write_csv(run.quarantine, ("path", "bytes", "reason"), [(f"{prefix}y/3.jpg", 0, "is empty")])
    (tmp_path / "analysis.json").write_text(json.dumps({"wrong": [{"path": f"{prefix}y/2.jpg"}]}))
    paths = [f"{prefix}x/1_nohash_2.jpg", "/elsewhere/3.jpg"]
    space = Space(np.zeros(2), np.ones(2))
    table = space.quantised(np.eye(2, dtype=np.float32))
    kept = Neighbours(space, table, np.array([0, 1]), paths, [bytes(32)] * 2, 2)
    about = About("a", ["a", "b"], 2, "", "", 1)
    save_model(run.model, (np.eye(2), np.zeros(2)), about, None, kept.to_arrays(), "")
    make_relative(run)
    require_undamaged(run.model)
    arrays = read_arrays(run.model, "neighbours.npz", ARRAYS)
    assert Neighbours.from_arrays(arrays).paths == ["x/1_nohash_2.jpg", "/elsewhere/3.jpg"]
    assert [tuple(row.values()) for row in read_csv(run.manifest)] == [
        ("x/1_nohash_2.jpg", "a", "x/1"),
        ("y/2.jpg", "b", ""),
    ]
    assert read_csv(run.quarantine)[0]["path"] == "y/3.jpg"
    assert json.loads((tmp_path / "analysis.json").read_text()) == {"wrong": [{"path": "y/2.jpg"}]}


def test_relative_paths_leave_the_tables_as_they_are(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.manifest.write_bytes(b'path,label\n"a/1.jpg",a\n')
    make_relative(run)
    assert run.manifest.read_bytes() == b'path,label\n"a/1.jpg",a\n'
