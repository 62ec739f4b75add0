#!/usr/bin/env bash
# Takes the documentation's pictures anew, in packaging/docs/images, small enough for a repository.
# Needs the test tools (bootstrap.sh setup), of which Pillow comes with the engine's libraries.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

taken=$(mktemp -d)
trap 'rm -rf "$taken"' EXIT
QT_QPA_PLATFORM=offscreen python -m tests.screenshots "$taken" --theme light --width 1280 \
    --only dataset-tokens training-done export-done
mkdir -p packaging/docs/images
python - "$taken" packaging/docs/images <<'END'
import sys
from pathlib import Path

from PIL import Image

taken, target = map(Path, sys.argv[1:])
for shot, name in (("dataset-tokens", "dataset"), ("training-done", "training"), ("export-done", "export")):
    picture = Image.open(taken / f"{shot}-1280-light.png").convert("RGB")
    # A palette makes the file a third as large; this method keeps every colour within 5 of 255.
    few = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(target / f"{name}.png", optimize=True)
END
ls -l packaging/docs/images
