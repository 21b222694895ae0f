# SPDX-License-Identifier: Apache-2.0
"""What a configuration may say, and how each mistake in one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from trainer.config import (
    Backbone,
    Config,
    Data,
    Evaluate,
    Head,
    Report,
    Run,
    Sgd,
    Split,
    as_yaml,
    cache_folder,
    default_cache,
    differences,
    yaml_word,
)
from trainer.config_file import known_keys, load
from trainer.errors import USAGE, UsageError, told

BASE = Path(__file__).parents[2] / "configs" / "base.yaml"

PROMISED = """
name data data.images data.bottlenecks data.exclude data.split data.split.validation
data.split.test data.split.compat data.max_bad data.views backbone backbone.name backbone.weights
backbone.layer backbone.precision backbone.batch_size head head.solver head.l2 head.class_weight
head.sgd head.sgd.steps head.sgd.batch_size head.sgd.learning_rate head.sgd.warmup evaluate
evaluate.folds report report.images run run.seed run.cache run.device run.stall_timeout
""".split()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that one is in, with a configuration in it."""
    monkeypatch.chdir(tmp_path)
    Path("pools.yaml").write_text("data: {images: photos}\n", encoding="utf-8")
    return tmp_path


def refused(source: str, *overrides: str) -> tuple[str, str]:
    """The message and the way out of a configuration that must not be taken."""
    with pytest.raises(UsageError) as caught:
        load(source, list(overrides))
    assert caught.value.exit_code == USAGE
    assert told(caught.value.message, caught.value.todo).count("\n") < 3
    return caught.value.message, caught.value.todo


def refused_text(text: str | bytes) -> tuple[str, str]:
    """The same for a file with this content."""
    Path("x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return refused("x.yaml")


# Keys and defaults


def test_base_file_states_every_default() -> None:
    said = yaml.safe_load(BASE.read_text(encoding="utf-8"))
    del said["data"]["images"]
    defaults = Config(data=Data(images="x")).model_dump()
    del defaults["data"]["images"], defaults["data"]["bottlenecks"]
    del defaults["head"]["sgd"]  # of a solver that comes with a later version
    assert said == defaults


@pytest.mark.parametrize("key", PROMISED)
def test_promised_key_is_known(key: str) -> None:
    assert key in known_keys()


def test_every_key_is_described() -> None:
    sections: list[type[BaseModel]] = [
        Config,
        Data,
        Split,
        Backbone,
        Head,
        Sgd,
        Evaluate,
        Report,
        Run,
    ]
    fields = {
        f"{section.__name__}.{name}": field.description
        for section in sections
        for name, field in section.model_fields.items()
    }
    assert len(fields) == len(known_keys())
    assert all(fields.values())


def test_values_do_not_change_once_they_are_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("pools.yaml", []).run.seed = 1  # type: ignore[misc]


# Where a configuration comes from


def test_folder_serves_in_place_of_a_file(folder: Path) -> None:
    (folder / "photos").mkdir()
    config = load("photos", [])
    assert (config.name, config.data.images) == ("photos", str(folder / "photos"))


def test_folder_that_one_is_in_gives_its_own_name(folder: Path) -> None:
    assert load(".", []).name == folder.name


def test_file_gives_its_name_where_it_says_none() -> None:
    assert load("pools.yaml", []).name == "pools"


@pytest.mark.parametrize("text", ["name: ''\n", "name: null\n"])
def test_empty_name_is_none(text: str) -> None:
    Path("roofs.yaml").write_text(f"{text}data: {{images: photos}}\n", encoding="utf-8")
    assert load("roofs.yaml", []).name == "roofs"


@pytest.mark.parametrize(
    ("name", "expected"),
    [(b"line\nbreak", "line_break"), (b"caf\xe9", "caf_"), ("Dächer".encode(), "Dächer")],
)
def test_hostile_folder_name_becomes_a_printable_run_name(name: bytes, expected: str) -> None:
    os.mkdir(name)
    config = load(os.fsdecode(name), [])
    assert config.name == expected
    assert config.data.images == os.path.abspath(os.fsdecode(name))


def test_path_in_bytes_that_are_no_text_survives_the_resolved_file() -> None:
    os.mkdir(b"caf\xe9")
    config = load(os.fsdecode(b"caf\xe9"), [])
    Path("resolved.yaml").write_text(as_yaml(config.model_dump(mode="json")), encoding="utf-8")
    assert load("resolved.yaml", []) == config


def test_resolved_file_gives_the_same_configuration_again(folder: Path) -> None:
    config = load("pools.yaml", ["head.l2=0.5", "data.exclude=[a, 'b: c']", "run.cache=my cache"])
    (folder / "other").mkdir()
    Path("other/config.yaml").write_text(as_yaml(config.model_dump(mode="json")), encoding="utf-8")
    os.chdir("other")
    assert load("config.yaml", []) == config


# Overrides


@pytest.mark.parametrize(
    ("word", "section", "key", "value"),
    [
        ("head.l2=1.0e-3", "head", "l2", 0.001),
        ("head.l2=1e-3", "head", "l2", 0.001),
        ("head.l2=2", "head", "l2", 2.0),
        ("evaluate.folds=0", "evaluate", "folds", 0),
        ("report.images=no", "report", "images", False),
        ("data.exclude=[a, b]", "data", "exclude", ["a", "b"]),
        ("run={seed: 7}", "run", "seed", 7),
        ("run.cache=null", "run", "cache", None),
        ("head.class_weight=balanced", "head", "class_weight", "balanced"),
    ],
)
def test_override_is_read_as_yaml(word: str, section: str, key: str, value: object) -> None:
    assert getattr(getattr(load("pools.yaml", [word]), section), key) == value


@pytest.mark.parametrize("name", ["2024", "yes", "null", "a=b", "a: b", "[x", "~x", "'q'"])
def test_override_takes_a_folder_by_whatever_name_it_has(folder: Path, name: str) -> None:
    assert load("pools.yaml", [f"data.images={name}"]).data.images == str(folder / name)


@pytest.mark.parametrize("name", ["2024", "yes", "a=b", "a: b"])
def test_override_takes_other_names_as_they_stand(folder: Path, name: str) -> None:
    words = [f"name={name}", f"run.cache={name}", f"backbone.weights={name}"]
    config = load("pools.yaml", words)
    assert config.name == name
    assert config.run.cache == config.backbone.weights == str(folder / name)


def test_override_reaches_into_a_section_that_the_file_leaves_empty() -> None:
    Path("x.yaml").write_text("data: {images: photos}\nhead:\n", encoding="utf-8")
    assert load("x.yaml", ["head.sgd.steps=5"]).head.sgd.steps == 5


def test_later_override_wins() -> None:
    assert load("pools.yaml", ["run.seed=1", "run.seed=2"]).run.seed == 2


@pytest.mark.parametrize("first", ["images", "bottlenecks"])
def test_override_of_one_source_replaces_the_other(folder: Path, first: str) -> None:
    other = {"images": "bottlenecks", "bottlenecks": "images"}[first]
    Path("x.yaml").write_text(f"data: {{{first}: a}}\n", encoding="utf-8")
    data = load("x.yaml", [f"data.{other}=b"]).data
    assert (getattr(data, first), getattr(data, other)) == (None, str(folder / "b"))
    assert (data.source, data.source_key) == (folder / "b", f"data.{other}")


@pytest.mark.parametrize("word", ["head.l2", "=1", "head.=1", ".l2=1", "."])
def test_override_that_is_no_key_and_value_is_shown_how(word: str) -> None:
    message, todo = refused("pools.yaml", word)
    assert message == f"{word}: wanted key=value."
    assert "head.l2=" in todo


# Paths


@pytest.mark.parametrize("word", ["data.images", "data.bottlenecks", "backbone.weights"])
def test_relative_path_is_made_absolute(folder: Path, word: str) -> None:
    section, key = word.split(".")
    config = load("pools.yaml", [f"{word}=a/../b"])
    assert getattr(getattr(config, section), key) == str(folder / "b")


def test_tilde_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    Path("x.yaml").write_text("data: {images: ~/a}\nrun: {cache: ~/b}\n", encoding="utf-8")
    config = load("x.yaml", ["backbone.weights=~/c"])
    found = (config.data.images, config.run.cache, config.backbone.weights)
    assert found == tuple(str(folder / name) for name in "abc")


@pytest.mark.parametrize("weights", ["imagenet", "random"])
def test_named_weights_are_no_path(weights: str) -> None:
    assert load("pools.yaml", [f"backbone.weights={weights}"]).backbone.weights == weights


def test_cache_is_the_key_then_the_variable_then_beside_the_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RETRAIN_CACHE", raising=False)
    assert cache_folder(load("pools.yaml", []), folder) == folder / ".retrain-cache"
    monkeypatch.setenv("RETRAIN_CACHE", "/from/variable")
    assert default_cache(folder) == Path("/from/variable")
    assert cache_folder(load("pools.yaml", ["run.cache=/key"]), folder) == Path("/key")


# Mistakes in the file


@pytest.mark.parametrize("source", ["gone.yaml", "gone", "x" * 300, ""])
def test_source_that_is_not_there_is_told(source: str) -> None:
    message, todo = refused(source)
    assert message.startswith((f"{source}: ", "'': "))
    assert "folder with one folder a class" in todo


def test_picture_is_told_from_a_configuration() -> None:
    message, todo = refused_text(b"\xff\xd8\xff\xe0")
    assert message == "x.yaml: no configuration: not a text in UTF-8."
    assert todo.startswith("Give a configuration")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("data:\n  images: [a\n  b: {\n", 3, "expected ',' or ']'"),
        ("data:\n\timages: x\n", 2, "'\\t'"),
        ("data: {images: a}\n---\nname: b\n", 2, "another document"),
        ("name: a\ndata: {images: \x01}\n", 2, "control character 0x01"),
        ("data: !!python/name:os.system\n", 1, "python/name:os.system"),
        ("data: {images: a}\nname: a\ndata: {max_bad: 0.1}\n", 3, "data comes twice"),
    ],
)
def test_broken_yaml_is_told_with_its_line(text: str, line: int, problem: str) -> None:
    message, todo = refused_text(text)
    assert message.startswith(f"x.yaml, line {line}: broken YAML: ")
    assert problem in message
    assert todo


@pytest.mark.parametrize(("text", "found"), [("", "nothing"), ("- a\n", "list"), ("a\n", "str")])
def test_file_without_keys_is_told_the_shortest_configuration(text: str, found: str) -> None:
    message, todo = refused_text(text)
    assert message == f"x.yaml: wanted keys and values, found {found}."
    assert todo == "The shortest configuration: data: {images: FOLDER}"


@pytest.mark.parametrize(
    "text",
    [
        "name: a\n",
        "data:\n",
        "data: photos\n",
        "data: {max_bad: 0.1}\n",
        "data: {images: a, bottlenecks: b}\n",
    ],
)
def test_no_source_or_two_are_told_the_shortest_configuration(text: str) -> None:
    assert refused_text(text)[1] == "The shortest configuration: data: {images: FOLDER}"


# Mistakes in its keys


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("evaluat", "evaluate"),  # a typo in the section
        ("evaluate.flods", "evaluate.folds"),  # in the key
        ("head.sgd.step", "head.sgd.steps"),
        ("data.MAX_BAD", "data.max_bad"),
        ("Data", "data"),
        ("folds", "evaluate.folds"),  # the section forgotten
        ("flods", "evaluate.folds"),
        ("batch_size", "backbone.batch_size"),
        ("data.test", "data.split.test"),
        ("head.weights", "backbone.weights"),  # another section's
    ],
)
def test_unknown_key_suggests_the_nearest(key: str, near: str) -> None:
    tree: dict[str, object] = {"data": {"images": "a"}}
    *sections, last = key.split(".")
    below: dict[str, object] = tree
    for section in sections:
        below = below.setdefault(section, {})  # type: ignore[assignment]
    below[last] = 1
    for message, todo in (refused_text(yaml.safe_dump(tree)), refused("pools.yaml", f"{key}=1")):
        assert message.endswith(": unknown key.")
        assert todo == f"Did you mean {near}?"


@pytest.mark.parametrize("key", ["xyzzy", "epochs", "1"])
def test_unknown_key_that_is_like_no_other_gets_the_list(key: str) -> None:
    assert refused("pools.yaml", f"{key}=1") == (
        f"{key}: unknown key.",
        "The keys: name, data, backbone, head, evaluate, report, run",
    )


def test_unknown_key_is_told_before_a_wrong_value() -> None:
    assert refused("pools.yaml", "run.seed=x", "run.sede=1")[0] == "run.sede: unknown key."


# Mistakes in its values


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("evaluate.folds=3", "found 3; wanted 0 (off) or 4 to 50"),
        ("evaluate.folds=51", "found 51; wanted 0 (off) or 4 to 50"),
        ("evaluate.folds=-1", "found -1; wanted 0 (off) or 4 to 50"),
        ("evaluate.folds=ten", "found ten; wanted a whole number"),
        ("evaluate=5", "found 5; wanted keys and values"),
        ("run.seed=1.5", "found 1.5; wanted a whole number"),
        ("run.seed=yes", "found true; wanted a whole number"),
        ("run.seed=-1", "found -1; wanted a number greater than or equal to 0"),
        ("run.stall_timeout=0", "found 0; wanted a number greater than 0"),
        ("run.device=gpu", "found gpu; wanted 'auto' or 'cpu'"),
        ("data.max_bad=5%", "found 5%; wanted a number"),
        ("data.max_bad=2", "found 2; wanted a number less than or equal to 1"),
        ("data.exclude=a", "found a; wanted a list"),
        ("data.exclude=[2024]", "found 2024; wanted a text"),
        ("data.images=", "found ''; wanted a text that is not empty"),
        ("data.views=[flip]", "found [flip]; wanted [], all that this version knows"),
        ("head.solver=sgd", "found sgd; wanted lbfgs, all that this version knows"),
        ("head.l2=strong", "found strong; wanted 'auto' or a number"),
        ("head.l2=0", "found 0; wanted 'auto' or a number greater than 0"),
        ("head.l2=.inf", "found .inf; wanted 'auto' or a finite number"),
        ("head.l2=.nan", "found .nan; wanted 'auto' or a finite number"),
        (
            "backbone.name=resnet",
            "found resnet; wanted 'inception_v3', 'resnet50', 'mobilenet_v2' or "
            "'efficientnet_lite0'",
        ),
        ("backbone.weights=", "found null; wanted a text"),
        ("report.images=1", "found 1; wanted true or false"),
        ("name=a/b", "found a/b; wanted a name that can be a folder's"),
        ("name=..", "found ..; wanted a name that can be a folder's"),
    ],
)
def test_wrong_value_is_told_with_its_key_what_was_found_and_wanted(word: str, found: str) -> None:
    assert refused("pools.yaml", word)[0] == f"{word.partition('=')[0]}: {found}."


def test_shares_that_leave_nothing_to_train_on_are_told_with_both() -> None:
    message, _ = refused("pools.yaml", "data.split.test=0.95")
    assert "data.split: found validation 0.1 and test 0.95" in message


@pytest.mark.parametrize("word", ["head.l2='0.1'", "run.seed='1'"])
def test_string_for_a_number_is_told_how_to_write_numbers(word: str) -> None:
    assert refused("pools.yaml", word)[1] == ("Write numbers without quotes.")


def test_text_of_several_lines_is_shown_on_one() -> None:
    message, _ = refused_text("data: {images: a}\nname: |\n  a\n  b\n  c\n")
    assert message.startswith('name: found "a\\nb\\nc\\n"; ')


def test_long_value_is_cut() -> None:
    message, _ = refused("pools.yaml", f"run.device={'long ' * 100}")
    assert len(message) < 110


# Comparing


def test_differences_are_dotted_and_have_both_values() -> None:
    old = load("pools.yaml", []).model_dump(mode="json")
    new = load("pools.yaml", ["data.split.test=0.2", "head.l2=1"]).model_dump(mode="json")
    assert differences(old, new) == [("data.split.test", 0.1, 0.2), ("head.l2", "auto", 1.0)]


def test_key_that_one_configuration_lacks_differs_from_its_value() -> None:
    assert differences({"a": {}}, {"a": {"b": 1}}) == [("a.b", None, 1)]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("a", "a"),
        ("yes", "'yes'"),
        (None, "null"),
        (0.1, "0.1"),
        ([], "[]"),
        ("ä b" * 50, "ä b" * 50),
    ],
)
def test_value_is_written_on_one_line_as_in_the_file(value: object, word: str) -> None:
    assert yaml_word(value) == word


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        ("pools", "pools"),
        ("./pools/", "./pools"),
        ("pools.tar", "pools"),
        ("pools/list.csv", "pools"),
        ("list.csv", "."),
    ],
)
def test_folder_that_retrain_py_hashed_is_kept_as_it_was_given(
    source: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pools").mkdir()
    for name in ("pools.tar", "pools/list.csv", "list.csv"):
        (tmp_path / name).touch()
    config = load(source, ["data.split.compat=retrain"])
    assert config.data.split.image_dir == folder
    assert load(source, []).data.split.image_dir is None
    assert os.path.isabs(str(config.data.images))
