"""Sign in to the Hugging Face Hub; the token is saved in the Hub library's own store only."""

from __future__ import annotations

import os
from pathlib import Path

from lora_studio.core.messages import text
from lora_studio.core.network.purposes import Purpose
from lora_studio.core.problems import ProblemError, Where, fail
from lora_studio.core.protocol import events
from lora_studio.core.system import offline
from lora_studio.engine.hub.client import contact_hub
from lora_studio.engine.hub.errors import get_unreachable_errors
from lora_studio.engine.runtime.channel import JobContext

_WHERE = Where(step="model", field="source")
_STAGE = text("contacting the Hub")


def read_account(job: JobContext) -> events.AccountFound:
    """Return whose token is used; the name is "" without a token or when the Hub can't be reached."""
    import huggingface_hub

    token = huggingface_hub.get_token()
    if token is None:
        return events.AccountFound(name="", has_token=False)
    job.report_progress(_STAGE, 0, None)
    from_environment = bool(os.environ.get("HF_TOKEN"))
    try:
        with contact_hub(Purpose.HUB_ACCOUNT):
            name = str(huggingface_hub.HfApi().whoami(token=token).get("name", ""))
    except get_unreachable_errors():
        name = ""
    return events.AccountFound(name=name, has_token=True, from_environment=from_environment)


def sign_in(token: str, job: JobContext) -> events.AccountFound:
    """Save a token that the Hub accepts; raises ProblemError for one that it rejects."""
    from huggingface_hub import errors

    token = token.strip()
    if not token:
        raise fail(
            "model.token",
            "No token was given.",
            "Copy one from your Hugging Face settings and paste it here.",
            where=_WHERE,
        )
    job.report_progress(_STAGE, 0, None)
    try:
        with contact_hub(Purpose.HUB_ACCOUNT):
            _log_in(token)
    except errors.OfflineModeIsEnabled:
        raise fail(
            "model.offline",
            "Offline mode is on, so the token can't be checked.",
            offline.REMEDY,
            where=_WHERE,
        ) from None
    except errors.HfHubHTTPError:
        # From None: the library's message may hold what was sent.
        raise _rejected_token_error() from None
    except get_unreachable_errors():
        raise fail(
            "model.offline",
            "The Hub can't be reached, so the token can't be checked.",
            "Check the network and try again.",
            where=_WHERE,
        ) from None
    return read_account(job)


def _log_in(token: str) -> None:
    import huggingface_hub

    try:
        huggingface_hub.login(token=token, add_to_git_credential=False, skip_if_logged_in=False)
    except ValueError:  # its message may hold the token
        raise _rejected_token_error() from None


def _rejected_token_error() -> ProblemError:
    return fail(
        "model.token",
        "The Hub rejected this token.",
        "Copy it again from your Hugging Face settings. Read access is enough.",
        where=_WHERE,
    )


def sign_out(job: JobContext) -> events.AccountFound:
    """Remove the token from the Hub library's store; one in the environment stays."""
    import huggingface_hub
    from huggingface_hub import constants

    if Path(constants.HF_TOKEN_PATH).exists():
        huggingface_hub.logout()
    return read_account(job)
