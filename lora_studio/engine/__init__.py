"""The worker process, the only one that imports torch."""

from lora_studio.core.network import connections

# In every process of the engine, whichever module it is started with, before libraries are imported.
connections.start()
