"""Both layouts of llama.cpp's converter: a package beside the script, and a single file."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from lora_studio.core import llama_cpp
from lora_studio.core.problems import ProblemError
from lora_studio.core.protocol import events
from lora_studio.core.runs.folder import RunFolder
from lora_studio.engine.export.gguf import conversion, converter
from lora_studio.engine.selftest import selftest
from tests.helpers.models.llama_cpp_folder import llama_cpp_folder, packaged_llama_cpp
from tests.helpers.models.old_converter import old_llama_cpp_folder
from tests.helpers.models.tiny_models import tiny_model, write_config
from tests.helpers.runs.recorded_job import recorded_job
from tests.helpers.runs.tiny_run import tiny_run


def test_built_in_converter_is_a_package_and_reviewed_whole() -> None:
    folder = packaged_llama_cpp()
    reviewed = {Path(file) for file in llama_cpp.find_programs(folder).files}
    assert {Path("convert_hf_to_gguf.py"), Path("conversion/llama.py")} <= reviewed


@pytest.mark.slow
def test_single_file_converter_writes_equal_tensors(tmp_path: Path) -> None:
    model = tiny_model("llama3", tmp_path / "model")
    written = []
    for folder in (old_llama_cpp_folder(tmp_path / "old"), llama_cpp_folder(tmp_path / "new")):
        file = tmp_path / f"{folder.name}.gguf"
        job, recorder = recorded_job()
        tool = converter.convert(model, file, "pim", str(folder), job, kind="BF16")
        assert str(tool) == f"llama.cpp in {folder}"
        assert recorder.of(events.Progress)[-1].done == 100
        tensors = gguf.GGUFReader(file).tensors
        written.append({tensor.name: (tensor.tensor_type, tensor.data) for tensor in tensors})
    old, new = written
    assert old.keys() == new.keys()
    for name, (kind, data) in old.items():
        assert kind == new[name][0], name
        assert np.array_equal(data, new[name][1]), name


@pytest.mark.slow
@pytest.mark.thorough
def test_single_file_converter_exports_a_run_that_passes(tmp_path: Path) -> None:
    run = create_old_run(tmp_path)
    job, recorder = recorded_job()
    with conversion.convert_run(run, run.load_project(), job) as converted:
        results = selftest.run(run, run.load_project(), converted.get_stages(), job)
    assert [(result.stage, result.verdict) for result in results] == [("F16", "passed")]
    logs = " ".join(str(log.text) for log in recorder.of(events.LogLine))
    assert "this version of llama.cpp can't merge weights while reading them" in logs


@pytest.mark.slow
def test_architecture_of_only_the_built_in_converter_is_named(tmp_path: Path) -> None:
    model = tiny_model("qwen3", tmp_path / "model")
    old = str(old_llama_cpp_folder(tmp_path / "old"))
    problems = []
    for architecture in ("Qwen3ForCausalLM", "NovelForCausalLM"):
        write_config(model, architectures=[architecture])
        with pytest.raises(ProblemError) as caught:
            converter.convert(model, tmp_path / "f.gguf", "pim", old, recorded_job()[0])
        problems += caught.value.problems
    assert [problem.code for problem in problems] == ["gguf.unsupported_architecture"] * 2
    assert "The built-in llama.cpp supports it" in str(problems[0].remedy)
    assert "A newer llama.cpp may support it" in str(problems[1].remedy)


def create_old_run(folder: Path) -> RunFolder:
    run = tiny_run("llama3", folder, quantizations=("F16",))
    project = run.load_project()
    old = str(old_llama_cpp_folder(folder / "old"))
    spec = project.export.model_copy(update={"llama_cpp": old})
    run.write_project(project.model_copy(update={"export": spec}))
    return run
