"""Why rewards could not rate an answer."""

from __future__ import annotations

from dataclasses import dataclass, field

from lora_studio.core.messages import Text


@dataclass(frozen=True)
class RewardFailure:
    """A reward that has no value for an answer: its name, the answer's index, and the reason."""

    reward: str
    index: int
    reason: Text


@dataclass
class FailureList:
    """The failures of one call of a reward."""

    reasons: dict[int, Text] = field(default_factory=dict)

    def add_failure(self, index: int, reason: Text) -> float | None:
        """Note why an answer has no value, and return None in its stead."""
        self.reasons[index] = reason
        return None

    def take_all(self) -> dict[int, Text]:
        """Return the failures since the last call, and forget them."""
        reasons, self.reasons = self.reasons, {}
        return reasons
