/* Preloaded into a program (testbed/disk.py): what it writes below one folder is refused, or waits, as a shared file of
 * two numbers says: whether the disk is full, and how many microseconds each write and each flush takes longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const volatile long long *state;
static const char *folder;
static size_t length;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("ISTHMUS_DISK_STATE");
    folder = getenv("ISTHMUS_DISK_FOLDER");
    if (!path || !folder) return;
    length = strlen(folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, 2 * sizeof *state, PROT_READ, MAP_SHARED, fd, 0);
    if (mapped != MAP_FAILED) state = mapped;
    close(fd);
}

static int concerns(int fd) {
    char link[40], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path);
    return size > (ssize_t)length && !memcmp(path, folder, length) && path[length] == '/';
}

/* Waits as long as the disk does; whether there is no room for more, with errno set. */
static int refused(int fd, int grows) {
    if (!state || !(state[0] || state[1]) || !concerns(fd)) return 0;
    long long us = state[1];
    struct timespec left = {us / 1000000, us % 1000000 * 1000};
    while (us && nanosleep(&left, &left) && errno == EINTR) {}
    if (!grows || !state[0]) return 0;
    errno = ENOSPC;
    return 1;
}

#define WRAP(result, name, grows, parameters, arguments)                          \
    result name parameters {                                                      \
        static result(*real) parameters;                                          \
        if (!real) real = (result(*) parameters)dlsym(RTLD_NEXT, #name);          \
        return refused(fd, grows) ? -1 : real arguments;                          \
    }

WRAP(ssize_t, write, 1, (int fd, const void *data, size_t size), (fd, data, size))
WRAP(ssize_t, writev, 1, (int fd, const struct iovec *parts, int count), (fd, parts, count))
WRAP(ssize_t, pwrite, 1, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
WRAP(ssize_t, pwrite64, 1, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
WRAP(int, fsync, 0, (int fd), (fd))
WRAP(int, fdatasync, 0, (int fd), (fd))
