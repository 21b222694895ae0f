# SPDX-License-Identifier: Apache-2.0
"""From an AppDef's command and the values that a client gave to the words that run."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import appdef as rules
from .answers import INVALID, MISSING, Json, Refused
from .machines import Machine


def _word(value: str) -> Json:
    return {
        "name": "Word",
        "description": "Word of the shell",
        "type": "CONST",
        "value": value,
        "required": True,
        "positional": True,
    }


# An app that brings no AppDef gets this one.
_GENERIC: Json = {
    "name": "Shell",
    "description": "Any shell line",
    "author": "JARVICE",
    "appdefversion": 2,
    "licensed": True,
    "classifications": ["Uncategorized/Uncategorized"],
    "machines": ["*"],
    "vault-types": ["FILE", "BLOCK", "BLOCK_ARRAY", "OBJECT"],
    "commands": {
        "Batch": {
            "path": "/bin/bash",
            "name": "Batch",
            "description": "Run a shell line",
            "parameters": {
                "login": _word("-l"),
                "line": _word("-c"),
                "command": {
                    "name": "Command",
                    "description": "The shell line",
                    "type": "STR",
                    "value": "",
                    "required": True,
                    "positional": True,
                },
            },
        }
    },
    "image": {"type": "image/png", "data": ""},
}
_NOT_HERE = ("mpirun", "cmdscript")


@dataclass(frozen=True)
class App:
    """An app of the catalogue; a private one is listed to its owner only."""

    id: str
    appdef: Json = field(default_factory=lambda: _GENERIC)
    public: bool = True
    arch: str = "x86_64"

    def __post_init__(self) -> None:
        """An app that the real service would not take is a mistake of the test."""
        rules.validate(self.appdef)
        for key, command in self.appdef["commands"].items():
            if any(command.get(what) for what in _NOT_HERE):
                raise ValueError(f"{self.id}: {key}: not emulated: {', '.join(_NOT_HERE)}")

    @property
    def version(self) -> int:
        """Of its AppDef's form."""
        return int(self.appdef.get("appdefversion", 1))


def constants(machine: Machine, nodes: int, label: str, vault: str) -> dict[str, str]:
    """What the signs in a CONST stand for, but for those of the account."""
    return {
        "%CORES%": str(machine.cores),
        "%TCORES%": str(machine.cores * nodes),
        "%NODES%": str(nodes),
        "%GPUS%": str(machine.gpus),
        "%SGPUS%": str(machine.gpus),
        "%TGPUS%": str(machine.gpus * nodes),
        "%RAM%": str(machine.ram),
        "%SRAM%": str(machine.ram),
        "%TRAM%": str(machine.ram * nodes),
        "%JOBLABEL%": label,
        "%MACHINETYPE%": machine.name,
        "%VTYPE%": "FILE",
        "%VNAME%": vault,
    }


def words(
    command: Json, given: Mapping[str, Any], signs: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The words that run, and what goes to jobenv.sh instead.

    Raises:
        Refused: a value is unknown, missing or unfit.
    """
    parameters: Json = command["parameters"]
    if not set(given) <= set(parameters):
        raise Refused(400, INVALID)
    options: list[str] = []
    positions: list[str] = []
    variables: dict[str, str] = {}
    for key, parameter in parameters.items():
        if not _wanted(parameter, parameters, given):
            continue
        text = _text(parameter, given.get(key), signs)
        if parameter.get("variable", False):
            variables[key] = text
            continue
        place = positions if parameter.get("positional", False) else options
        if parameter["type"] == "BOOL":
            place += [key] if text == "true" else []
        elif text or parameter["required"]:
            place += [text] if place is positions else [key, text]
    return [command["path"], *options, *positions], variables


def _wanted(parameter: Json, parameters: Json, given: Mapping[str, Any]) -> bool:
    """Whether the switches that it depends on stand as it wants them."""

    def on(key: str) -> bool:
        return _text(parameters[key], given.get(key), {}) == "true"

    return all(map(on, parameter.get("if", []))) and not any(map(on, parameter.get("ifnot", [])))


def _text(parameter: Json, given: object, signs: Mapping[str, str]) -> str:
    """A parameter's value as the command will see it."""
    kind: str = parameter["type"]
    if kind == "CONST":
        text = str(parameter["value"])
        for sign, meaning in signs.items():
            text = text.replace(sign, meaning)
        return text
    value: object = parameter.get("value") if given is None else given
    if value is None or value == "":
        if parameter["required"]:
            raise Refused(400, MISSING)
        return ""
    if isinstance(value, (dict, list)):
        raise Refused(400, INVALID)
    return _FORMS[kind](parameter, value)


def _as_given(parameter: Json, value: object) -> str:
    return str(value)


def _number(parameter: Json, value: object) -> str:
    convert = int if parameter["type"] == "INT" else float
    try:
        number = convert(str(value))
    except ValueError:
        raise Refused(400, INVALID) from None
    if not parameter["min"] <= number <= parameter["max"]:
        raise Refused(400, INVALID)
    return str(value)


def _switch(parameter: Json, value: object) -> str:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise Refused(400, INVALID)
    return text


def _selection(parameter: Json, value: object) -> str:
    values: list[object] = parameter["values"]
    if value not in values:
        raise Refused(400, INVALID)
    return str(parameter.get("mvalues", values)[values.index(value)])


def _file(parameter: Json, value: object) -> str:
    """A path below the vault, which a client may name from there or from the root."""
    text = str(value)
    patterns = str(parameter.get("filter") or "*").split("|")
    if ".." in text.split("/") or not any(fnmatch.fnmatch(text, one) for one in patterns):
        raise Refused(400, INVALID)
    return text if text.startswith("/data/") else f"/data/{text.lstrip('/')}"


def _upload(parameter: Json, value: object) -> str:
    """How a client sends a file along is not public."""
    raise Refused(400, INVALID)


_FORMS: dict[str, Callable[[Json, object], str]] = {
    "STR": _as_given,
    "INT": _number,
    "FLOAT": _number,
    "RANGE": _number,
    "BOOL": _switch,
    "selection": _selection,
    "FILE": _file,
    "UPLOAD": _upload,
}
