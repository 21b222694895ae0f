# SPDX-License-Identifier: Apache-2.0
"""An option that takes all the words up to the next one, which click has not."""

from __future__ import annotations

from collections.abc import Sequence

import click


class ManyWords(click.Command):
    """A command whose `--sweep` takes many words."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give click one word an option."""
        return super().parse_args(ctx, one_option_a_word(args))


def one_option_a_word(arguments: Sequence[str]) -> list[str]:
    """`--sweep A=1 B=2` as `--sweep A=1 --sweep B=2`, for parsers whose options take one word.

    To `--sweep` belong the words after it up to the next option, or one without an equals sign.
    """
    spread: list[str] = []
    within = fresh = False
    for word in arguments:
        if within and not word.startswith("-") and (fresh or "=" in word):
            spread += ["--sweep", word]
            fresh = False
            continue
        if within and fresh:
            spread.append("--sweep")  # with nothing behind it, which the parser refuses
        within = fresh = word == "--sweep"
        if not within:
            spread.append(word)
    return [*spread, "--sweep"] if within and fresh else spread
