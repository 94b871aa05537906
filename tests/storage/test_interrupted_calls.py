"""EINTR and short counts, from below Python: nobody gets to know of them.

A few lines of C stand between the interpreter and its C library. Every third call of the kinds
that a store makes is interrupted, and every fifth read or write does half of what it was asked for.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kist

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static unsigned calls, interrupted, halved;
static int begin(void) {
    if (++calls % 3 == 0) { interrupted++; errno = EINTR; return 0; }
    return 1;
}
static int half(size_t n) {
    if (n > 1 && calls % 5 == 0) { halved++; return 1; }
    return 0;
}
#define REAL(type, name) __typeof__(type) *real = (__typeof__(type) *)dlsym(RTLD_NEXT, name)

ssize_t pread64(int fd, void *buffer, size_t n, off_t at) {
    REAL(ssize_t(int, void *, size_t, off_t), "pread64");
    return begin() ? real(fd, buffer, half(n) ? n / 2 : n, at) : -1;
}
ssize_t pwrite64(int fd, const void *buffer, size_t n, off_t at) {
    REAL(ssize_t(int, const void *, size_t, off_t), "pwrite64");
    return begin() ? real(fd, buffer, half(n) ? n / 2 : n, at) : -1;
}
static ssize_t vectored(int fd, const struct iovec *all, int n, off_t at, const char *name) {
    REAL(ssize_t(int, const struct iovec *, int, off_t), name);
    if (!begin()) return -1;
    if (!half(all[0].iov_len)) return real(fd, all, n, at);
    struct iovec one = {all[0].iov_base, all[0].iov_len / 2};
    return real(fd, &one, 1, at);
}
ssize_t preadv64(int fd, const struct iovec *all, int n, off_t at) {
    return vectored(fd, all, n, at, "preadv64");
}
ssize_t pwritev64(int fd, const struct iovec *all, int n, off_t at) {
    return vectored(fd, all, n, at, "pwritev64");
}
int fdatasync(int fd) {
    REAL(int(int), "fdatasync");
    return begin() ? real(fd) : -1;
}
int ftruncate64(int fd, off_t n) {
    REAL(int(int, off_t), "ftruncate64");
    return begin() ? real(fd, n) : -1;
}
static int control(int fd, int command, void *argument, const char *name) {
    REAL(int(int, int, ...), name);
    if ((command == 37 || command == 38) && !begin()) return -1;  /* OFD locks */
    return real(fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
    va_list all;
    va_start(all, command);
    void *argument = va_arg(all, void *);
    va_end(all);
    return control(fd, command, argument, "fcntl64");
}
int fcntl(int fd, int command, ...) {
    va_list all;
    va_start(all, command);
    void *argument = va_arg(all, void *);
    va_end(all);
    return control(fd, command, argument, "fcntl");
}
__attribute__((destructor)) static void end(void) {
    fprintf(stderr, "interrupted %u halved %u\n", interrupted, halved);
}
"""

PROGRAM = """
import sys
import numpy as np
import kist
path = sys.argv[1]
data = np.random.default_rng(1).integers(0, 255, 300_000, "u1")
with kist.open(path, "w") as store:
    store["t"] = np.zeros(10, "i8,f8")
    store["a"] = data
    runs = store.create_keystore("k")
    for n in range(20):
        store["t"].append(np.full(30, n, "i8,f8"))
        runs[n] = data[n * 1000 : n * 1300]
    store["a"][1000:2000] = 7
    store.tag("kept")
    del runs[3]
    store.compact()
    data[1000:2000] = 7
    assert store["a"][...].tobytes() == data.tobytes()
    assert store.check().ok
with kist.open(path) as store:
    assert len(store["t"]) == 610
    assert store["a"][...].tobytes() == data.tobytes()
    assert store.check().ok
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD")
def test_calls_that_are_interrupted_or_do_half_are_taken_up_again(
    path: Path, tmp_path: Path
) -> None:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    source, shim = tmp_path / "shim.c", tmp_path / "shim.so"
    source.write_text(SHIM)
    options = ["-shared", "-fPIC", "-O1", "-o", str(shim), str(source), "-ldl"]
    subprocess.run([compiler, *options], check=True)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)],
        env={**os.environ, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    words = done.stderr.split()
    assert int(words[words.index("interrupted") + 1]) > 200
    assert int(words[words.index("halved") + 1]) > 40


def test_signals_with_handlers_of_the_program_disturb_nothing(path: Path) -> None:
    seen: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        with kist.open(path, "w", durability="none") as store:
            store["t"] = np.zeros(10, "i8,f8")
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            n = 0
            while n < 50 or len(seen) < 20:
                n += 1
                with store.transaction():
                    store["t"].append(np.full(3, n, "i8,f8"))
                    store.attrs["n"] = n
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert len(store["t"]) == 10 + 3 * n
            assert store.check().ok
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
