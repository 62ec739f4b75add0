"""What a processor's products of many shapes leave in memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

#: Prints by how many megabytes a process grows over products of 1,000 shapes.
_PRODUCTS = """
import psutil, torch
import lora_studio.engine.device
weight, rows = torch.randn(256, 64).bfloat16(), torch.randn(1600, 256).bfloat16()
def grown():
    return psutil.Process().memory_info().rss >> 20
rows[:8, :64] @ weight.t(), rows[:8] @ weight
before = grown()
for count in range(32, 532):
    rows[:count, :64].contiguous() @ weight.t(), rows[:count] @ weight
print(grown() - before)
"""


def growth(**named: str) -> int:
    """In megabytes, in a process with these variables set."""
    others = {name: value for name, value in os.environ.items() if "CACHE_CAPACITY" not in name}
    done = subprocess.run(
        [sys.executable, "-c", _PRODUCTS], env=others | named, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.slow
def test_products_of_ever_new_shapes_do_not_fill_the_memory() -> None:
    names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    as_wished = growth(**dict.fromkeys(names, "4096"))
    if as_wished < 40:
        pytest.skip(f"products of 1,000 shapes take {as_wished} MB of code on this processor")
    assert growth() < as_wished / 2
