"""The user's consent to judges on other computers: a run may come from somebody else.

A run names the server that gets its prompts and answers, and the environment variable whose value is sent
there as a key. Allowed is what this user has accepted for a project.
"""

from __future__ import annotations

from collections.abc import Sequence

from lora_studio.core.messages import join_sentences
from lora_studio.core.problems import Where, fail
from lora_studio.core.project import known_projects
from lora_studio.core.project.access_requests import (
    AccessRequest,
    iter_judge_requests,
    iter_rewards,
)
from lora_studio.core.project.project import Draft
from lora_studio.core.rewards.spec import RewardSpec
from lora_studio.core.system import consent


def require_allowed(reward: RewardSpec, name: str) -> None:
    """Raise ProblemError if a reward sends something that the user hasn't accepted; `name` is the reward's."""
    requests = list_requests(reward)
    if not _is_allowed(requests):
        raise fail(
            "training.judge_not_trusted",
            "The reward {name} asks for something that you haven't allowed yet: {requests}",
            "If you trust that server, open the project in the window, or run `lora-studio --trust {digest} …`. "
            "Otherwise, remove this reward.",
            where=Where(step="training", field="rewards"),
            name=name,
            requests=join_sentences([request.text for request in requests]),
            digest=compute_digest(requests),
        )


def list_requests(reward: RewardSpec) -> list[AccessRequest]:
    """Return what a reward sends to another computer."""
    return list(iter_judge_requests(reward.model_dump()))


def list_unallowed(draft: Draft) -> list[AccessRequest]:
    """Return what the judges of a project ask for that the user hasn't accepted yet."""
    judges = [list(iter_judge_requests(reward)) for reward in iter_rewards(draft)]
    return [request for requests in judges if not _is_allowed(requests) for request in requests]


def _is_allowed(requests: Sequence[AccessRequest]) -> bool:
    accepted = all(known_projects.is_accepted(request) for request in requests)
    return accepted or consent.is_trusted_here(compute_digest(requests))


def compute_digest(requests: Sequence[AccessRequest]) -> str:
    """Return the hash under which the user can allow the requests of a judge."""
    return consent.compute_digest("\0".join(["judge", *(each.key for each in requests)]).encode())
