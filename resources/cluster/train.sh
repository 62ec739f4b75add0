#!/usr/bin/env bash
# Trains this run: one call on every node, each with its own MACHINE_RANK.
# Without any setting it trains on all GPUs of this machine. README.md says more.
set -euo pipefail
cd "$(dirname "$0")"

MACHINES=${MACHINES:-1}           # how many nodes train
MACHINE_RANK=${MACHINE_RANK:-0}   # which of them this is: 0 for the first
MAIN_ADDRESS=${MAIN_ADDRESS:-127.0.0.1}  # name or address of node 0
MAIN_PORT=${MAIN_PORT:-29500}     # a free port there
PER_MACHINE=${PER_MACHINE:-$(python -c 'import torch; print(max(1, torch.cuda.device_count()))')}

exec accelerate launch \
  --multi_gpu \
  --num_machines "$MACHINES" \
  --machine_rank "$MACHINE_RANK" \
  --num_processes "$((MACHINES * PER_MACHINE))" \
  --main_process_ip "$MAIN_ADDRESS" \
  --main_process_port "$MAIN_PORT" \
  --mixed_precision no \
  --dynamo_backend no \
  -m lora_studio.engine.cluster . "$@"@OPTIONS@
