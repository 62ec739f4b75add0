#!/usr/bin/env bash
# Takes the documentation's pictures anew, in packaging/docs/images, small enough for a repository.
# Needs the test tools (bootstrap.sh setup) and ImageMagick.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

taken=$(mktemp -d)
trap 'rm -rf "$taken"' EXIT
python -m tests.screenshots "$taken" --theme light --width 1280 \
    --only dataset-tokens training-done export-done
mkdir -p packaging/docs/images
while read -r shot name; do
    # The window has few colours: a palette halves the file and shows no difference.
    convert "$taken/$shot-1280-light.png" -dither None -colors 64 -strip \
        -define png:compression-level=9 "PNG8:packaging/docs/images/$name.png"
done <<'END'
dataset-tokens dataset
training-done training
export-done export
END
ls -l packaging/docs/images
