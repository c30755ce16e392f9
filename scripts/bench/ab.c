/*
 * ab: time commands against each other, so that noise hits all alike.
 *
 *     ab [-n ROUNDS] [-w WARMUP] NAME [mnt=FILE] [after=LINE] CMD [ARG...] [:: NAME CMD [ARG...]]...
 *
 * One process, one loop. A round runs every command once, in an order drawn anew each round: a container's namespaces are
 * taken down by kernel threads after it is gone, so whoever comes next pays for it, and no command may always have the same
 * neighbour. Measured: wall time from before the spawn (vfork + exec, inside posix_spawn) to after wait, and the processor
 * time of the command and of all it waited for. The first WARMUP rounds are thrown away. With mnt=FILE the command runs in that
 * mount namespace; ab enters it before the clock starts and leaves it after it has stopped. With after=LINE the shell runs
 * that line each time when the clock has stopped: it takes away what the command leaves.
 *
 * Prints one tab-separated line a command, times in microseconds:
 *     name  median  p10  p90  cpu  ratio  low  high
 * cpu is the median processor time; ratio is that of the medians, to the first command's; low and high bound it with 95 %
 * confidence (2000 bootstrap resamples of whole rounds: what was noise for one command was noise for its neighbours too).
 *
 * A command that exits with anything but 0 ends the run: a failure is fast, and must not look like a good result.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX 32
#define RESAMPLES 2000
extern char **environ;

static struct { char *name, *after, **argv; int mnt; double *wall, *cpu; } cmds[MAX];
static int n_cmds, home;

/* A fixed seed: the same orders every time. */
static uint64_t rnd(uint64_t below)
{
	static uint64_t x = 88172645463325252ull;
	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x % below;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static double us(struct timeval t)
{
	return t.tv_sec * 1e6 + t.tv_usec;
}

static int up(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* The value below which the part q of v[n] lies. Sorts v. */
static double quantile(double *v, int n, double q)
{
	qsort(v, n, sizeof *v, up);
	double at = q * (n - 1);
	int i = at;
	return i + 1 < n ? v[i] + (at - i) * (v[i + 1] - v[i]) : v[i];
}

static void run(int c, int round, posix_spawn_file_actions_t *quiet)
{
	struct rusage r;
	int status, err;
	pid_t pid;
	if (cmds[c].mnt && setns(cmds[c].mnt, CLONE_NEWNS)) {
		perror("ab: cannot enter the mount namespace");
		exit(1);
	}
	double start = now();
	if ((err = posix_spawnp(&pid, cmds[c].argv[0], quiet, NULL, cmds[c].argv, environ))) {
		fprintf(stderr, "ab: cannot start %s (%s): %s\n", cmds[c].name, cmds[c].argv[0], strerror(err));
		exit(1);
	}
	while (wait4(pid, &status, 0, &r) < 0 && errno == EINTR)
		;
	double end = now();
	if (cmds[c].mnt && setns(home, CLONE_NEWNS)) {
		perror("ab: cannot leave the mount namespace");
		exit(1);
	}
	if (status) {
		fprintf(stderr, "ab: %s ended with %s %d\n", cmds[c].name, WIFEXITED(status) ? "exit code" : "signal",
			WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		exit(1);
	}
	if (cmds[c].after && system(cmds[c].after)) {
		fprintf(stderr, "ab: %s: what comes after it failed: %s\n", cmds[c].name, cmds[c].after);
		exit(1);
	}
	if (round >= 0) {
		cmds[c].wall[round] = end - start;
		cmds[c].cpu[round] = us(r.ru_utime) + us(r.ru_stime);
	}
}

int main(int argc, char **argv)
{
	int rounds = 200, warmup = 10, opt;
	while ((opt = getopt(argc, argv, "+n:w:")) > 0) {
		if (opt == 'n')
			rounds = atoi(optarg);
		else if (opt == 'w')
			warmup = atoi(optarg);
		else
			return 2;
	}
	home = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	for (char **a = argv + optind; *a && n_cmds < MAX;) {
		cmds[n_cmds].name = a[0];
		if (a[1] && !strncmp(a[1], "mnt=", 4)) {
			if ((cmds[n_cmds].mnt = open(a[1] + 4, O_RDONLY | O_CLOEXEC)) < 0) {
				perror(a[1]);
				return 1;
			}
			a++;
		}
		if (a[1] && !strncmp(a[1], "after=", 6))
			cmds[n_cmds].after = *++a + 6;
		cmds[n_cmds].argv = a + 1;
		cmds[n_cmds].wall = malloc(rounds * sizeof(double));
		cmds[n_cmds].cpu = malloc(rounds * sizeof(double));
		if (!a[1] || !cmds[n_cmds].wall || !cmds[n_cmds++].cpu)
			goto usage;
		for (a++; *a && strcmp(*a, "::"); a++)
			;
		if (*a)
			*a++ = NULL;
	}
	if (!n_cmds || rounds < 1 || warmup < 0) {
usage:
		fprintf(stderr, "usage: ab [-n ROUNDS] [-w WARMUP] NAME [mnt=FILE] [after=LINE] CMD [ARG...] [:: ...]\n");
		return 2;
	}

	posix_spawn_file_actions_t quiet;
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);

	for (int round = -warmup; round < rounds; round++) {
		int order[MAX];
		for (int i = 0; i < n_cmds; i++) {
			int j = rnd(i + 1);
			order[i] = order[j];
			order[j] = i;
		}
		for (int i = 0; i < n_cmds; i++)
			run(order[i], round, &quiet);
	}

	/* Resample before anything is sorted: a round's times belong together. */
	double *ratio[MAX], *draw = malloc(rounds * sizeof(double));
	int *picks = malloc(rounds * sizeof(int));
	for (int c = 0; c < n_cmds; c++)
		if (!(ratio[c] = malloc(RESAMPLES * sizeof(double))) || !draw || !picks)
			return 1;
	for (int s = 0; s < RESAMPLES; s++) {
		double first = 0;
		for (int i = 0; i < rounds; i++)
			picks[i] = rnd(rounds);
		for (int c = 0; c < n_cmds; c++) {
			for (int i = 0; i < rounds; i++)
				draw[i] = cmds[c].wall[picks[i]];
			double median = quantile(draw, rounds, 0.5);
			if (c == 0)
				first = median;
			ratio[c][s] = median / first;
		}
	}
	double first = quantile(cmds[0].wall, rounds, 0.5);
	for (int c = 0; c < n_cmds; c++) {
		double median = quantile(cmds[c].wall, rounds, 0.5);
		printf("%s\t%.0f\t%.0f\t%.0f\t%.0f\t%.3f\t%.3f\t%.3f\n", cmds[c].name, median,
			quantile(cmds[c].wall, rounds, 0.1), quantile(cmds[c].wall, rounds, 0.9),
			quantile(cmds[c].cpu, rounds, 0.5), median / first,
			quantile(ratio[c], RESAMPLES, 0.025), quantile(ratio[c], RESAMPLES, 0.975));
	}
	return 0;
}
