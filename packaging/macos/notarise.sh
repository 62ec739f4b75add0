#!/usr/bin/env bash
# Has Apple look over a signed disk image, and staples the ticket to it.
#   bash packaging/macos/notarise.sh IMAGE PROFILE
# PROFILE is made once by: xcrun notarytool store-credentials PROFILE --apple-id … --team-id …
set -euo pipefail
readonly image=$1 profile=$2

# A refusal may end with another status than 0: its reasons are wanted all the same.
answer=$(xcrun notarytool submit "$image" --keychain-profile "$profile" --wait --output-format json) || true
echo "$answer"
status=$(plutil -extract status raw -o - - <<<"$answer")
if [ "$status" != Accepted ]; then
    id=$(plutil -extract id raw -o - - <<<"$answer")
    xcrun notarytool log "$id" --keychain-profile "$profile" >&2
    exit 1
fi
xcrun stapler staple "$image"
xcrun stapler validate "$image"
spctl --assess --type open --context context:primary-signature --verbose "$image"
