"""Command line of the campaign: `python -m tests.campaign [--minutes N] [--seed S] [--family NAME]`."""

from __future__ import annotations

import argparse
import os
import random
import sys

from tests.campaign.families import FAMILIES, load_family
from tests.campaign.family import Family, Figures, Finding, describe_figures
from tests.campaign.runner import Campaign, generate, list_corpus, replay, save


def main() -> int:
    """Run the campaign; return 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="time for all families")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--family", action="append", choices=FAMILIES, help="only these families")
    parser.add_argument("--inputs", type=int, default=1 << 40, help="most inputs per family")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--replay", action="store_true", help="only run the corpus again")
    parser.add_argument("--keep", action="store_true", help="add failures to the corpus")
    parser.add_argument("--details", action="store_true", help="print tracebacks")
    options = parser.parse_args()
    os.nice(10)
    families = [load_family(name) for name in options.family or FAMILIES]
    failures = 0
    for family in families:
        for file, signature in replay(family, list_corpus(family)):
            failures += 1
            print(f"{family.name}: {file.name} fails again: {signature}", flush=True)
    if options.replay:
        return bool(failures)
    print(f"seed {options.seed}", flush=True)
    campaign = Campaign(families, options.seed, options.inputs, _print_figures)
    campaign.run(options.minutes * 60, options.jobs)
    for family in families:
        findings = campaign.figures[family.name].findings.values()
        failures += len(findings)
        for finding in findings:
            _print_finding(family, finding, options)
    total = sum(figures.inputs for figures in campaign.figures.values())
    counts = {
        name: sum(figures.outcomes.get(name, 0) for figures in campaign.figures.values())
        for name in ("faults", "kills")
    }
    print(f"{total:,} inputs, {counts['faults']:,} faults, {counts['kills']:,} kills, {failures} findings")  # fmt: skip
    return bool(failures)


def _print_figures(family: Family, figures: Figures) -> None:
    """Print the line of a family, and its findings; their inputs follow in the end."""
    print(describe_figures(family.name, figures), flush=True)
    for finding in figures.findings.values():
        print(f"  {finding.kind}: {finding.signature} (input {finding.index})", flush=True)


def _print_finding(family: Family, finding: Finding, options: argparse.Namespace) -> None:
    """Print a finding with its input, and add that to the corpus if wanted."""
    print(f"{family.name}: {finding.kind}: {finding.signature} (input {finding.index})")
    if options.details:
        print("    " + finding.details.strip().replace("\n", "\n    "))
    if finding.index < 0:
        return
    content = generate(family, options.seed, finding.index)
    print(f"    {len(content)} bytes: {content[:300]!r}", flush=True)
    if options.keep:
        print(f"    saved as {save(family, content, finding.signature)}")


if __name__ == "__main__":
    sys.exit(main())
