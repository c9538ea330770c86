/* What a process does to files below a folder, counted; at a chosen event it is killed, or its disk is full from there.

   Loaded in front of the C library (LD_PRELOAD), so that what Python, Rust and C++ write is seen alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, TEAR, FULL }; /* do nothing; kill before the event; within a write; let it and later writes fail */

static char root[PATH_MAX], events[1 << 20];
static long at, seen, noted;
static int mode;

void watch(const char *folder, long event, int what) {
    snprintf(root, sizeof root, "%s", folder);
    at = event, mode = what, seen = noted = 0, events[0] = 0;
}
long watched(void) { return seen; }
const char *noted_events(void) { return events; }

__attribute__((constructor)) static void from_environment(void) {
    const char *folder = getenv("TORTURE_FOLDER"), *event = getenv("TORTURE_EVENT"), *what = getenv("TORTURE_MODE");
    if (folder && event && what) watch(folder, atol(event), atoi(what));
}

static int below(const char *path) {
    size_t length = strlen(root);
    return length && !strncmp(path, root, length) && (path[length] == '/' || !path[length]);
}

static int path_of(int handle, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return length > 0;
}

static void absolute(int folder, const char *name, char *path) {
    char start[PATH_MAX] = "";
    if (*name != '/') {
        if (folder == AT_FDCWD) { if (!getcwd(start, sizeof start)) *start = 0; }
        else path_of(folder, start);
        snprintf(path, 2 * PATH_MAX, "%s/%s", start, name);
    } else snprintf(path, 2 * PATH_MAX, "%s", name);
}

/* Returns 1 if the event is to fail for want of room. */
static int event(const char *kind, const char *path, int writes) {
    if (!*root || !below(path)) return 0;
    long number = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST);
    if (mode == COUNT) {
        size_t room = sizeof events - noted;
        int length = snprintf(events + noted, room, "%s %s\n", kind, path + strlen(root));
        if (length > 0 && (size_t)length < room) noted += length;
    }
    if (number == at && (mode == KILL || (mode == TEAR && !writes))) kill(getpid(), SIGKILL), pause();
    return mode == FULL && writes && number >= at;
}

static int at_handle(const char *kind, int handle, int writes) {
    char path[PATH_MAX];
    struct stat found;
    int before = errno, full = 0;
    if (*root && !fstat(handle, &found) && (S_ISREG(found.st_mode) || S_ISDIR(found.st_mode)) && path_of(handle, path))
        full = event(kind, path, writes);
    errno = before;
    return full;
}

static void at_path(const char *kind, int folder, const char *name) {
    if (!*root) return;
    char path[2 * PATH_MAX];
    int before = errno;
    absolute(folder, name, path), event(kind, path, 0);
    errno = before;
}

static size_t torn(int handle, size_t size) {
    char path[PATH_MAX];
    return mode == TEAR && seen == at && path_of(handle, path) && below(path) ? size / 2 : size;
}
static void tear(size_t size, size_t whole) { if (size != whole || (mode == TEAR && seen == at)) kill(getpid(), SIGKILL), pause(); }

#define NEXT(result, name, ...) \
    static result (*next)(__VA_ARGS__); \
    if (!next) next = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name);
#define FAIL_IF_FULL(kind, handle) if (at_handle(kind, handle, 1)) { errno = ENOSPC; return -1; }

ssize_t write(int handle, const void *bytes, size_t size) {
    NEXT(ssize_t, "write", int, const void *, size_t)
    FAIL_IF_FULL("write", handle)
    size_t part = torn(handle, size);
    ssize_t done = next(handle, bytes, part);
    if (part != size) tear(part, size);
    return done;
}
#define PWRITE(name) ssize_t name(int handle, const void *bytes, size_t size, off_t place) { \
    NEXT(ssize_t, #name, int, const void *, size_t, off_t) \
    FAIL_IF_FULL("write", handle) \
    size_t part = torn(handle, size); \
    ssize_t done = next(handle, bytes, part, place); \
    if (part != size) tear(part, size); \
    return done; }
PWRITE(pwrite) PWRITE(pwrite64)
ssize_t writev(int handle, const struct iovec *parts, int count) {
    NEXT(ssize_t, "writev", int, const struct iovec *, int)
    FAIL_IF_FULL("write", handle)
    int part = count > 1 ? (int)torn(handle, count) : count;
    ssize_t done = next(handle, parts, part);
    if (part != count) tear(part, count);
    return done;
}
#define SENDFILE(name) ssize_t name(int to, int from, off_t *place, size_t size) { \
    NEXT(ssize_t, #name, int, int, off_t *, size_t) \
    FAIL_IF_FULL("write", to) \
    return next(to, from, place, size); }
SENDFILE(sendfile) SENDFILE(sendfile64)
ssize_t copy_file_range(int from, off_t *there, int to, off_t *here, size_t size, unsigned flags) {
    NEXT(ssize_t, "copy_file_range", int, off_t *, int, off_t *, size_t, unsigned)
    FAIL_IF_FULL("write", to)
    return next(from, there, to, here, size, flags);
}
#define ON_HANDLE(name, kind) int name(int handle) { \
    NEXT(int, #name, int) \
    at_handle(kind, handle, 0); \
    return next(handle); }
ON_HANDLE(fsync, "fsync") ON_HANDLE(fdatasync, "fsync")
#define FTRUNCATE(name) int name(int handle, off_t size) { \
    NEXT(int, #name, int, off_t) \
    at_handle("truncate", handle, 0); \
    return next(handle, size); }
FTRUNCATE(ftruncate) FTRUNCATE(ftruncate64)

#define FOR_WRITING(flags) ((flags) & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC))
#define OPEN(name) int name(const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t mode_ = va_arg(more, mode_t); va_end(more); \
    NEXT(int, #name, const char *, int, mode_t) \
    if (FOR_WRITING(flags)) at_path("open", AT_FDCWD, path); \
    return next(path, flags, mode_); }
OPEN(open) OPEN(open64)
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { \
    va_list more; va_start(more, flags); mode_t mode_ = va_arg(more, mode_t); va_end(more); \
    NEXT(int, #name, int, const char *, int, mode_t) \
    if (FOR_WRITING(flags)) at_path("open", folder, path); \
    return next(folder, path, flags, mode_); }
OPENAT(openat) OPENAT(openat64)
#define FOPEN(name) FILE *name(const char *path, const char *how) { \
    NEXT(FILE *, #name, const char *, const char *) \
    if (strpbrk(how, "wa+")) at_path("open", AT_FDCWD, path); \
    return next(path, how); }
FOPEN(fopen) FOPEN(fopen64)

#define ON_PATH(name, kind) int name(const char *path) { \
    NEXT(int, #name, const char *) \
    at_path(kind, AT_FDCWD, path); \
    return next(path); }
ON_PATH(unlink, "unlink") ON_PATH(rmdir, "rmdir")
int unlinkat(int folder, const char *path, int flags) {
    NEXT(int, "unlinkat", int, const char *, int)
    at_path(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, path);
    return next(folder, path, flags);
}
int mkdir(const char *path, mode_t how) {
    NEXT(int, "mkdir", const char *, mode_t)
    at_path("mkdir", AT_FDCWD, path);
    return next(path, how);
}
int rename(const char *from, const char *to) {
    NEXT(int, "rename", const char *, const char *)
    at_path("rename", AT_FDCWD, to);
    return next(from, to);
}
int renameat(int there, const char *from, int here, const char *to) {
    NEXT(int, "renameat", int, const char *, int, const char *)
    at_path("rename", here, to);
    return next(there, from, here, to);
}
