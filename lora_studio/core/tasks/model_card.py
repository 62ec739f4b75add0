"""What model cards say about the models of a task."""

from __future__ import annotations

from dataclasses import dataclass

_LOAD = """```python
{imports}

model = {call}
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{{repository}}")
```"""


def format_peft_usage(model_class: str, arguments: str = "") -> str:
    """Return the code that loads an adapter with the class of PEFT for a class of models."""
    name = f"AutoPeftModelFor{model_class}"
    return _LOAD.format(
        imports=f"from peft import {name}",
        call=f'{name}.from_pretrained("{{repository}}"{arguments}{{attention}})',
    )


@dataclass(frozen=True)
class ModelCard:
    """Purpose and use of a model.

    `purpose` completes "A LoRA adapter for BASE …"; `pipeline` is the name of a pipeline of transformers, `tags` are
    further tags on the Hub. What shows the use of an adapter, a merged model, and a GGUF file has fields for the
    `repository`, the `base`, and the arguments of a base with capped attention scores: `attention` of
    `from_pretrained`, `keywords` of pipelines.
    """

    purpose: str = ""
    pipeline: str = "text-generation"
    tags: tuple[str, ...] = ()
    adapter: str = format_peft_usage("CausalLM")
    merged: str = _LOAD.format(
        imports="from transformers import AutoModelForCausalLM",
        call='AutoModelForCausalLM.from_pretrained("{repository}"{attention})',
    )
    gguf: str = "llama-cli -hf {repository} -cnv"
