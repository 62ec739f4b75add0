#!/usr/bin/env bash
# Whether the Windows installer compiles, on Linux, around stand-ins for the frozen programs.
#   bash packaging/windows/compile_check.sh OUT      needs makensis and the icons that build.sh drew
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")"

readonly out=$1 icons=${ICONS:-/out/frozen/work}
rm -rf "$out"
mkdir -p "$out/bundle/_internal"
for name in "LoRA Studio.exe" lora-studio.exe _internal/library.dll; do
    echo stand-in >"$out/bundle/$name"
done
identity=$(python3 ../identity.py)
eval "$identity"
makensis -V2 -WX -INPUTCHARSET UTF8 -DVERSION=0.0.0 -DBUNDLE="$out/bundle" -DICONS="$icons" \
    -DLICENCE="$PWD/../../LICENSE" -DOUT="$out/LoRA-Studio-0.0.0-setup.exe" \
    -DPUBLISHER="$DEVELOPER" -DHOME_PAGE="$HOME_PAGE" installer.nsi
file "$out/LoRA-Studio-0.0.0-setup.exe" | grep PE32+
