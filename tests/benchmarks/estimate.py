"""Measure how long a page takes to show the memory estimate for a changed setting.

    python -m tests.benchmarks.estimate

Measured are a move of the LoRA page's slider with every page of a project, the estimate, its advice,
and the panel that shows both: the slowest of several settings each, compared with a frame (16 ms).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtWidgets import QApplication

from lora_studio.core.memory import advice
from lora_studio.core.memory.estimate import estimate
from lora_studio.gui import theme
from lora_studio.gui.frame import lazy_pages
from lora_studio.gui.pages.lora.page import LoraPage
from lora_studio.gui.pages.training.page import TrainingPage
from lora_studio.gui.preferences import Preferences
from lora_studio.gui.project.state import ProjectState
from tests.helpers.models import model_facts, plans
from tests.helpers.models.plans import plan

_FRAME = 0.016


def main() -> None:
    """Print one line per part."""
    application = QApplication.instance() or QApplication([])
    assert isinstance(application, QApplication)
    theme.apply(application, "light")
    crowded = plan(free=2.5, micro_batch=48, gradient_accumulation=40)

    def advise() -> None:
        advice.find_largest_micro_batch(crowded)
        advice.find_cheapest_change(crowded)

    state = ProjectState()
    page = TrainingPage(state)
    page.show()
    for answer in (
        model_facts.devices(9 * model_facts.GIB),
        model_facts.lengths(range(200, 1200, 10)),
        model_facts.model(),
    ):
        state.set_answer(answer)
    sizes = iter(range(1, 1_000_000))

    def show() -> None:
        state.draft.set("training", "micro_batch", 1 + next(sizes) % 64)
        page.recipe.refresh_memory()

    lora = ProjectState()
    pages = lazy_pages.make_step_pages(lora, Preferences())
    slider_page = next(page for page in pages if isinstance(page, LoraPage))
    slider_page.show()
    for answer in (model_facts.devices(), plans.inspected()):
        lora.set_answer(answer)
    slider = slider_page.rank.slider

    def slide() -> None:
        slider.setValue((slider.value() + 1) % (slider.maximum() + 1))

    for name, part in (
        ("rank slider", slide),
        ("estimate", lambda: estimate(crowded)),
        ("advice", advise),
        ("panel", show),
    ):
        _report(name, part)


def _report(name: str, part: Callable[[], object], times: int = 60) -> None:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        part()
        taken.append(time.perf_counter() - began)
    middle, worst = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
    print(
        f"{name:9} median {middle * 1000:6.2f} ms, 95th percentile {worst * 1000:6.2f} ms: "
        f"{middle / _FRAME:.2f} and {worst / _FRAME:.2f} of a frame"
    )


if __name__ == "__main__":
    main()
