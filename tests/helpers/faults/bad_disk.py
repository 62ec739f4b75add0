"""A disk that fails: a small library that makes writes to chosen files, and reads if asked, fail in a child process."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define ORIGINAL(name) static __typeof__(name) *original; if (!original) original = dlsym(RTLD_NEXT, #name)

/* Whether an operation on a path fails: the path has a word in it, and a switch file exists. The file may
   have another error number and word in it, how many such operations succeed before (-1: all), the letters of
   the operations: w write, s sync, c create, m move, r read, and how many fail before all succeed again (0: none
   does). Another file gets the letter of each failure, and with -1 of each operation. */
static int fails_at(const char *path, char operation) {
    static long done;
    const char *word = getenv("BAD_DISK_WORD"), *on = getenv("BAD_DISK_SWITCH");
    char content[256] = "", other[200], operations[10] = "ws", hits[4096];
    ssize_t length;
    long skipped = 0, most = 0;
    int number, given, switched, counted;
    if (!word || !on || (switched = syscall(SYS_openat, AT_FDCWD, on, O_RDONLY)) < 0) return 0;
    length = syscall(SYS_read, switched, content, sizeof content - 1);  /* not the read below, which asks here */
    syscall(SYS_close, switched);
    number = atoi(getenv("BAD_DISK_ERRNO"));
    if (getenv("BAD_DISK_READS")) strcat(operations, "r");
    given = length > 0 ? sscanf(content, "%d %199s %ld %9s %ld", &number, other, &skipped, operations, &most) : 0;
    if (given >= 2) word = other;
    if (!strchr(operations, operation) || !strstr(path, word) || done++ < skipped) return 0;
    if (skipped >= 0 && most > 0 && done > skipped + most) return 0;
    snprintf(hits, sizeof hits, "%s.hits", on);
    if ((counted = syscall(SYS_openat, AT_FDCWD, hits, O_WRONLY | O_CREAT | O_APPEND, 0600)) >= 0) {
        syscall(SYS_write, counted, &operation, 1);
        syscall(SYS_close, counted);
    }
    if (skipped < 0) return 0;
    errno = number;
    return 1;
}

static int fails(int file, char operation) {
    char link[64], path[4096];
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails_at(path, operation);
}

/* As above, for a path that may be relative to an open folder. */
static int fails_in(int folder, const char *path, char operation) {
    char link[64], whole[8192];
    ssize_t length;
    if (!path || *path == '/' || folder == AT_FDCWD) return path ? fails_at(path, operation) : 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, whole, 4095);
    if (length < 0) return 0;
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    return fails_at(whole, operation);
}

ssize_t write(int file, const void *data, size_t size) {
    ORIGINAL(write);
    return fails(file, 'w') ? -1 : original(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    ORIGINAL(writev);
    return fails(file, 'w') ? -1 : original(file, parts, count);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    ORIGINAL(pwrite);
    return fails(file, 'w') ? -1 : original(file, data, size, at);
}

ssize_t pwrite64(int file, const void *data, size_t size, off_t at) {
    ORIGINAL(pwrite64);
    return fails(file, 'w') ? -1 : original(file, data, size, at);
}

ssize_t sendfile(int out, int in, off_t *at, size_t size) {
    ORIGINAL(sendfile);
    return fails(out, 'w') || fails(in, 'r') ? -1 : original(out, in, at, size);
}

ssize_t copy_file_range(int in, off_t *at, int out, off_t *to, size_t size, unsigned flags) {
    ORIGINAL(copy_file_range);
    return fails(out, 'w') || fails(in, 'r') ? -1 : original(in, at, out, to, size, flags);
}

ssize_t read(int file, void *data, size_t size) {
    ORIGINAL(read);
    return fails(file, 'r') ? -1 : original(file, data, size);
}

ssize_t readv(int file, const struct iovec *parts, int count) {
    ORIGINAL(readv);
    return fails(file, 'r') ? -1 : original(file, parts, count);
}

ssize_t pread(int file, void *data, size_t size, off_t at) {
    ORIGINAL(pread);
    return fails(file, 'r') ? -1 : original(file, data, size, at);
}

ssize_t pread64(int file, void *data, size_t size, off_t at) {
    ORIGINAL(pread64);
    return fails(file, 'r') ? -1 : original(file, data, size, at);
}

int fsync(int file) {
    ORIGINAL(fsync);
    return fails(file, 's') ? -1 : original(file);
}

#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list rest; mode_t mode; \
    ORIGINAL(name); \
    va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
    return (flags & (O_WRONLY | O_RDWR | O_CREAT)) && fails_at(path, 'c') ? -1 : original(path, flags, mode); \
}
OPEN(open)
OPEN(open64)

#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { \
    va_list rest; mode_t mode; \
    ORIGINAL(name); \
    va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); \
    return (flags & (O_WRONLY | O_RDWR | O_CREAT)) && fails_in(folder, path, 'c') \
        ? -1 : original(folder, path, flags, mode); \
}
OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *path, mode_t mode) {
    ORIGINAL(mkdir);
    return fails_at(path, 'c') ? -1 : original(path, mode);
}

int rename(const char *from, const char *to) {
    ORIGINAL(rename);
    return fails_at(to, 'm') ? -1 : original(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    ORIGINAL(renameat);
    return fails_in(to_folder, to, 'm') ? -1 : original(from_folder, from, to_folder, to);
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
