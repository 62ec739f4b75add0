#!/usr/bin/env bash
# Takes the documentation's pictures anew, in packaging/docs/images.
# Needs the test tools (bootstrap.sh setup).
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/.."

taken=$(mktemp -d)
trap 'rm -rf "$taken"' EXIT
QT_QPA_PLATFORM=offscreen python -m tests.screenshots "$taken" --theme light --width 1280 \
    --only dataset-tokens training-done export-done
mkdir -p packaging/docs/images
while read -r shot name; do
    cp "$taken/$shot-1280-light.png" "packaging/docs/images/$name.png"
done <<'END'
dataset-tokens dataset
training-done training
export-done export
END
ls -l packaging/docs/images
