"""The worker process: torch lives here and nowhere else."""

from lora_studio.engine.runtime import offline

offline.enforce()  # in every process of the engine, whichever module it is started with
