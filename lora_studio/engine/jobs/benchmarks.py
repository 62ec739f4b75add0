"""List public benchmarks."""

from __future__ import annotations

from lora_studio.core.protocol import commands, events
from lora_studio.engine.jobs.registry import handles
from lora_studio.engine.runtime.channel import JobContext


@handles(commands.ListBenchmarks)
def list_benchmarks(command: commands.ListBenchmarks, job: JobContext) -> None:
    """Report the benchmarks of lm-eval that a search finds."""
    from lora_studio.engine.evaluation import benchmark_index

    found = benchmark_index.search(command.search, job)
    shown = tuple(found[: command.limit])
    job.emit(events.BenchmarksListed(benchmarks=shown, total=len(found)))
