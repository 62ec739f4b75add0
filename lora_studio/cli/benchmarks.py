"""`lora-studio benchmarks`: search the public benchmarks that models can be evaluated on."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from lora_studio.cli.common import JsonObjectOption, ask, print_json
from lora_studio.cli.console import Display
from lora_studio.core.messages import counted, text
from lora_studio.core.protocol import commands, events


def benchmarks(
    search: Annotated[
        str, typer.Argument(help="Words in the name or the dataset. Without them, all are listed.")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=1, max=20_000, help="Maximum number of benchmarks to list.")
    ] = 40,
    as_json: JsonObjectOption = False,
) -> None:
    """List public benchmarks of lm-eval, for `lora-studio evaluate --test benchmark:NAME`."""
    display = Display(as_json=as_json)
    command = commands.ListBenchmarks(search=search, limit=limit)
    listed = ask(command, events.BenchmarksListed, display)
    if as_json:
        shown = [each.model_dump(mode="json", exclude={"file"}) for each in listed.benchmarks]
        print_json({"benchmarks": shown, "total": listed.total})
        return
    table = Table(box=None, pad_edge=False)
    for title in (text("Benchmark"), text("Dataset"), text("Kind")):
        table.add_column(str(title), overflow="fold")
    for each in listed.benchmarks:
        table.add_row(each.name, each.dataset, each.output_type)
    if listed.benchmarks:
        display.console.print(table)
    shown_count = len(listed.benchmarks)
    display.console.print(
        str(
            text("{shown} of {total} benchmarks are shown.", shown=shown_count, total=listed.total)
            if shown_count < listed.total
            else counted(listed.total, "{n} benchmark found.", "{n} benchmarks found.")
        )
    )
