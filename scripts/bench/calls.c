/* What one system call costs, in nanoseconds: the median of many short loops.
 *
 * calls getpid|ioctl [trivial]     trivial: behind a filter of one instruction, which allows everything: the least that any
 *                                  filter costs
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOPS 100
#define CALLS 20000

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

int main(int count, char **words)
{
	double took[LOOPS];
	int get = count < 2 || !strcmp(words[1], "getpid");
	if (count > 2) {
		struct { unsigned short code; unsigned char yes, no; unsigned k; } allow = { 6, 0, 0, 0x7fff0000 };
		struct { unsigned short len; void *insns; } program = { 1, &allow };
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, 1, 4, &program))
			return perror("seccomp"), 1;
	}
	for (int n = 0; n < LOOPS; n++) {
		struct timespec from, to;
		clock_gettime(CLOCK_MONOTONIC, &from);
		for (int i = 0; i < CALLS; i++)
			get ? syscall(SYS_getpid) : ioctl(99, TCGETS, 0);
		clock_gettime(CLOCK_MONOTONIC, &to);
		took[n] = ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / CALLS;
	}
	qsort(took, LOOPS, sizeof *took, compare);
	printf("%.1f\n", took[LOOPS / 2]);
	return 0;
}
