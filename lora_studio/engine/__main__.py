"""`python -m lora_studio.engine`: a worker that speaks JSON lines on stdin and stdout."""

import os

from lora_studio.core.network.secrets import print_exception
from lora_studio.core.protocol.base import NO_PROCESSES
from lora_studio.engine.runtime.failures import is_out_of_processes
from lora_studio.engine.worker import main

try:
    main()
except Exception as error:
    if not is_out_of_processes(error):
        raise
    print_exception(error)
    os._exit(NO_PROCESSES)
