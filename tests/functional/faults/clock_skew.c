/* Preloaded, gives a process a wall clock that is CLOCK_SKEW_SECONDS off. What counts seconds
   (CLOCK_MONOTONIC) is left alone: libfaketime, which shifts that too, stops Python's waits. */

#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *at) {
    const char *skew = getenv("CLOCK_SKEW_SECONDS");
    int status = syscall(SYS_clock_gettime, id, at);
    if (skew && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += atol(skew);
    return status;
}

int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
