#!/usr/bin/env bash
# Notarizes a signed disk image with Apple and staples the ticket to it.
#   bash packaging/macos/notarize.sh IMAGE PROFILE
# Create PROFILE once with: xcrun notarytool store-credentials PROFILE --apple-id … --team-id …
set -euo pipefail
readonly image=$1 profile=$2

# A rejection can have a nonzero exit status, and its reasons are needed too.
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
