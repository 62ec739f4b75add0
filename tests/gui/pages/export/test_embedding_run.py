"""The export page of an embedding run: vectors in place of answers."""

from __future__ import annotations

from PySide6.QtGui import QGuiApplication
from pytestqt.qtbot import QtBot

from lora_studio.core.protocol import events
from lora_studio.core.protocol.export import VectorProof
from lora_studio.core.runs.folder import RunFolder
from lora_studio.gui.pages.export.page import ExportPage
from lora_studio.gui.project.state import ProjectState
from tests.helpers.runs.job_events import export_events, merge_events, play_events, show_widget

PROOF = VectorProof(compared=16, least=0.9994, mean=0.9998, limit=0.99)


def test_exported_embedding_model_offers_vectors_and_no_chat(
    qtbot: QtBot, state: ProjectState, run: RunFolder
) -> None:
    run.update_manifest(dataset={"task": "embedding"})
    page = show_widget(qtbot, ExportPage(state))
    state.set_run(run, "")
    started, written, _, _, created, done = export_events(run)
    tested = events.SelfTested(
        id="e", stage="Q4_K_M", passed=True, similarity=0.9876, similarity_limit=0.9
    )
    assert isinstance(created, events.OllamaCreated)
    compared = created.model_copy(update={"vectors": PROOF})
    play_events(page, [*merge_events(run), started, written, tested, compared, done])
    assert (page.header.primary.text(), page.again.isHidden()) == ("Export again", True)
    assert page.evaluation.isHidden()
    assert page.template_card.isHidden()
    assert {name for name, editor in page.editors.items() if editor.isHidden()} >= {
        "system_prompt", "temperature", "top_p", "adapter_gguf",
    }  # fmt: skip
    assert page.result.verdict.text().endswith("and Ollama gives the same vectors.")
    assert "16 texts have a cosine similarity of at least 0.9994" in page.result.server_proof.text()
    page.results.copy_run.click()
    assert "http://127.0.0.1:11434/api/embed" in QGuiApplication.clipboard().text()
    page.results.copy_llama.click()
    assert QGuiApplication.clipboard().text().endswith("Q4_K_M.gguf' --embeddings")
