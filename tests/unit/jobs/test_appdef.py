# SPDX-License-Identifier: Apache-2.0
"""The app's definitions keep every rule of JARVICE's that is known."""

from __future__ import annotations

import base64
import copy
import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NIMBIX = Path(__file__).parents[3] / "jobs" / "nimbix"
FILES = ("AppDef.json", "AppDef.ppc64le.json")
LARGEST_ICON = 64 << 10

Tree = dict[str, Any]

_TOP = {
    "name": str,
    "description": str,
    "author": str,
    "licensed": bool,
    "classifications": list,
    "machines": list,
    "vault-types": list,
    "commands": dict,
    "image": dict,
}
_TOP_MORE = {
    "appdefversion": int,
    "scale_max": int,
    "variables": dict,
    "identity": dict,
    "hints": list,
    "walltime": str,
    "meta": str,
    "appkind": str,
    "enablehpc": bool,
}
_COMMAND = {"path": str, "name": str, "description": str, "parameters": dict}
_COMMAND_MORE = {
    **dict.fromkeys(
        "interactive publicip noconnect webshell desktop verboseinit mpirun".split(), bool
    ),
    **dict.fromkeys("ports machines hints".split(), list),
    **dict.fromkeys("url walltime cmdscript".split(), str),
    "scale_max": int,
    "variables": dict,
}
_PARAMETER = {"name": str, "description": str, "type": str, "required": bool, "positional": bool}
"""`positional` among them: its default is told in two ways."""
_PARAMETER_MORE = {"variable": bool, "if": list, "ifnot": list}
_TYPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "CONST": ({"value": str}, {}),
    "STR": ({"value": str}, {}),
    "INT": ({"value": int, "min": int, "max": int}, {}),
    "FLOAT": ({"value": float, "min": float, "max": float, "precision": int}, {}),
    "RANGE": ({"value": int, "min": int, "max": int, "step": int}, {}),
    "BOOL": ({"value": bool}, {}),
    "selection": ({"values": list}, {"mvalues": list}),
    "FILE": ({}, {"filter": str}),
    "UPLOAD": ({"target": str}, {"filter": str, "size": int}),
}
_VAULTS = {"FILE", "BLOCK", "BLOCK_ARRAY", "OBJECT"}
_FILLED_IN = set(
    "CORES TCORES NODES GPUS SGPUS TGPUS RAM SRAM TRAM JOBLABEL MACHINETYPE VTYPE VNAME".split()
)


def problems(tree: Tree) -> list[str]:
    """What of a definition JARVICE would not take, a sentence each."""
    found = [*_fields("top", tree, _TOP, _TOP_MORE)]
    if found:
        return found
    return [
        *_head(tree),
        *(each for name, one in tree["commands"].items() for each in _command(name, one)),
    ]


def _fields(where: str, tree: Tree, needed: Tree, allowed: Tree) -> Iterator[str]:
    for key, kind in needed.items():
        if key not in tree:
            yield f"{where}: {key} is missing"
        elif not _is(tree[key], kind):
            yield f"{where}: {key} is no {kind.__name__}"
    for key in tree.keys() - needed.keys():
        if key not in allowed:
            yield f"{where}: {key} is not known"
        elif not _is(tree[key], allowed[key]):
            yield f"{where}: {key} is no {allowed[key].__name__}"


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def _head(tree: Tree) -> Iterator[str]:
    if tree.get("appdefversion") != 2:
        yield "top: not of version 2"
    if not tree["commands"]:
        yield "top: no command"
    if not tree["machines"]:
        yield "top: no machines"
    for one in tree["classifications"]:
        if not re.fullmatch(r"[^/]+/[^/]+", str(one)):
            yield f"top: classification {one} is no Category/Sub"
    vaults = tree["vault-types"]
    if vaults != ["NONE"] and not (vaults and _VAULTS.issuperset(vaults)):
        yield "top: vault-types of an unknown kind"
    if tree.get("scale_max", 1) < 1:
        yield "top: scale_max below 1"
    yield from _image(tree["image"])


def _image(image: Tree) -> Iterator[str]:
    yield from _fields("image", image, {"type": str, "data": str}, {})
    if image.get("type") != "image/png":
        yield "image: no image/png"
    try:
        data = base64.b64decode(str(image.get("data")), validate=True)
    except ValueError:
        yield "image: no base64"
    else:
        if len(data) > LARGEST_ICON:
            yield "image: larger than 64 KB"


def _command(name: str, tree: Tree) -> Iterator[str]:
    wrong = list(_fields(name, tree, _COMMAND, _COMMAND_MORE))
    yield from wrong
    if wrong:
        return
    if not tree["path"].startswith("/"):
        yield f"{name}: path is not absolute"
    for port in tree.get("ports", []):
        if not re.fullmatch(r"\d+/(tcp|udp)", str(port)):
            yield f"{name}: port {port}"
    parameters = tree["parameters"]
    if sum(one.get("type") == "UPLOAD" for one in parameters.values()) > 1:
        yield f"{name}: more than one UPLOAD"
    for key, one in parameters.items():
        yield from _parameter(f"{name}.{key}", one, parameters)


def _parameter(where: str, tree: Tree, others: Tree) -> Iterator[str]:
    if tree.get("type") not in _TYPES:
        yield f"{where}: type {tree.get('type')}"
        return
    needed, allowed = _TYPES[tree["type"]]
    wrong = list(_fields(where, tree, _PARAMETER | needed, _PARAMETER_MORE | allowed))
    yield from wrong
    if wrong:
        return
    if "min" in tree and not tree["min"] <= tree["value"] <= tree["max"]:
        yield f"{where}: value beyond its bounds"
    if len({len(tree[key]) for key in ("values", "mvalues") if key in tree}) > 1:
        yield f"{where}: mvalues are not as many as values"
    if tree["type"] == "UPLOAD" and not tree["target"].startswith("/opt/"):
        yield f"{where}: target is not below /opt"
    if tree["type"] == "CONST":
        for word in re.findall(r"%(\w+)%", tree["value"]):
            if word not in _FILLED_IN:
                yield f"{where}: %{word}% is not filled in"
    for key in [*tree.get("if", []), *tree.get("ifnot", [])]:
        if others.get(key, {}).get("type") != "BOOL":
            yield f"{where}: depends on {key}, which is no BOOL"


def read(name: str) -> Tree:
    return dict(json.loads((NIMBIX / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", FILES)
def test_definition_keeps_every_rule(name: str) -> None:
    assert problems(read(name)) == []


Change = Callable[[Tree], object]


def _ours(tree: Tree) -> Tree:
    return tree["commands"]["retrain"]  # type: ignore[no-any-return]


def _parameters(tree: Tree) -> Tree:
    return _ours(tree)["parameters"]  # type: ignore[no-any-return]


BAD: dict[str, Change] = {
    "author is missing": lambda tree: tree.pop("author"),
    "licensed is no bool": lambda tree: tree.update(licensed="yes"),
    "colour is not known": lambda tree: tree.update(colour="red"),
    "not of version 2": lambda tree: tree.pop("appdefversion"),
    "no command": lambda tree: tree.update(commands={}),
    "no machines": lambda tree: tree.update(machines=[]),
    "is no Category/Sub": lambda tree: tree.update(classifications=["AI"]),
    "vault-types": lambda tree: tree["vault-types"].append("TAPE"),
    "scale_max": lambda tree: tree.update(scale_max=0),
    "no image/png": lambda tree: tree["image"].update(type="image/gif"),
    "no base64": lambda tree: tree["image"].update(data="?"),
    "larger than 64 KB": lambda tree: tree["image"].update(data="A" * (100 << 10)),
    "path is not absolute": lambda tree: _ours(tree).update(path="launch.sh"),
    "parameters is missing": lambda tree: _ours(tree).pop("parameters"),
    "port 8080": lambda tree: _ours(tree).update(ports=["8080"]),
    "positional is missing": lambda tree: _parameters(tree)["config"].pop("positional"),
    "type SELECTION": lambda tree: _parameters(tree)["config"].update(type="SELECTION"),
    "max is missing": lambda tree: _parameters(tree)["--walltime"].pop("max"),
    "beyond its bounds": lambda tree: _parameters(tree)["--walltime"].update(value=-1),
    "%GPU% is not filled in": lambda tree: _parameters(tree)["GPUS_PER_NODE"].update(value="%GPU%"),
    "which is no BOOL": lambda tree: _parameters(tree)["--settings"].update({"if": ["config"]}),
    "more than one UPLOAD": lambda tree: [
        _parameters(tree)[key].update(type="UPLOAD", target="/opt/x") for key in ("config", "--out")
    ],
    "mvalues are not as many": lambda tree: _parameters(tree).update(
        kind={
            **{key: _parameters(tree)["--again"][key] for key in _PARAMETER},
            **{"type": "selection", "values": ["a"], "mvalues": []},
        }
    ),
}


@pytest.mark.parametrize("told", BAD)
def test_bad_definition_is_found(told: str) -> None:
    tree = copy.deepcopy(read("AppDef.json"))
    BAD[told](tree)
    assert any(told in problem for problem in problems(tree))


@pytest.mark.parametrize("name", FILES)
def test_path_is_that_of_the_launcher_in_the_image(name: str) -> None:
    (command,) = read(name)["commands"].values()
    assert (NIMBIX.parents[1] / Path(command["path"]).relative_to("/opt/retrain")).is_file()


@pytest.mark.parametrize(
    ("name", "meant", "others"),
    [
        ("AppDef.json", ["n3", "ng4", "nc5", "ng5"], ["np8g4", "np9g4", "np8c1", "na1"]),
        ("AppDef.ppc64le.json", ["np8g4", "np8gk4", "np9g4", "np8c1"], ["n3", "ng4", "na1"]),
    ],
)
def test_machines_are_those_of_the_image_alone(
    name: str, meant: list[str], others: list[str]
) -> None:
    globs = read(name)["machines"]
    taken = [kind for kind in (*meant, *others) if any(fnmatch.fnmatch(kind, one) for one in globs)]
    assert taken == meant


def test_both_definitions_differ_in_name_and_machines_alone() -> None:
    first, second = (read(name) for name in FILES)
    assert {key for key in first if first[key] != second[key]} == {"name", "machines"}
