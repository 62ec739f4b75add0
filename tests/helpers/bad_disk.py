"""A disk that fails: a small library that makes writes to chosen files, and reads if asked, fail in a child process."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Whether a file is on the bad part of the disk: its path has a word in it, and a switch file exists, which
   may have another word and error number in it. */
static int fails(int file) {
    const char *word = getenv("BAD_DISK_WORD"), *on = getenv("BAD_DISK_SWITCH");
    char link[64], path[4096], content[256] = "", other[200];
    ssize_t length;
    int number, switched;
    if (!word || !on || (switched = open(on, O_RDONLY)) < 0) return 0;
    length = syscall(SYS_read, switched, content, sizeof content - 1);  /* not the read below, which asks here */
    close(switched);
    number = atoi(getenv("BAD_DISK_ERRNO"));
    if (length > 0 && sscanf(content, "%d %199s", &number, other) == 2) word = other;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    if (!strstr(path, word)) return 0;
    errno = number;
    return 1;
}

#define ORIGINAL(name) static __typeof__(name) *original; if (!original) original = dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *data, size_t size) {
    ORIGINAL(write);
    return fails(file) ? -1 : original(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    ORIGINAL(writev);
    return fails(file) ? -1 : original(file, parts, count);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    ORIGINAL(pwrite);
    return fails(file) ? -1 : original(file, data, size, at);
}

static int fails_reading(int file) { return getenv("BAD_DISK_READS") && fails(file); }

ssize_t read(int file, void *data, size_t size) {
    ORIGINAL(read);
    return fails_reading(file) ? -1 : original(file, data, size);
}

ssize_t readv(int file, const struct iovec *parts, int count) {
    ORIGINAL(readv);
    return fails_reading(file) ? -1 : original(file, parts, count);
}

ssize_t pread(int file, void *data, size_t size, off_t at) {
    ORIGINAL(pread);
    return fails_reading(file) ? -1 : original(file, data, size, at);
}

ssize_t pread64(int file, void *data, size_t size, off_t at) {
    ORIGINAL(pread64);
    return fails_reading(file) ? -1 : original(file, data, size, at);
}

int fsync(int file) {
    ORIGINAL(fsync);
    return fails(file) ? -1 : original(file);
}
"""


def build(folder: Path) -> Path:
    """Compile the library into a folder and return it."""
    source, library = folder / "bad_disk.c", folder / "bad_disk.so"
    source.write_text(_SOURCE)
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def environment(
    library: Path, word: str, number: int, switch: Path, *, reads: bool = False
) -> dict[str, str]:
    """Return the variables with which writes to paths with `word` fail once `switch` exists.

    With `reads`, reading such files fails, too; mapped files can still be read.
    """
    return {
        **({"BAD_DISK_READS": "1"} if reads else {}),
        "LD_PRELOAD": str(library),
        "BAD_DISK_WORD": word,
        "BAD_DISK_ERRNO": str(number),
        "BAD_DISK_SWITCH": str(switch),
    }
