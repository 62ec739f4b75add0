#!/usr/bin/env bash
# Builds the app and its disk image on macOS: bash packaging/macos/build.sh [OUT]      default: dist
# Needs Python 3.11 to 3.13 from python.org or uv (a framework or shared build) and Xcode's tools.
# Environment:
#   SIGN_IDENTITY   "Developer ID Application: …" in the keychain, to sign the app and the image with. Without it,
#                   the app is signed ad hoc: it runs on this machine, and other machines warn about it
#   NOTARY_PROFILE  profile of `xcrun notarytool store-credentials`, to notarize the signed image with
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/../.."

out=${1:-dist}
rm -rf "$out"
mkdir -p "$out"
out=$(cd "$out" && pwd -P)
readonly app="$out/frozen/LoRA Studio.app" python=$out/venv/bin/python

"${PYTHON:-python3}" -m venv "$out/venv"
"$python" -m pip install --quiet ".[packaging]"
PATH=$out/venv/bin:$PATH "$python" packaging/freeze.py "$out/frozen"
version=$("$python" -c 'import lora_studio; print(lora_studio.__version__)')
architecture=$(uname -m)
readonly image=$out/LoRA-Studio-$version-$architecture.dmg

sign() {
    codesign --force --timestamp --options runtime --entitlements packaging/macos/entitlements.plist \
        --sign "$SIGN_IDENTITY" "$1"
}

if [ -n "${SIGN_IDENTITY:-}" ]; then
    # From the inside out, because signed files must not change. The program itself comes last, with the app
    # whose seal it contains.
    find "$app/Contents" -type f ! -path "$app/Contents/MacOS/lora-studio" \( -name '*.dylib' -o -name '*.so' -o -perm -u+x \) -print0 |
        while IFS= read -r -d '' file; do
            if file -b "$file" | grep -q Mach-O; then sign "$file"; fi
        done
    sign "$app"
else
    codesign --force --deep --sign - "$app"
fi
codesign --verify --deep --strict "$app"
plutil -lint "$app/Contents/Info.plist"
"$out/venv/bin/dmgbuild" -s packaging/macos/dmg_settings.py -D app="$app" "LoRA Studio" "$image"
[ -z "${SIGN_IDENTITY:-}" ] || codesign --force --timestamp --sign "$SIGN_IDENTITY" "$image"
if [ -n "${NOTARY_PROFILE:-}" ]; then
    bash packaging/macos/notarize.sh "$image" "$NOTARY_PROFILE"
fi
"$app/Contents/MacOS/lora-studio" --version
ls -l "$image"
