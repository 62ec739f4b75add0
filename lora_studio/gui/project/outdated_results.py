"""Results of a run that were created with other settings than the project's."""

from __future__ import annotations

from contextlib import suppress

from lora_studio.core.problems import ProblemError
from lora_studio.core.project.presets import SettingDifference
from lora_studio.core.runs import step_records
from lora_studio.core.runs.step_records import RecordedStep
from lora_studio.gui.language import tr
from lora_studio.gui.message_translation import localize
from lora_studio.gui.project.state import ProjectState


class OutdatedResults:
    """Compares the settings that made each result with the project's; reads two small files."""

    def __init__(self, state: ProjectState) -> None:
        """Start without differences."""
        self._state = state
        self._changes: dict[RecordedStep, tuple[SettingDifference, ...]] = {}

    def compare(self) -> None:
        """Compare again: a job has ended, another run is followed, or a setting changed."""
        run, self._changes = self._state.run, {}
        if run is None or self._state.running:
            return
        for step in step_records.STEPS:
            spec = self._state.get_spec("merging" if step == "merge" else "export")
            if spec is not None:
                with suppress(ProblemError):
                    self._changes[step] = step_records.list_outdated(run, spec, step)

    def describe_changes(self, step: RecordedStep) -> str:
        """Return the settings that differ, with both values; "" if the result is up to date."""
        return ", ".join(localize(change.text) for change in self._changes.get(step, ()))

    def describe_merged(self) -> tuple[str, str]:
        """Return title and remedy of an outdated merged model."""
        return tr("⚠ The merged model is out of date"), tr(
            "It was merged with other settings: {changes}. Merge again to apply them."
        ).format(changes=self.describe_changes("merge"))

    def describe_exported(self) -> tuple[str, str]:
        """Return title and remedy of outdated GGUF files."""
        return tr("⚠ The exported files are out of date"), tr(
            "They were created with other settings: {changes}. Export again to apply them."
        ).format(changes=self.describe_changes("export"))

    def describe_ollama(self) -> tuple[str, str]:
        """Return title and remedy of an outdated model in Ollama."""
        return tr("⚠ The Ollama model is out of date"), tr(
            "It was created with other settings: {changes}. Export again, or create the model again, "
            "to apply them."
        ).format(changes=self.describe_changes("create_ollama"))

    def list_results(self, *, has_merged: bool, is_exported: bool) -> list[tuple[str, str]]:
        """Return title and remedy of each outdated result that an export uses or has created."""
        results = []
        # One that isn't exported because it was rounded decides on the settings all the same.
        uses_merged = has_merged and self._state.get("export", "convert_from") != "adapter"
        if uses_merged and self.describe_changes("merge"):
            results.append(self.describe_merged())
        if is_exported and self.describe_changes("export"):
            results.append(self.describe_exported())
        if self.describe_changes("create_ollama"):
            results.append(self.describe_ollama())
        return results
