// What `exec` cannot do without: one setns by pidfd into all namespaces of a process, a child in its control groups (born in the
// v2 one, joining v1 ones by writing), execve, wait.
//   enter PID V2-GROUP|- V1-PROCS|- PROGRAM [ARG...]
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// struct clone_args and CLONE_INTO_CGROUP (include/uapi/linux/sched.h), which musl's headers lack.
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
#define CLONE_INTO_CGROUP 0x200000000ULL
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

int main(int argc, char **argv) {
	if (argc < 5)
		return 125;
	int group = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC), door = open(argv[3], O_WRONLY | O_CLOEXEC);
	int process = syscall(SYS_pidfd_open, atoi(argv[1]), 0);
	if (process < 0 ||
	    setns(process, CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP))
		return perror("enter"), 125;
	struct clone_args args = {.exit_signal = SIGCHLD, .cgroup = group, .flags = group < 0 ? 0 : CLONE_INTO_CGROUP};
	pid_t child = syscall(SYS_clone3, &args, sizeof args);
	if (child == 0) {
		if (door >= 0 && write(door, "0", 1) < 0)
			_exit(126);
		execv(argv[4], argv + 4);
		_exit(127);
	}
	int status;
	return waitpid(child, &status, 0) < 0 ? 125 : WEXITSTATUS(status);
}
