#!/usr/bin/env bash
# Has Apple look over a signed disk image, and staples the ticket to it.
#   bash packaging/macos/notarise.sh IMAGE PROFILE
# PROFILE is made once by: xcrun notarytool store-credentials PROFILE --apple-id … --team-id …
set -euo pipefail
readonly image=$1 profile=$2

answer=$(xcrun notarytool submit "$image" --keychain-profile "$profile" --wait --output-format json)
echo "$answer"
if [[ $answer != *'"status":"Accepted"'* ]]; then
    id=$(plutil -extract id raw - <<<"$answer")
    xcrun notarytool log "$id" --keychain-profile "$profile" >&2
    exit 1
fi
xcrun stapler staple "$image"
xcrun stapler validate "$image"
spctl --assess --type open --context context:primary-signature --verbose "$image"
