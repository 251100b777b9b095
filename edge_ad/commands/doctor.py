"""`edge-ad doctor`: what this machine can build and run, and what to mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from edge_ad.doctor import Check, Diagnosis


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(as_json: bool) -> None:
    """Say what this machine can build and run, and what to mend.

    A line with ✗ is wrong and says how to mend it; a line with – is not needed, or is a choice. The exit code is 0
    either way.
    """
    import json
    import sys

    from edge_ad.doctor import diagnose

    diagnosis = diagnose()
    if as_json:
        click.echo(json.dumps(diagnosis.as_json(), indent=2))
    elif sys.stdout.isatty():
        _print_tables(diagnosis)
    else:
        _print_lines(diagnosis)


def _mark(check: Check) -> str:
    return {True: "✓", False: "✗", None: "–"}[check.ok]


def _mend(check: Check) -> str:
    """The mend is shown for what is wrong, and for what could be added."""
    return "" if check.ok else check.mend


def _summary(diagnosis: Diagnosis) -> str:
    count = len(diagnosis.problems)
    return "nothing to mend" if count == 0 else f"{count} thing{'s' if count > 1 else ''} to mend (✗)"


def _print_lines(diagnosis: Diagnosis) -> None:
    for title, checks in diagnosis.sections.items():
        click.echo(title)
        width = max(len(check.name) for check in checks)
        for check in checks:
            mend = f" → {_mend(check)}" if _mend(check) else ""
            click.echo(f"  {_mark(check)} {check.name:{width}}  {check.detail}{mend}")
    click.echo(_summary(diagnosis))


def _print_tables(diagnosis: Diagnosis) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    colour = {True: "green", False: "bold red", None: "dim"}
    width = max(len(check.name) for checks in diagnosis.sections.values() for check in checks)
    for title, checks in diagnosis.sections.items():
        table = Table(
            box=None, show_header=False, title=title, title_justify="left", title_style="bold", padding=(0, 1)
        )
        table.add_column(width=1)
        table.add_column(no_wrap=True, min_width=width)
        table.add_column(overflow="fold")
        for check in checks:
            detail = Text(check.detail)
            if mend := _mend(check):
                detail.append(f" → {mend}", style="yellow" if check.ok is False else "dim")
            table.add_row(Text(_mark(check), style=colour[check.ok]), Text(check.name), detail)
        console.print(table)
    console.print(_summary(diagnosis), style="green" if not diagnosis.problems else "bold red")
