/*
 * The floor of `exec`: what the kernel alone charges for one more process in a container.
 *
 *     enter PID CMD [ARG...]          CMD is a path inside
 *
 * What nsenter(1) does, in as few syscalls as we can think of: a pidfd, one setns with all six namespaces, fork, exec, wait. No
 * look at who lives there, no user, no capabilities dropped, no control group entered, no no_new_privs, nothing closed: all
 * that `ctr exec` does besides is what its ratio to this shows.
 *
 * Exits with CMD's code, 128+n if a signal ended it, 125 after a failed step, named on stderr.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char *environment[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", NULL };

static int fail(const char *name)
{
	perror(name);
	_exit(125);
}

int main(int argc, char **argv)
{
	int status, fd;
	pid_t pid;

	if (argc < 3) {
		dprintf(2, "usage: enter PID CMD [ARG...]\n");
		return 125;
	}
	if ((fd = syscall(SYS_pidfd_open, atoi(argv[1]), 0)) < 0)
		fail("pidfd_open");
	if (setns(fd, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNET | CLONE_NEWCGROUP) < 0)
		fail("setns");
	if ((pid = fork()) < 0)
		fail("fork");
	if (pid == 0) {
		execve(argv[2], argv + 2, environment);
		fail(argv[2]);
	}
	if (waitpid(pid, &status, 0) < 0)
		fail("wait");
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
