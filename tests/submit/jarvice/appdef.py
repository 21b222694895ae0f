# SPDX-License-Identifier: Apache-2.0
"""Whether an AppDef is one: the documented rules, each with a text that says what is wrong."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from .answers import Json

VAULT_TYPES = {"FILE", "BLOCK", "BLOCK_ARRAY", "OBJECT"}
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
_COMMAND = {"path": str, "name": str, "description": str, "parameters": dict}
_PARAMETER = {"name": str, "description": str, "type": str, "required": bool}
_NUMBER = (int, float)
_BY_TYPE: dict[str, dict[str, type | tuple[type, ...]]] = {
    "CONST": {"value": str},
    "STR": {"value": str},
    "INT": {"value": int, "min": int, "max": int},
    "FLOAT": {"value": _NUMBER, "min": _NUMBER, "max": _NUMBER, "precision": int},
    "RANGE": {"value": _NUMBER, "min": _NUMBER, "max": _NUMBER, "step": _NUMBER},
    "BOOL": {"value": bool},
    "selection": {"values": list},
    "FILE": {},
    "UPLOAD": {"target": str},
}
_ONLY_V2 = ("webshell", "desktop", "verboseinit", "mpirun", "cmdscript")
_ICON_BYTES = 64 * 1024


class Invalid(Exception):
    """What is wrong with an AppDef, and where."""


def validate(appdef: Json) -> None:
    """Raise Invalid at the first rule that it breaks."""
    _need(appdef, _TOP, "AppDef")
    version = appdef.get("appdefversion", 1)
    _check(version in (1, 2), "AppDef: appdefversion is neither 1 nor 2")
    _lists(appdef)
    _icon(appdef["image"])
    _scale(appdef, "AppDef")
    _check(bool(appdef["commands"]), "AppDef: no command in commands")
    for key, command in appdef["commands"].items():
        _command(f"commands.{key}", command, version)


def _check(holds: bool, text: str) -> None:
    if not holds:
        raise Invalid(text)


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    """As isinstance, but for true and false, which are no numbers here."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _need(found: object, wanted: Mapping[str, type | tuple[type, ...]], where: str) -> None:
    if not isinstance(found, dict):
        raise Invalid(f"{where}: no object")
    for key, kind in wanted.items():
        _check(key in found, f"{where}: {key} is missing")
        _check(_is(found[key], kind), f"{where}: {key} has the wrong type")


def _optional(found: Json, key: str, kind: type, where: str) -> None:
    _check(key not in found or _is(found[key], kind), f"{where}: {key} has the wrong type")


def _scale(found: Json, where: str) -> None:
    _optional(found, "scale_max", int, where)
    _check(found.get("scale_max", 1) >= 1, f"{where}: scale_max is below 1")


def _lists(appdef: Json) -> None:
    for key in ("classifications", "machines", "vault-types"):
        entries = appdef[key]
        texts = bool(entries) and all(isinstance(entry, str) and entry for entry in entries)
        _check(texts, f"AppDef: {key} is no list of texts")
    for entry in appdef["classifications"]:
        _check(bool(re.fullmatch(r"[^/]+/[^/]+", entry)), f"classifications: {entry}: no A/B")
    kinds = set(appdef["vault-types"])
    _check(kinds == {"NONE"} or kinds <= VAULT_TYPES, "AppDef: vault-types has an unknown type")


def _icon(image: Json) -> None:
    _need(image, {"type": str, "data": str}, "image")
    _check(image["type"] == "image/png", "image: type is not image/png")
    try:
        icon = base64.b64decode(image["data"], validate=True)
    except binascii.Error:
        raise Invalid("image: data is not base64") from None
    _check(len(icon) <= _ICON_BYTES, "image: data is larger than 64 KB")


def _command(where: str, command: object, version: int) -> None:
    _need(command, _COMMAND, where)
    assert isinstance(command, dict)
    _check(command["path"].startswith("/"), f"{where}: path is not absolute")
    for key in ("interactive", "publicip", "noconnect"):
        _optional(command, key, bool, where)
    for key in _ONLY_V2:
        _check(version >= 2 or key not in command, f"{where}: {key} needs appdefversion 2")
    _optional(command, "ports", list, where)
    for port in command.get("ports", []):
        good = bool(re.fullmatch(r"\d+/(tcp|udp)", str(port)))
        _check(good, f"{where}: ports: {port} is no NUMBER/tcp")
    _scale(command, where)
    parameters = command["parameters"]
    for key, parameter in parameters.items():
        _parameter(f"{where}.parameters.{key}", parameter)
        _conditions(f"{where}.parameters.{key}", parameter, parameters, version)
    uploads = [key for key, entry in parameters.items() if entry["type"] == "UPLOAD"]
    _check(len(uploads) <= 1, f"{where}: more than one UPLOAD")


def _parameter(where: str, parameter: object) -> None:
    _need(parameter, _PARAMETER, where)
    assert isinstance(parameter, dict)
    kind = parameter["type"]
    if kind not in _BY_TYPE:
        raise Invalid(f"{where}: type {kind} is unknown")
    _need(parameter, _BY_TYPE[kind], where)
    for key in ("positional", "variable"):
        _optional(parameter, key, bool, where)
    if "min" in _BY_TYPE[kind]:
        inside = parameter["min"] <= parameter["value"] <= parameter["max"]
        _check(inside, f"{where}: value is not between min and max")
    if kind == "selection":
        values = parameter["values"]
        _check(bool(values), f"{where}: values is empty")
        inner = parameter.get("mvalues", values)
        same = isinstance(inner, list) and len(inner) == len(values)
        _check(same, f"{where}: values and mvalues differ in length")
    if kind == "UPLOAD":
        _check(parameter["target"].startswith("/opt/"), f"{where}: target is not under /opt")


def _conditions(where: str, parameter: Json, others: Json, version: int) -> None:
    """`if` and `ifnot` name switches of the same command."""
    for key in ("if", "ifnot"):
        if key not in parameter:
            continue
        _check(version >= 2, f"{where}: {key} needs appdefversion 2")
        _check(isinstance(parameter[key], list), f"{where}: {key} has the wrong type")
        for name in parameter[key]:
            other = others.get(name)
            switch = isinstance(other, dict) and other.get("type") == "BOOL"
            _check(switch, f"{where}: {key}: {name} is no BOOL of this command")
