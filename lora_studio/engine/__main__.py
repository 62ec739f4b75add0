"""`python -m lora_studio.engine`: a worker that speaks JSON lines on stdin and stdout."""

from lora_studio.engine.worker import main

main()
