# SPDX-License-Identifier: Apache-2.0
"""The distribution `retrain-hpc`: the trainer, its way to clusters, configurations, job scripts."""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
CLUSTER = "submit status logs wait cancel pull".split()
"""Commands that `jobs` announces and `trainer.cli` finds, so that neither imports the other."""
FOLDERS = {"trainer.configs": "configs", "trainer.slurm": "slurm"}
"""Folders beside the package that an installation finds inside of it."""


def version() -> str:
    """The one in trainer/__init__.py, read without importing it."""
    text = (HERE / "trainer" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if not found:
        raise ValueError('trainer/__init__.py has no line __version__ = "..."')
    return found[1]


setup(
    name="retrain-hpc",
    version=version(),
    description="Transfer learning on image folders as a distributed batch job",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.13",
    packages=[*find_packages(include=["trainer", "trainer.*", "jobs", "jobs.*"]), *FOLDERS],
    package_dir=FOLDERS,
    package_data={
        "trainer.features": ["topologies/*"],
        "trainer.report": ["templates/*"],
        "trainer.configs": ["*.yaml", "sites/*"],
        "trainer.slurm": ["*.sh"],
    },
    entry_points={
        "console_scripts": ["retrain = trainer.__main__:main"],
        "retrain.commands": [f"{name} = jobs.cli:{name}" for name in CLUSTER],
    },
    install_requires=[
        "click>=8.1",
        "h5py>=3.10",
        "horovod>=0.28.1",
        "httpx>=0.27",
        "jinja2>=3.1",
        "matplotlib>=3.7",
        "mpi4py>=4.0",
        "numpy>=1.26,<2.1",
        "pillow>=10.0",
        "pydantic>=2.7",
        "pyyaml>=6.0",
        "tensorboard>=2.14",
        "tensorflow>=2.14,<2.19",
        "threadpoolctl>=3.1",
    ],
    extras_require={"notebook": ["ipykernel>=6.29", "pandas>=2.2"]},
)
