#!/usr/bin/env bash
# Builds the Linux packages of this checkout: .deb, .rpm, a tar file, and an AppDir.
#   bash packaging/linux/build.sh [OUT]      default: dist
# Needs Python 3.11 to 3.13 with venv and its shared library, and the programs binutils and
# dpkg-deb (Debian: python3-venv libpython3.11 binutils dpkg). The packages run on
# systems with this system's C library or a newer one, so build on the oldest that you support.
# Environment:
#   XZ_LEVEL           compression level, 1 to 9 (default 6); 1 is fast, and its packages are 18 % larger
#   APPIMAGE_RUNTIME   the AppImage project's runtime file for x86-64, to also build an .AppImage
set -euo pipefail
cd -P "$(dirname "${BASH_SOURCE[0]}")/../.."

out=$(realpath -m "${1:-dist}")
# Maximum size of a package in bytes.
readonly out packaging=$PWD/packaging root=$out/root largest=80000000
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

say() { printf '\n== %s\n' "$*"; }

freeze() {
    rm -rf "$out"
    mkdir -p "$out"
    "${PYTHON:-python3}" -m venv "$out/venv"
    "$out/venv/bin/python" -m pip install --quiet ".[packaging]"
    PATH=$out/venv/bin:$PATH "$out/venv/bin/python" packaging/freeze.py "$out/frozen"
}

# The oldest version of the C library that everything in the bundle runs with, such as 2.34.
needed_glibc() {
    find "$out/frozen/lora-studio" -type f \( -name '*.so*' -o -name lora-studio -o -name uv \) \
        -exec objdump -T {} + 2>/dev/null | grep -oE 'GLIBC_2\.[0-9]+' | sort -Vu | tail -1 | cut -d_ -f2
}

# Names of the libraries that the bundle needs but doesn't contain.
needed_libraries() {
    comm -23 <(find "$out/frozen/lora-studio" -type f \( -name '*.so*' -o -name lora-studio -o -name uv \) \
        -exec objdump -p {} + 2>/dev/null | awk '$1 == "NEEDED" { print $2 }' | LC_ALL=C sort -u) \
        <(find "$out/frozen/lora-studio" -name '*.so*' -printf '%f\n' | LC_ALL=C sort -u)
}

# put MODE SOURCE PLACE: copies a file into the tree and creates its folders.
put() { install -D -m "$1" "$2" "$root/$3"; }

# translate FILE: prints the file with its texts in every language.
translate() { "$out/venv/bin/python" packaging/translations.py --fill "$1"; }

# fill_in FILE: prints the file with the values of its @NAMES@.
fill_in() {
    sed "s|@VERSION@|$VERSION|; s|@DATE@|$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)|
        s|@IDENTIFIER@|$IDENTIFIER|; s|@DEVELOPER_ID@|$DEVELOPER_ID|; s|@DEVELOPER@|$DEVELOPER|
        s|@HOME_PAGE@|$HOME_PAGE|" "$1"
}

lay_out() {
    local size name
    mkdir -p "$root/usr/lib" "$root/usr/bin"
    cp -a "$out/frozen/lora-studio" "$root/usr/lib/lora-studio"
    ln -s ../lib/lora-studio/lora-studio "$root/usr/bin/lora-studio"
    translate packaging/linux/lora-studio.desktop >"$out/lora-studio.desktop"
    put 644 "$out/lora-studio.desktop" usr/share/applications/lora-studio.desktop
    translate packaging/linux/lora-studio-mime.xml >"$out/lora-studio-mime.xml"
    put 644 "$out/lora-studio-mime.xml" usr/share/mime/packages/lora-studio.xml
    translate packaging/linux/metainfo.xml >"$out/metainfo.xml.in"
    fill_in "$out/metainfo.xml.in" >"$out/metainfo.xml"
    put 644 "$out/metainfo.xml" "usr/share/metainfo/$IDENTIFIER.metainfo.xml"
    for name in lora-studio:apps lora-studio-project:mimetypes; do
        "$out/venv/bin/python" packaging/icons.py "packaging/${name%:*}.svg" "$out/icons/${name#*:}"
        put 644 "packaging/${name%:*}.svg" \
            "usr/share/icons/hicolor/scalable/${name#*:}/${name%:*}.svg"
        for size in "$out/icons/${name#*:}"/*; do
            put 644 "$size/${name%:*}.png" \
                "usr/share/icons/hicolor/${size##*/}/${name#*:}/${name%:*}.png"
        done
    done
    "$out/venv/bin/python" packaging/man_page.py | gzip -9n >"$out/lora-studio.1.gz"
    put 644 "$out/lora-studio.1.gz" usr/share/man/man1/lora-studio.1.gz
    fill_in packaging/linux/copyright >"$out/copyright"
    put 644 "$out/copyright" usr/share/doc/lora-studio/copyright
    for name in README.md CHANGELOG.md; do
        gzip -9nc "$name" >"$out/$name.gz"
        put 644 "$out/$name.gz" "usr/share/doc/lora-studio/$name.gz"
    done
    # Only the pictures that the pages show; larger ones are for other uses.
    for name in packaging/docs/*.md $(cd packaging && grep -ohE 'images/[a-z]+\.png' docs/*.md | sort -u | sed 's,^,packaging/docs/,'); do
        put 644 "$name" "usr/share/doc/lora-studio/${name#packaging/}"
    done
    {
        printf 'lora-studio (%s) unstable; urgency=medium\n\n' "$VERSION"
        printf '  * What changed is in CHANGELOG.md.gz beside this file.\n\n'
        printf ' -- %s <%s>  %s\n' "$DEVELOPER" "$EMAIL" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
    } | gzip -9n >"$out/changelog.gz"
    put 644 "$out/changelog.gz" usr/share/doc/lora-studio/changelog.gz
    put 644 packaging/linux/lintian-overrides usr/share/lintian/overrides/lora-studio
    chmod -R u=rwX,go=rX "$root"
    # Files that begin with #! are executable, including those that are copied into projects.
    grep -rlIZ --max-count=1 '^#!' "$root/usr/lib/lora-studio/_internal/resources" |
        xargs -0 --no-run-if-empty chmod 755
}

build_deb_and_rpm() {
    local deb=$out/lora-studio_${VERSION}_amd64.deb
    # A missing library of Qt's own is in no distribution: it was left out of the bundle by mistake.
    if needed_libraries | grep -E '^lib(Qt6|icu|pyside|shiboken)'; then
        echo "The bundle needs these, and they are not in it." >&2
        exit 1
    fi
    needed_libraries | sed 's/.*/      - &()(64bit)/' >"$out/libraries"
    sed -e "/@LIBRARIES@/r $out/libraries" -e '/@LIBRARIES@/d' packaging/linux/nfpm.yaml >"$out/nfpm.yaml"
    ROOT=$root "$out/venv/bin/nfpm" package --config "$out/nfpm.yaml" \
        --packager rpm --target "$out/lora-studio-$VERSION-1.x86_64.rpm"
    ROOT=$root "$out/venv/bin/nfpm" package --config "$out/nfpm.yaml" \
        --packager deb --target "$out/loose.deb"
    rm -rf "$out/loose"
    dpkg-deb --raw-extract "$out/loose.deb" "$out/loose"
    dpkg-deb --root-owner-group -Zxz -z"${XZ_LEVEL:-6}" --build "$out/loose" "$deb"
    rm -r "$out/loose" "$out/loose.deb"
}

build_tar() {
    tar --create --use-compress-program "xz -T0 -${XZ_LEVEL:-6}" --file "$out/lora-studio-$VERSION-linux-x86_64.tar.xz" --sort=name \
        --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        --transform "s,^usr,lora-studio-$VERSION," -C "$root" usr
}

check_sizes() {
    local file size
    for file in "$out"/*.deb "$out"/*.rpm "$out"/*.tar.xz "$out"/*.AppImage; do
        [ -e "$file" ] || continue
        size=$(stat -c %s "$file")
        echo "$((size / 1000000)).$((size / 100000 % 10)) MB: ${file##*/}"
        if [ "$size" -gt "$largest" ]; then
            echo "${file##*/} is larger than $((largest / 1000000)) MB." >&2
            exit 1
        fi
    done
}

say "Freeze"
freeze
VERSION=$("$out/venv/bin/python" -c 'import lora_studio; print(lora_studio.__version__)')
GLIBC=$(needed_glibc)
identity=$("$out/venv/bin/python" packaging/identity.py)
eval "$identity"
export VERSION GLIBC DEVELOPER EMAIL HOME_PAGE
say "Lay out version $VERSION, for glibc $GLIBC and newer"
lay_out
say "Packages"
build_deb_and_rpm
if [ -z "${ONLY_DEB:-}" ]; then
    build_tar
    bash "$packaging/linux/appimage.sh" "$root" "$out"
fi
check_sizes
