"""Read a chat template from disk, with the checksums of a run where it comes from one."""

from __future__ import annotations

from pathlib import Path

from lora_studio.core.runs import checksums
from lora_studio.core.templates.chat_template import TemplateSource, read_source


def read_intact_source(
    path: Path, *, bos: str | None = None, eos: str | None = None, adds_bos: bool | None = None
) -> TemplateSource:
    """Return the chat template of a model folder or a template file, as `read_source`.

    Raises ProblemError, also for a file of a run that has changed since it was written.
    """
    checksums.require_intact_source(path, with_weights=False)
    return read_source(path, bos=bos, eos=eos, adds_bos=adds_bos)
