#!/usr/bin/env bash
# Compiles the Windows installer on Linux, with substitutes for the frozen programs.
#   bash packaging/windows/compile_check.sh OUT [VERSION [BUNDLE]]
# Needs makensis, and the icons drawn by freeze.py in the folder ICONS.
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")"

readonly out=$1 version=${2:-0.0.0} bundle=${3:-$1/bundle} icons=${ICONS:-/out/frozen/work}
readonly setup=$out/LoRA-Studio-$version-setup.exe
mkdir -p "$out"
if [ -z "${3:-}" ]; then
    mkdir -p "$bundle/_internal"
    for name in "LoRA Studio.exe" lora-studio.exe _internal/library.dll; do
        echo stand-in >"$bundle/$name"
    done
fi
identity=$(python3 ../identity.py)
eval "$identity"
makensis -V2 -WX -INPUTCHARSET UTF8 -DVERSION="$version" -DBUNDLE="$bundle" -DICONS="$icons" \
    -DLICENCE="$PWD/../../LICENSE" -DOUT="$setup" \
    -DPUBLISHER="$DEVELOPER" -DHOME_PAGE="$HOME_PAGE" installer.nsi
file "$setup" | grep PE32
