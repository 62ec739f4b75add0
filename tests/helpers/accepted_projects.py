"""Projects that this user has accepted."""

from __future__ import annotations

from lora_studio.core.project import access_requests
from lora_studio.core.project.access_requests import AccessRequest
from lora_studio.core.project.project import Draft


def accept_project(draft: Draft) -> None:
    """Record that the user has accepted all that a project asks for now."""
    access_requests.accept_requests(draft, access_requests.list_requests(draft))


def list_new_requests(draft: Draft) -> list[AccessRequest]:
    """Return what a project asks for now that the user hasn't accepted."""
    return access_requests.list_new_requests(draft, access_requests.list_requests(draft))
