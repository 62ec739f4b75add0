"""The worker process, the only one that imports torch."""

from lora_studio.core.system import telemetry
from lora_studio.engine.runtime import offline

# In every process of the engine, whichever module it is started with, before libraries are imported.
telemetry.turn_off()
offline.enforce()
