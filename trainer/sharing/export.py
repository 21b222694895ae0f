# SPDX-License-Identifier: Apache-2.0
"""`retrain export`: a finished run in forms for other programs and other people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from trainer.errors import UsageError
from trainer.progress import to_stderr
from trainer.rundir import RunDir, write_bytes
from trainer.sharing.embeddings import pack_embeddings
from trainer.sharing.zipped import pack_share


def export(
    run: RunDir,
    embeddings: Path | None,
    share: Path | None,
    public: Sequence[str],
    tell: Callable[[str], None],
) -> None:
    """Write what was asked for, each file whole or not at all.

    Args:
        run: A finished run.
        embeddings: Where its bottlenecks shall go, an .npz.
        share: Where a copy to give away shall go, a zip.
        public: Names that may stand in that copy though they look like a host's or a user's.
        tell: Told each file that was written.
    Raises:
        UsageError: Nothing was asked for, or the run is not finished.
        DataError: The run is damaged, the cache lacks its bottlenecks, or the copy would tell
            where it was made.
        RetrainError: A file cannot be written.
    """
    if embeddings is None and share is None:
        raise UsageError(
            "nothing to export.",
            "Say --embeddings FILE.npz, --share FILE.zip, or both.",
        )
    results = run.read_results()
    if results["status"] != "complete":
        raise UsageError(
            f"{run.path}: not finished: its status is {results['status']}.",
            "Start the same `retrain run` again; it goes on where it ended. Then export.",
        )
    run.require_undamaged()
    if embeddings is not None:
        write_bytes(embeddings, pack_embeddings(run, results, to_stderr()))
        tell(str(embeddings))
    if share is not None:
        write_bytes(share, pack_share(run, results, share, public))
        tell(str(share))
