"""Projects that this user has accepted."""

from __future__ import annotations

from lora_studio.core.project import access_requests, known_projects
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import Draft


def accept_project(draft: Draft) -> None:
    """Record that the user has accepted all that a project asks for now."""
    known_projects.accept(draft, access_requests.list_requests(draft))


def list_new_requests(draft: Draft) -> list[AccessRequest]:
    """Return what a project asks for now that the user hasn't accepted."""
    return known_projects.list_new(draft, access_requests.list_requests(draft))
