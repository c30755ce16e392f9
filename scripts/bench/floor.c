/*
 * The floor: what the kernel alone charges for a container.
 *
 *     floor ROOT CMD [ARG...]         CMD is a path inside ROOT
 *
 * A straight line of C that does the kernel work of `ctr run --rm --network none ROOT CMD` and nothing besides: no
 * options, no records, no log, nothing read, nothing allocated. Six namespaces, an overlay whose upper side is a tmpfs
 * that dies with the container, /proc /sys /dev with what belongs into them, pivot_root, the OCI default masked and
 * read-only paths, a host name, lo, Docker's default 14 capabilities, no_new_privs, a keyring, exec, wait. Same isolation, as
 * few syscalls as we can think of. A runtime that is within a few percent of this has no fat left to cut.
 *
 * Not in here, because a caller may well switch them off: a cgroup, a seccomp filter. -DCGROUP='"/sys/fs/cgroup/x"' (a group of
 * cgroup v2 to be made and removed) and -DSECCOMP=10 add them.
 *
 * ROOT must have the directories proc, sys, dev; the machine must have /tmp. Exits with CMD's code, 128+n if a signal ended
 * it, 125 after a failed step, named on stderr.
 *
 * Built twice more by `bench.sh --steps`: with -DTIMES each step's cost goes to stderr; with -DDROP='"mqueue"' one step is
 * left out. Where dropping a step would let a later one reach the machine itself (its host name, its lo), that goes too.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* musl brings no linux/ headers: the few things we want from there. */
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};
#define CLONE_INTO_CGROUP 0x200000000ull
#define FSCONFIG_SET_STRING 1
#define FSCONFIG_CMD_CREATE 6
#define FSOPEN_CLOEXEC 1
#define FSMOUNT_CLOEXEC 1
#define MOVE_MOUNT_F_EMPTY_PATH 4
#define KEYCTL_JOIN_SESSION_KEYRING 1
#define CAP_VERSION_3 0x20080522
struct { uint32_t version; int pid; } cap_header = { CAP_VERSION_3, 0 };
struct { uint32_t effective, permitted, inheritable; } caps[2];

#ifndef DROP
#define DROP ""
#endif
#define dropped(name) (!strcmp(name, DROP)) /* folded away by the compiler */

/* With CLONE_VM the child's clock marks land in the parent's memory, which is where they are wanted. */
#ifdef TIMES
static struct { const char *name; struct timespec at; } marks[160];
static int n_marks;
static void mark(const char *name)
{
	marks[n_marks].name = name;
	clock_gettime(CLOCK_MONOTONIC, &marks[n_marks++].at);
}
static void tell(void)
{
	for (int i = 1; i < n_marks; i++)
		dprintf(2, "%s\t%ld\n", marks[i].name, (marks[i].at.tv_sec - marks[i - 1].at.tv_sec) * 1000000000L
			+ marks[i].at.tv_nsec - marks[i - 1].at.tv_nsec);
}
#else
#define mark(name) ((void)0)
#define tell() ((void)0)
#endif

static void fail(const char *name)
{
	perror(name);
	_exit(125);
}
#define STEP(name, call) do { if (!dropped(name)) { if ((call) < 0) fail(name); mark(name); } } while (0)
/* For the paths that not every kernel has. */
#define MAY(name, call) do { if (!dropped(name)) { if ((call) < 0 && errno != ENOENT) fail(name); mark(name); } } while (0)

static char *root, **command;
static char *environment[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=floor",
	"HOME=/root", NULL };

/* ip link set lo up */
static struct {
	uint32_t len; uint16_t type, flags; uint32_t seq, pid;
	uint8_t family, pad; uint16_t dev_type; int32_t index; uint32_t if_flags, change;
} lo_up = { 32, 16 /* RTM_NEWLINK */, 1 | 4 /* NLM_F_REQUEST | NLM_F_ACK */, 1, 0, 0, 0, 0, 1, 1 /* IFF_UP */, 1 };

/* chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write setfcap */
#define KEPT (1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 10 | 1u << 13 \
	| 1u << 18 | 1u << 27 | 1u << 29 | 1u << 31)
#define LAST_CAP 40

#ifdef SECCOMP
/*
 * The shape of a good filter: docker's default allows some fifty ranges of numbers, a binary search over which is 120
 * instructions, of which any one syscall meets ten. This one allows everything: we time loading and running, not wisdom.
 * Installing is what costs: the kernel runs the filter for every syscall number there is, to learn which are always allowed. So a
 * filter's depth is paid some 900 times (-DSECCOMP=390: as deep as a linear list of comparisons).
 */
#define DEEP (SECCOMP)
#define LONG (DEEP > 120 ? DEEP : 120)
struct bpf { uint16_t code; uint8_t jt, jf; uint32_t k; };
static struct bpf filter[LONG];
static struct { uint16_t len; struct bpf *f; } program = { LONG, filter };
#endif

static int put(const char *path, const char *text, int len)
{
	/* Left open: exec closes it. By hand, because musl's open() adds an fcntl. */
	int fd = syscall(SYS_open, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	return fd < 0 ? fd : (int)write(fd, text, len);
}
#define PUT(path, text) put(path, text, sizeof text - 1)

static int bring_lo_up(void)
{
	char answer[128];
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (fd < 0 || write(fd, &lo_up, sizeof lo_up) < 0 || read(fd, answer, sizeof answer) < 20)
		return -1;
	errno = -*(int *)(answer + 16);
	return errno ? -1 : 0;
}

static void child(void)
{
	int fs = -1, tree = -1;

	mark("clone3");
	/* The root: an overlay, prepared on a tmpfs that only we can see. ROOT is named "." so that it may lie below /tmp. */
	STEP("propagation", mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	STEP("chdir", chdir(root));
	STEP("staging tmpfs", mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=700"));
	umask(0);
	STEP("mkdir", mkdir("/tmp/upper", 0755));
	STEP("mkdir", mkdir("/tmp/work", 0700));
	STEP("mkdir", mkdir("/tmp/upper/etc", 0755));
	STEP("etc files", PUT("/tmp/upper/etc/hostname", "floor\n"));
	STEP("etc files", PUT("/tmp/upper/etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n"));
	STEP("etc files", PUT("/tmp/upper/etc/resolv.conf", "# no network\n"));
	STEP("overlay: fsopen", fs = syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC));
	STEP("overlay: options", syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "lowerdir", ".", 0));
	STEP("overlay: options", syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "upperdir", "/tmp/upper", 0));
	STEP("overlay: options", syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "workdir", "/tmp/work", 0));
	STEP("overlay: create", syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	STEP("overlay: fsmount", tree = syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0));
	STEP("overlay: move_mount", syscall(SYS_move_mount, tree, "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH));
	STEP("fchdir", fchdir(tree));
	STEP("pivot_root", syscall(SYS_pivot_root, ".", "."));
	/* "." is now below the old root, which pivot_root stacked on top: this is the old root's end. */
	STEP("umount old root", umount2(".", MNT_DETACH));

	/* proc starts read-only, so that the binds over its read-only paths inherit that, and need no remount each. */
	STEP("proc", mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL));
	MAY("readonly path", mount("/proc/bus", "/proc/bus", NULL, MS_BIND, NULL));
	MAY("readonly path", mount("/proc/fs", "/proc/fs", NULL, MS_BIND, NULL));
	MAY("readonly path", mount("/proc/irq", "/proc/irq", NULL, MS_BIND, NULL));
	MAY("readonly path", mount("/proc/sys", "/proc/sys", NULL, MS_BIND, NULL));
	MAY("readonly path", mount("/proc/sysrq-trigger", "/proc/sysrq-trigger", NULL, MS_BIND, NULL));
	STEP("proc rw", mount(NULL, "/proc", NULL, MS_REMOUNT | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	STEP("sysfs", mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL));

	STEP("dev tmpfs", mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_STRICTATIME, "mode=755,size=64k"));
	STEP("mknod", mknod("/dev/null", S_IFCHR | 0666, makedev(1, 3)));
	STEP("mknod", mknod("/dev/zero", S_IFCHR | 0666, makedev(1, 5)));
	STEP("mknod", mknod("/dev/full", S_IFCHR | 0666, makedev(1, 7)));
	STEP("mknod", mknod("/dev/random", S_IFCHR | 0666, makedev(1, 8)));
	STEP("mknod", mknod("/dev/urandom", S_IFCHR | 0666, makedev(1, 9)));
	STEP("mknod", mknod("/dev/tty", S_IFCHR | 0666, makedev(5, 0)));
	STEP("symlink", symlink("/proc/self/fd", "/dev/fd"));
	STEP("symlink", symlink("/proc/self/fd/0", "/dev/stdin"));
	STEP("symlink", symlink("/proc/self/fd/1", "/dev/stdout"));
	STEP("symlink", symlink("/proc/self/fd/2", "/dev/stderr"));
	STEP("symlink", symlink("pts/ptmx", "/dev/ptmx"));
	STEP("mkdir", mkdir("/dev/pts", 0755));
	STEP("mkdir", mkdir("/dev/shm", 0755));
	STEP("mkdir", mkdir("/dev/mqueue", 0755));
	STEP("devpts", mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"));
	STEP("shm tmpfs", mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m"));
	STEP("mqueue", mount("mqueue", "/dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL));
	umask(022);

	/* Masked: a directory under an empty read-only tmpfs, a file under our /dev/null. */
	MAY("mask directory", mount("tmpfs", "/proc/acpi", "tmpfs", MS_RDONLY, NULL));
	MAY("mask directory", mount("tmpfs", "/proc/asound", "tmpfs", MS_RDONLY, NULL));
	MAY("mask directory", mount("tmpfs", "/proc/scsi", "tmpfs", MS_RDONLY, NULL));
	MAY("mask directory", mount("tmpfs", "/sys/firmware", "tmpfs", MS_RDONLY, NULL));
	MAY("mask directory", mount("tmpfs", "/sys/devices/virtual/powercap", "tmpfs", MS_RDONLY, NULL));
	MAY("mask file", mount("/dev/null", "/proc/interrupts", NULL, MS_BIND, NULL));
	MAY("mask file", mount("/dev/null", "/proc/kcore", NULL, MS_BIND, NULL));
	MAY("mask file", mount("/dev/null", "/proc/keys", NULL, MS_BIND, NULL));
	MAY("mask file", mount("/dev/null", "/proc/latency_stats", NULL, MS_BIND, NULL));
	MAY("mask file", mount("/dev/null", "/proc/timer_list", NULL, MS_BIND, NULL));
	MAY("mask file", mount("/dev/null", "/proc/timer_stats", NULL, MS_BIND, NULL));
	MAY("mask file", mount("/dev/null", "/proc/sched_debug", NULL, MS_BIND, NULL));

	if (!dropped("utsns"))
		STEP("hostname", sethostname("floor", 5));
	if (!dropped("netns"))
		STEP("lo up", bring_lo_up());

	STEP("keyring", syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL, 0, 0, 0));
	STEP("setsid", setsid());
	for (unsigned cap = 0; cap <= LAST_CAP; cap++)
		if (cap >= 32 || !(KEPT >> cap & 1))
			STEP("bounding set", prctl(PR_CAPBSET_DROP, cap, 0, 0, 0));
	caps[0].effective = caps[0].permitted = KEPT;
	STEP("capset", syscall(SYS_capset, &cap_header, caps));
	STEP("no_new_privs", prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	STEP("close_range", syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */));
#ifdef SECCOMP
	for (int i = 0; i < LONG; i++)
		filter[i] = i < DEEP - 1 ? (struct bpf){ i == 0 ? 0x20 /* ld [nr] */ : 0x35 /* jge k */, 0, 0, 0 }
			: (struct bpf){ 0x06 /* ret */, 0, 0, 0x7fff0000 /* ALLOW */ };
	STEP("seccomp", syscall(SYS_seccomp, 1 /* SET_MODE_FILTER */, 0, &program));
#endif
	execve(command[0], command, environment);
	fail(command[0]);
}

int main(int argc, char **argv)
{
	static char stack[16384] __attribute__((aligned(16)));
	struct clone_args how = {
		.flags = CLONE_VM | CLONE_VFORK | CLONE_NEWNS | CLONE_NEWPID
			| (dropped("utsns") ? 0 : CLONE_NEWUTS) | (dropped("ipcns") ? 0 : CLONE_NEWIPC)
			| (dropped("netns") ? 0 : CLONE_NEWNET) | (dropped("cgroupns") ? 0 : CLONE_NEWCGROUP),
		.exit_signal = SIGCHLD,
		.stack = (uintptr_t)stack,
		.stack_size = sizeof stack,
	};
	long pid;
	int status;

	if (argc < 3) {
		dprintf(2, "usage: floor ROOT CMD [ARG...]\n");
		return 125;
	}
	root = argv[1];
	command = argv + 2;
#ifdef CGROUP
	/* CGROUP is a group of cgroup v2, to be made by us and removed again. */
	if (mkdir(CGROUP, 0755) < 0 || (how.cgroup = open(CGROUP, O_PATH | O_DIRECTORY | O_CLOEXEC)) > 1u << 30)
		fail(CGROUP);
	how.flags |= CLONE_INTO_CGROUP;
#endif
	mark("start");
	/* The child has a stack of its own and never returns; until it execs or exits, we do not run. */
	__asm__ volatile(
		"syscall\n\t"
		"test %%rax, %%rax\n\t"
		"jnz 1f\n\t"
		"xor %%ebp, %%ebp\n\t"
		"call *%[child]\n\t"
		"hlt\n"
		"1:"
		: "=a"(pid)
		: "a"(SYS_clone3), "D"(&how), "S"(sizeof how), [child] "r"(child)
		: "rcx", "r11", "memory");
	if (pid < 0) {
		errno = -pid;
		fail("clone3");
	}
	mark("exec");
	if (waitpid(pid, &status, 0) < 0)
		fail("wait");
	mark("run, exit, wait");
#ifdef CGROUP
	if (rmdir(CGROUP) < 0)
		fail(CGROUP);
	mark("cgroup rmdir");
#endif
	tell();
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
