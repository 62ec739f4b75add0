"""The sample projects of the program, and the user's copies of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_studio.core.messages import Text, text
from lora_studio.core.project import access_requests, project
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import SUFFIX
from lora_studio.core.system import paths

SampleName = Literal["assistant", "reward"]


@dataclass(frozen=True)
class SampleProject:
    """A sample project: what it shows, its folder among the resources, and that of the user's copy."""

    title: Text
    about: Text
    resource: str
    folder: str


#: Every sample project by the name that a command takes.
SAMPLES: Mapping[SampleName, SampleProject] = {
    "assistant": SampleProject(
        text("Learn from examples"),
        text("A small model learns to answer like a lighthouse keeper, from 254 conversations."),
        "sample",
        "Sample project",
    ),
    "reward": SampleProject(
        text("Learn from rewards"),
        text("A small model learns to write sums as equations, from rewards for its own answers."),
        "sample_rewards",
        "Sample project with rewards",
    ),
}


def list_requests(name: SampleName) -> list[AccessRequest]:
    """Return what a sample project of the program asks for; the user's copy may have been changed."""
    resource = paths.get_resources_folder() / SAMPLES[name].resource
    return access_requests.list_requests(project.load(resource))


def copy_sample(name: SampleName, folder: Path | None = None) -> Path:
    """Return the folder of the user's copy, which is created if it doesn't exist yet; raises OSError.

    Without `folder` it is among the data of the program.
    """
    sample = SAMPLES[name]
    target = (folder or paths.get_data_folder() / sample.folder).resolve()
    if not any(target.glob(f"*{SUFFIX}")):
        source = paths.get_resources_folder() / sample.resource
        # Without the times of the program's files: the copy is new, and Home shows how old a project is.
        shutil.copytree(source, target, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return target
