#!/usr/bin/env bash
# Takes the screenshots of the documentation (packaging/docs/images), compressed for the repository.
# Needs the test tools (bootstrap.sh setup).
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

taken=$(mktemp -d)
trap 'rm -rf "$taken"' EXIT
QT_QPA_PLATFORM=offscreen python -m tests.screenshots "$taken" --theme light --width 1280 \
    --only dataset-tokens training-done export-done engine-plan
mkdir -p packaging/docs/images
python - "$taken" packaging/docs/images <<'END'
import sys
from pathlib import Path

from PIL import Image

taken, target = map(Path, sys.argv[1:])
shots = {
    "dataset-tokens": "dataset", "training-done": "training", "export-done": "export",
    "engine-plan": "engine",
}
for shot, name in shots.items():
    picture = Image.open(taken / f"{shot}-1280-light.png").convert("RGB")
    # A palette makes the file a third as large. What covers most of it keeps its very color; the edges of
    # letters share the rest.
    often = sorted(picture.getcolors(1 << 24), reverse=True)[:128]
    rest = picture.quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).getpalette()
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, color in often for part in color] + rest[: 3 * (256 - len(often))])
    few = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    few.save(target / f"{name}.png", optimize=True)
END
ls -l packaging/docs/images
