"""The worker process, the only one that imports torch."""

from lora_studio.engine.runtime import offline

offline.enforce()  # in every process of the engine, whichever module it is started with
