"""A clock that is wrong: a small library that shifts the time of a child process from some moment on."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* Seconds to add to the clock of the day: those given, once a switch file exists. */
static long shift(void) {
    const char *seconds = getenv("BAD_CLOCK_SECONDS"), *on = getenv("BAD_CLOCK_SWITCH");
    return seconds && on && access(on, F_OK) == 0 ? atol(seconds) : 0;
}

#define ORIGINAL(name) static __typeof__(name) *original; if (!original) original = dlsym(RTLD_NEXT, #name)

int clock_gettime(clockid_t clock, struct timespec *now) {
    ORIGINAL(clock_gettime);
    int result = original(clock, now);
    if (!result && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    static int (*original)(struct timeval *, void *);
    if (!original) original = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
    int result = original(now, zone);
    if (!result) now->tv_sec += shift();
    return result;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


def build(folder: Path) -> Path:
    """Compile the library into a folder and return it."""
    source, library = folder / "bad_clock.c", folder / "bad_clock.so"
    source.write_text(_SOURCE)
    command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    return library


def environment(library: Path, seconds: int, switch: Path) -> dict[str, str]:
    """Return the variables with which the clock is `seconds` ahead (or behind) once `switch` exists."""
    return {
        "LD_PRELOAD": str(library),
        "BAD_CLOCK_SECONDS": str(seconds),
        "BAD_CLOCK_SWITCH": str(switch),
    }
