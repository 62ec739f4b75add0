"""Signing in to the Hugging Face hub: the token goes into the hub's own store and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

from lora_studio.core.problems import Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.system import offline
from lora_studio.engine.hub import models
from lora_studio.engine.runtime.channel import JobContext

_WHERE = Where(step="model", field="source")


def account(job: JobContext) -> events.AccountFound:
    """Whose token is used, without a token where there is none or the hub cannot be asked."""
    import huggingface_hub

    token = huggingface_hub.get_token()
    if token is None:
        return events.AccountFound(name="", has_token=False)
    job.progress("asking the hub", 0, None)
    from_environment = bool(os.environ.get("HF_TOKEN"))
    try:
        name = str(huggingface_hub.HfApi().whoami(token=token).get("name", ""))
    except models.unreachable():
        name = ""
    return events.AccountFound(name=name, has_token=True, from_environment=from_environment)


def sign_in(token: str, job: JobContext) -> events.AccountFound:
    """Keeps a token that the hub takes; raises ProblemError for one that it does not."""
    import huggingface_hub
    from huggingface_hub import errors

    token = token.strip()
    if not token:
        raise fail(
            "model.token", "There is no token.", "Paste one from your hub settings.", where=_WHERE
        )
    job.progress("asking the hub", 0, None)
    try:
        huggingface_hub.login(token=token, add_to_git_credential=False, skip_if_logged_in=False)
    except errors.OfflineModeIsEnabled:
        raise fail(
            "model.offline",
            "Offline mode is on, so the token cannot be checked.",
            offline.REMEDY,
            where=_WHERE,
        ) from None
    except (ValueError, errors.HfHubHTTPError):
        # From None: the library's message may hold what was sent.
        raise fail(
            "model.token",
            "The hub does not take this token.",
            "Copy it again from your hub settings; one with read access is enough.",
            where=_WHERE,
        ) from None
    except models.unreachable():
        raise fail(
            "model.offline",
            "The hub cannot be reached, so the token cannot be checked.",
            "Check the network and try again.",
            where=_WHERE,
        ) from None
    return account(job)


def sign_out(job: JobContext) -> events.AccountFound:
    """Takes the token out of the hub's store; one in the environment stays."""
    import huggingface_hub
    from huggingface_hub import constants

    if Path(constants.HF_TOKEN_PATH).exists():
        huggingface_hub.logout()
    return account(job)
