#!/usr/bin/env bash
# Creates an AppDir from the file tree of build.sh and, with the runtime, an AppImage.
#   bash packaging/linux/appimage.sh ROOT OUT
# An AppImage is the AppImage project's runtime file followed by a squashfs of the AppDir. The runtime
# isn't included: set APPIMAGE_RUNTIME to its path. Needs mksquashfs. ZSTD_LEVEL is the compression
# level, 1 to 22 (default 19).
set -euo pipefail
readonly root=$1 out=$2
readonly app=$out/LoRA_Studio.AppDir image=$out/LoRA_Studio-$VERSION-x86_64.AppImage

# These bytes identify a runtime, and the AppImage, as type 2.
if [ -n "${APPIMAGE_RUNTIME:-}" ] && [ "$(dd if="$APPIMAGE_RUNTIME" bs=1 skip=8 count=3 status=none | od -An -tx1)" != " 41 49 02" ]; then
    echo "$APPIMAGE_RUNTIME is no runtime for AppImages of type 2." >&2
    exit 1
fi

rm -rf "$app"
mkdir -p "$app"
cp -a "$root/usr" "$app/usr"
rm -r "$app/usr/share/lintian"
ln -s usr/share/applications/lora-studio.desktop "$app/lora-studio.desktop"
ln -s usr/share/icons/hicolor/256x256/apps/lora-studio.png "$app/lora-studio.png"
ln -s lora-studio.png "$app/.DirIcon"
cat >"$app/AppRun" <<'END'
#!/bin/sh
# The program finds its files next to itself; its child processes must not see the AppImage's variables.
here=$(dirname "$(readlink -f "$0")")
unset APPDIR ARGV0
exec "$here/usr/lib/lora-studio/lora-studio" "$@"
END
chmod 755 "$app/AppRun"
if [ -z "${APPIMAGE_RUNTIME:-}" ]; then
    echo "AppDir only: APPIMAGE_RUNTIME names no runtime to make an AppImage with."
    exit
fi
# Blocks of 1 MB, the maximum, make it 8 % smaller than blocks of 128 KB.
mksquashfs "$app" "$out/app.squashfs" -root-owned -noappend -quiet -no-progress \
    -comp zstd -b 1M -Xcompression-level "${ZSTD_LEVEL:-19}"
cat "$APPIMAGE_RUNTIME" "$out/app.squashfs" >"$image"
chmod 755 "$image"
rm "$out/app.squashfs"
