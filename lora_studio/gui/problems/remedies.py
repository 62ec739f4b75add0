"""What a user can do about a problem: one thing to press for every problem there is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lora_studio.core.problems import Problem
from lora_studio.core.system import offline
from lora_studio.gui.language import mark, tr
from lora_studio.gui.message_translation import tell

Deed = Literal["fix", "jump", "file", "raise", "engine", "resume", "online", "sign_in", "explain"]

#: Problems that a set-up of the engine solves.
ENGINE_HELPS = (
    "engine.missing", "engine.version", "engine.gone", "engine.check", "engine.python_lacks",
)  # fmt: skip

#: Problems that a token of the hub solves.
_TOKEN_HELPS = (
    "model.gated", "dataset.gated", "model.token", "dataset.token", "hub.no_token",
    "hub.not_allowed",
)  # fmt: skip
#: Problems of memory: what takes it, and what makes it fit, is on the Train page.
_MEMORY = ("worker.out_of_memory", "device.out_of_memory", "training.does_not_fit")

#: Where a problem is dealt with that names neither a step nor a file: by its code, else by the first part
#: of it.
_PLACES: dict[str, str] = {
    "chat.no_adapter": "training", "chat.no_template": "model", "chat.no_model": "merging",
    "chat.not_merged": "merging", "chat.no_gguf": "export",
    "merging.no_adapter": "training", "export.no_adapter": "training", "run.no_adapter": "training",
    "export.not_merged": "merging", "selftest.not_merged": "merging", "project.newer": "settings",
    "model": "model", "lora": "lora", "dataset": "dataset", "lint": "dataset",
    "training": "training", "cluster": "training", "estimate": "training",
    "merging": "merging", "import": "merging", "adapters": "merging",
    "export": "export", "gguf": "export", "imatrix": "export", "quantize": "export",
    "ollama": "export", "selftest": "export", "template": "export",
    "run": "runs", "queue": "runs", "grid": "runs", "update": "settings",
}  # fmt: skip

STEP_TITLES: dict[str, str] = {
    "model": mark("Model"), "lora": mark("LoRA"), "dataset": mark("Dataset"),
    "training": mark("Train"), "merging": mark("Merge"), "export": mark("Export"),
}  # fmt: skip


#: The places that are no step.
PAGE_TITLES: dict[str, str] = {
    "runs": mark("Runs"), "playground": mark("Playground"), "settings": mark("Settings"),
}  # fmt: skip


@dataclass(frozen=True)
class SuggestedActions:
    """The first thing to press, what it says, and the step or place that a `jump` leads to."""

    deed: Deed
    label: str
    place: str = ""


def what_now(problem: Problem) -> SuggestedActions:
    """The fix where there is one, else the place, else the file, else an explanation by its code."""
    if problem.fix is not None:
        return SuggestedActions("fix", tell(problem.fix.label))
    if problem.code.endswith("offline") and offline.is_on():
        return SuggestedActions("online", tr("Turn offline mode off"))
    if problem.code in _TOKEN_HELPS:
        return SuggestedActions("sign_in", tr("Sign in…"))
    if problem.code == "project.open_elsewhere":
        return SuggestedActions("raise", tr("Show that window"))
    if problem.code == "run.interrupted":
        return SuggestedActions("resume", tr("Resume"))
    family = problem.code.partition(".")[0]
    if (step := problem.where.step) is not None:
        return _leading_to(step)
    if problem.code in _MEMORY:
        return _leading_to("training")
    if family == "engine":
        return SuggestedActions("engine", tr("Set up the engine…"))
    file = Path(problem.where.file) if problem.where.file else None
    if file is not None and file.is_dir():
        return SuggestedActions("file", tr("Open folder"))
    if file is not None and file.is_file():
        log = file.suffix in (".txt", ".log")
        return SuggestedActions("file", tr("Open log") if log else tr("Open file"))
    if (place := _PLACES.get(problem.code) or _PLACES.get(family)) is not None:
        return _leading_to(place)
    return SuggestedActions("explain", tr("What now?"))


def _leading_to(place: str) -> SuggestedActions:
    titles = STEP_TITLES | PAGE_TITLES
    return SuggestedActions("jump", tr("Go to {place}").format(place=tr(titles[place])), place)


#: What is behind the problems of each kind, by the first part of their code.
_FAMILIES = {
    "adapters": mark(
        "Adapters can only be combined when they were made for the same base model. Merge shows for "
        "each what it was trained on."
    ),
    "chat": mark(
        "Answers need a run whose adapter is trained, or a model that was merged or exported. Pick "
        "another source, or finish that step first."
    ),
    "cluster": mark(
        "A folder for a cluster holds everything it needs by relative paths. Copy it as a whole, and "
        "start it with the command in its README.md."
    ),
    "dataset": mark(
        "The Dataset page shows row by row what was read and why something was left out. Nothing you "
        "do there changes your files."
    ),
    "device": mark(
        "Memory of a device is shared by all programs. Close others that use it, or choose a smaller "
        "precision, rank, length or micro-batch: Train shows what each of them takes."
    ),
    "disk": mark(
        "Models and checkpoints are large. Free space on that disk or choose another folder; nothing "
        "that was complete is lost."
    ),
    "engine": mark(
        "The engine is the part with PyTorch and the training libraries, installed beside the window. "
        "Settings shows which one is in use; `lora-studio engine check` tests it and `lora-studio "
        "engine repair` mends it."
    ),
    "export": mark(
        "Export reads the merged model of a run and writes GGUF files. It can be repeated as often as "
        "you like; training is not touched."
    ),
    "files": mark(
        "Another program may have the file open, or the disk may be full, gone or write-protected. "
        "What was there before is still as it was."
    ),
    "grid": mark(
        "A grid search makes a run for each combination of values and puts them into the queue. The "
        "project itself stays as it is."
    ),
    "hub": mark(
        "The hub was not reachable, or did not allow this. Models that ask for consent need a token "
        "with access to them; everything on your own disk works without a network."
    ),
    "lint": mark(
        "Faults in data are shown under Findings on the Dataset page, with their rows and, where that "
        "is possible, a repair that leaves your files alone."
    ),
    "lora": mark(
        "Which parts of a model can be adapted depends on the model. The LoRA page shows what it has."
    ),
    "merging": mark(
        "Merging adds the adapter to a full copy of its base model. Base and adapter have to belong "
        "together, and the disk needs room for that copy."
    ),
    "model": mark(
        "A base model is a folder in the layout of Hugging Face with safetensors weights, a model of "
        "the hub, or a GGUF file. The Model page shows what was found in it."
    ),
    "ollama": mark(
        "Ollama is a program of its own. It has to be installed and running at the address on the "
        "Export page; `ollama list` in a terminal shows whether it answers."
    ),
    "offline": mark(
        "In offline mode no part of the program speaks to another computer. Models, data and an Ollama "
        "server on this computer are used as ever; what needs the hub waits until you turn it off."
    ),
    "project": mark(
        "A project is a folder with one text file and the runs beside it. The file is written in one "
        "step, so that a full disk or a crash never leaves half of it."
    ),
    "queue": mark(
        "The queue is a file in the project's runs folder, which every window and the command line "
        "share. The runs in it are whole without it."
    ),
    "run": mark(
        "A run is a folder that holds everything about one training. The one that is at work is "
        "locked; others can be merged, exported and deleted."
    ),
    "selftest": mark(
        "The self-test asks the same questions of each form of the model. A difference means that "
        "what would run is not what you trained; do not use that file before it passes."
    ),
    "template": mark(
        "A chat template says how a conversation becomes text. Ollama writes it in another language "
        "than Hugging Face; the translation is only used when it is proven to give the same text."
    ),
    "training": mark(
        "The recipe on the Train page is checked before each start. What does not apply to your data "
        "or device is told beside its field."
    ),
    "update": mark(
        "Whether there is a newer version is read from one address, which Settings shows. Nothing else "
        "in the program needs it."
    ),
    "worker": mark(
        "Each job has a process of its own, which ended by itself. Checkpoints and adapters that were "
        "written are intact. The log of the run has its last words."
    ),
    "window": mark(
        "This is a fault of the program. Your project is saved, and a job under way goes on without "
        "the window. A diagnostics file (Help) has what is needed to find the cause."
    ),
}
_ANY = mark(
    "The remedy above is what usually helps. The log tells more, and a diagnostics file (Help) has "
    "what others need to help you."
)


#: Kinds that are part of another one.
_KIN = {
    "estimate": "device", "gguf": "export", "imatrix": "export", "import": "merging",
    "playground": "files", "quantize": "export",
}  # fmt: skip


def explained(problem: Problem) -> str:
    """A paragraph about problems of this kind."""
    family = problem.code.partition(".")[0]
    family = "device" if problem.code in _MEMORY else _KIN.get(family, family)
    return tr(_FAMILIES.get(family, _ANY))
