"""End with status 1 if this process can't use CUDA, because one that it was forked from has."""

from __future__ import annotations

import sys

import torch

if __name__ == "__main__":
    sys.exit(int(torch.cuda._is_in_bad_fork()))
