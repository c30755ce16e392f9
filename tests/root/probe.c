/* What a hostile program tries from inside of a container. One word says what; each line of output is an attempt and how
 * it ended: "NAME ok" or "NAME ERRNO". Static, so that it runs in any root filesystem. Compiled by tests/root/hostile.rs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void say(const char *what, long result) {
    if (result >= 0)
        printf("%s ok\n", what);
    else
        printf("%s %s\n", what, strerrorname_np(errno));
    fflush(stdout);
}

/* In a process of its own, so that one success does not help the next. */
#define TRY(what, call)                     \
    do {                                    \
        fflush(stdout);                     \
        pid_t p_ = fork();                  \
        if (p_ == 0) {                      \
            errno = 0;                      \
            say(what, (long)(call));        \
            _exit(0);                       \
        }                                   \
        waitpid(p_, NULL, 0);               \
    } while (0)

static int can_open(const char *path, int flags) { return open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }

/* Makes a device node and opens it. */
static int device(const char *path, mode_t type, unsigned major, unsigned minor) {
    unlink(path);
    if (mknod(path, type | 0666, makedev(major, minor)) < 0)
        return -1;
    int fd = can_open(path, O_RDONLY), error = errno;
    unlink(path);
    errno = error;
    return fd;
}

static int into(const char *path, int flags) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : setns(fd, flags);
}

static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

/* Writes what is there already, so that nothing is harmed where this should work. */
static int rewrite(const char *path) {
    char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[length < 0 ? 0 : length] = 0;
    return put(path, length > 0 ? text : "\n");
}

/* Everything that needs more than a container has. */
static void powers(void) {
    TRY("mount-tmpfs", mount("tmpfs", "/tmp", "tmpfs", 0, NULL));
    TRY("mount-proc", mount("proc", "/tmp", "proc", 0, NULL));
    TRY("mount-sysfs", mount("sysfs", "/tmp", "sysfs", 0, NULL));
    TRY("mount-cgroup", mount("cgroup", "/tmp", "cgroup", 0, "memory"));
    TRY("mount-cgroup2", mount("cgroup2", "/tmp", "cgroup2", 0, NULL));
    TRY("mount-debugfs", mount("debugfs", "/tmp", "debugfs", 0, NULL));
    TRY("mount-devtmpfs", mount("devtmpfs", "/tmp", "devtmpfs", 0, NULL));
    TRY("mount-securityfs", mount("securityfs", "/tmp", "securityfs", 0, NULL));
    TRY("mount-bind", mount("/", "/tmp", NULL, MS_BIND, NULL));
    TRY("mount-shared", mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL));
    TRY("remount-sys", mount(NULL, "/sys", NULL, MS_REMOUNT, NULL));
    TRY("remount-bind-sys", mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    TRY("remount-proc-sys", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    TRY("remount-root-dev", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
    TRY("umount-root", umount2("/", MNT_DETACH));
    TRY("umount-proc", umount2("/proc", MNT_DETACH));
    TRY("umount-proc-sys", umount2("/proc/sys", MNT_DETACH));
    TRY("umount-proc-keys", umount2("/proc/keys", MNT_DETACH));
    TRY("umount-proc-interrupts", umount2("/proc/interrupts", MNT_DETACH));
    TRY("umount-sys-firmware", umount2("/sys/firmware", MNT_DETACH));
    TRY("umount-sys", umount2("/sys", 0));
    TRY("pivot-root", syscall(SYS_pivot_root, ".", "."));
    TRY("open-tree", syscall(SYS_open_tree, AT_FDCWD, "/proc", 1 /* OPEN_TREE_CLONE */));
    TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    TRY("move-mount", syscall(SYS_move_mount, AT_FDCWD, "/proc/keys", AT_FDCWD, "/tmp", 0));
    TRY("unshare-mnt", unshare(CLONE_NEWNS));
    TRY("unshare-pid", unshare(CLONE_NEWPID));
    TRY("unshare-net", unshare(CLONE_NEWNET));
    TRY("unshare-uts", unshare(CLONE_NEWUTS));
    TRY("unshare-ipc", unshare(CLONE_NEWIPC));
    TRY("unshare-cgroup", unshare(CLONE_NEWCGROUP));
    TRY("unshare-time", unshare(0x80));
    TRY("setns-mnt", into("/proc/1/ns/mnt", CLONE_NEWNS));
    TRY("setns-pid", into("/proc/1/ns/pid", CLONE_NEWPID));
    TRY("setns-net", into("/proc/1/ns/net", CLONE_NEWNET));
    TRY("setns-user", into("/proc/1/ns/user", CLONE_NEWUSER));
    TRY("setns-cgroup", into("/proc/1/ns/cgroup", CLONE_NEWCGROUP));
    TRY("dev-disk", device("/dev/x", S_IFBLK, 254, 0));
    TRY("dev-loop", device("/dev/x", S_IFBLK, 7, 0));
    TRY("tmp-loop", device("/tmp/x", S_IFBLK, 7, 0));
    TRY("root-loop", device("/x", S_IFBLK, 7, 0));
    TRY("shm-loop", device("/dev/shm/x", S_IFBLK, 7, 0));
    TRY("pts-loop", device("/dev/pts/x", S_IFBLK, 7, 0));
    TRY("mqueue-loop", device("/dev/mqueue/x", S_IFBLK, 7, 0));
    TRY("etc-loop", device("/etc/x", S_IFBLK, 7, 0));
    TRY("volume-loop", device("/volume/x", S_IFBLK, 7, 0));
    TRY("tmpfs-loop", device("/tmpfs/x", S_IFBLK, 7, 0));
    TRY("dev-fuse", device("/dev/x", S_IFCHR, 10, 229));
    TRY("tmp-fuse", device("/tmp/x", S_IFCHR, 10, 229));
    TRY("dev-tun", device("/dev/x", S_IFCHR, 10, 200));
    TRY("dev-kmsg", device("/dev/x", S_IFCHR, 1, 11));
    TRY("tmp-kmsg", device("/tmp/x", S_IFCHR, 1, 11));
    TRY("dev-mem", device("/dev/x", S_IFCHR, 1, 1));
    TRY("dev-port", device("/dev/x", S_IFCHR, 1, 4));
    TRY("sethostname", sethostname("evil", 4));
    TRY("setdomainname", setdomainname("evil", 4));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    TRY("settime", clock_settime(CLOCK_REALTIME, &now));
    TRY("reboot", reboot(RB_DISABLE_CAD));
    TRY("kexec", syscall(SYS_kexec_load, 0, 0, NULL, 0));
    TRY("init-module", syscall(SYS_init_module, "", 0, ""));
    TRY("finit-module", syscall(SYS_finit_module, 0, "", 0));
    TRY("delete-module", syscall(SYS_delete_module, "nothing", O_NONBLOCK));
    TRY("swapon", swapon("/bin/busybox", 0));
    TRY("swapoff", swapoff("/bin/busybox"));
    TRY("acct", syscall(SYS_acct, NULL));
    TRY("iopl", syscall(SYS_iopl, 3));
    TRY("ioperm", syscall(SYS_ioperm, 0x70, 2, 1));
    TRY("vhangup", syscall(SYS_vhangup));
    TRY("syslog-clear", syscall(SYS_syslog, 5, NULL, 0));
    TRY("quotactl", syscall(SYS_quotactl, 0x800007 << 8, "/dev/null", 0, NULL));
    struct { struct file_handle h; unsigned char bytes[8]; } handle = {{.handle_bytes = 8, .handle_type = 1}, {2}};
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    TRY("open-by-handle", syscall(SYS_open_by_handle_at, root, &handle, O_RDONLY));
    TRY("bpf-load", syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, NULL, 0) == -1 && errno == EPERM ? -1 : 0);
    TRY("chroot-then-mount", chroot("/tmp") < 0 ? -1 : mount("proc", "/", "proc", 0, NULL));
    TRY("setcap-raise", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21, 0, 0));
    TRY("nice", setpriority(0, 0, -10));
    TRY("core-pattern", rewrite("/proc/sys/kernel/core_pattern"));
    TRY("modprobe", rewrite("/proc/sys/kernel/modprobe"));
    TRY("binfmt", put("/proc/sys/fs/binfmt_misc/register", ":evil:M::evil::/evil:"));
    TRY("randomize", rewrite("/proc/sys/kernel/randomize_va_space"));
    TRY("ip-forward", rewrite("/proc/sys/net/ipv4/ip_forward"));
    TRY("sysrq", put("/proc/sysrq-trigger", "h"));
    TRY("uevent-helper", rewrite("/sys/kernel/uevent_helper"));
    TRY("profiling", rewrite("/sys/kernel/profiling"));
    TRY("ksm", rewrite("/sys/kernel/mm/ksm/run"));
    TRY("release-agent", rewrite("/sys/fs/cgroup/release_agent"));
    TRY("release-agent-v1", rewrite("/sys/fs/cgroup/memory/release_agent"));
    TRY("cgroup-procs", put("/sys/fs/cgroup/cgroup.procs", "0"));
    TRY("debugfs", can_open("/sys/kernel/debug/sleep_time", O_RDONLY));
    TRY("tracing", can_open("/sys/kernel/tracing/trace", O_RDONLY));
    TRY("firmware-class", rewrite("/sys/module/firmware_class/parameters/path"));
    TRY("oom", put("/proc/self/oom_score_adj", "-1000"));
    TRY("uid-map", put("/proc/self/uid_map", "0 0 1"));
}

/* A procfs that nothing covers, in a pid namespace of one's own. */
static int new_proc(void) {
    int status;
    if (unshare(CLONE_NEWPID) < 0)
        return -1;
    pid_t child = fork();
    if (child == 0)
        _exit(mount("proc", "/tmp", "proc", 0, NULL) < 0 ? errno : 0);
    waitpid(child, &status, 0);
    errno = WEXITSTATUS(status);
    return errno ? -1 : 0;
}

/* A user namespace of one's own gives all powers in it, over nothing that was there before. */
static void nested(void) {
    uid_t uid = getuid();
    if (unshare(CLONE_NEWUSER) < 0) {
        say("userns", -1);
        return;
    }
    char map[64];
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", uid);
    say("userns", 0);
    say("map", put("/proc/self/uid_map", map));
    snprintf(map, sizeof map, "0 %u 4294967295", 0);
    TRY("map-again", put("/proc/self/uid_map", map));
    TRY("host-mnt-umount", umount2("/proc/sys", MNT_DETACH));
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWCGROUP) < 0) {
        say("unshare", -1);
        return;
    }
    TRY("umount-proc-sys", umount2("/proc/sys", MNT_DETACH));
    TRY("umount-proc-keys", umount2("/proc/keys", MNT_DETACH));
    TRY("umount-proc-interrupts", umount2("/proc/interrupts", MNT_DETACH));
    TRY("umount-sys-firmware", umount2("/sys/firmware", MNT_DETACH));
    TRY("umount-dev", umount2("/dev", 0));
    TRY("umount-etc", umount2("/etc/hosts", MNT_DETACH));
    TRY("remount-sys", mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    TRY("remount-proc-sys", mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL));
    TRY("remount-dev", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL) < 0 ? -1 : device("/tmp/x", S_IFBLK, 7, 0));
    TRY("peel-proc", mount("/proc", "/tmp", NULL, MS_BIND, NULL));
    TRY("peel-sys", mount("/sys", "/tmp", NULL, MS_BIND, NULL));
    TRY("mount-proc", new_proc());
    TRY("mount-sysfs", mount("sysfs", "/tmp", "sysfs", 0, NULL));
    TRY("mount-devtmpfs", mount("devtmpfs", "/tmp", "devtmpfs", 0, NULL));
    TRY("mount-debugfs", mount("debugfs", "/tmp", "debugfs", 0, NULL));
    TRY("mount-cgroup-v1", mount("cgroup", "/tmp", "cgroup", 0, "memory"));
    TRY("loop-in-own-tmpfs", mount("tmpfs", "/tmp", "tmpfs", 0, NULL) < 0 ? -1 : device("/tmp/x", S_IFBLK, 7, 0));
    TRY("sysrq", put("/proc/sysrq-trigger", "h"));
    TRY("core-pattern", rewrite("/proc/sys/kernel/core_pattern"));
    TRY("setns-back", into("/proc/1/ns/mnt", CLONE_NEWNS));
    TRY("chroot-parent", chroot("/proc/1/root") < 0 ? -1 : mount("tmpfs", "/", "tmpfs", 0, NULL));
}

static const char *root_is(struct stat *was) {
    struct stat now;
    return stat("/", &now) == 0 && now.st_dev == was->st_dev && now.st_ino == was->st_ino ? "same" : "ELSEWHERE";
}

/* The ways out of a chroot. CANARY is a file of the host. */
static void escape(const char *canary) {
    struct stat was;
    stat("/", &was);
    mkdir("/tmp/jail", 0755);
    if (fork() == 0) {
        int root = open("/", O_RDONLY | O_DIRECTORY);
        chroot("/tmp/jail");
        fchdir(root);
        for (int i = 0; i < 100; i++)
            chdir("..");
        chroot(".");
        printf("fchdir root %s canary %s\n", root_is(&was), access(canary, F_OK) ? "hidden" : "SEEN");
        exit(0);
    }
    wait(NULL);
    if (fork() == 0) {
        chroot("/tmp/jail");
        for (int i = 0; i < 100; i++)
            chdir("..");
        chroot(".");
        printf("dotdot root %s canary %s\n", root_is(&was), access(canary, F_OK) ? "hidden" : "SEEN");
        exit(0);
    }
    wait(NULL);
    /* A descriptor passed into a jail from outside of it. */
    if (fork() == 0) {
        int pair[2];
        socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
        int root = open("/proc/1/root", O_PATH | O_DIRECTORY);
        chroot("/tmp/jail");
        int up = root;
        for (int i = 0; i < 100; i++)
            up = openat(up, "..", O_PATH | O_DIRECTORY);
        fchdir(up);
        chroot(".");
        printf("openat root %s canary %s\n", root_is(&was), access(canary, F_OK) ? "hidden" : "SEEN");
        exit(0);
    }
    wait(NULL);
    fflush(stdout);
    /* Links of procfs: each root and cwd of each process there is. */
    DIR *proc = opendir("/proc");
    for (struct dirent *e; (e = readdir(proc));) {
        if (atoi(e->d_name) == 0)
            continue;
        for (int i = 0; i < 2; i++) {
            char path[600];
            struct stat there;
            snprintf(path, sizeof path, "/proc/%s/%s/%s", e->d_name, i ? "cwd" : "root", canary);
            if (access(path, F_OK) == 0)
                printf("SEEN %s\n", path);
            snprintf(path, sizeof path, "/proc/%s/root/", e->d_name);
            if (i == 0 && stat(path, &there) == 0 && (there.st_dev != was.st_dev || there.st_ino != was.st_ino))
                printf("ELSEWHERE %s\n", path);
        }
        char path[600];
        snprintf(path, sizeof path, "/proc/%s/fd", e->d_name);
        DIR *fds = opendir(path);
        for (struct dirent *f; fds && (f = readdir(fds));) {
            snprintf(path, sizeof path, "/proc/%s/fd/%s/%s", e->d_name, f->d_name, canary);
            if (access(path, F_OK) == 0)
                printf("SEEN %s\n", path);
        }
    }
    printf("end\n");
}

/* The working directory is a directory of this root: up from it, / is reached. */
static void cwd(void) {
    char where[4096];
    struct stat was, top;
    stat("/", &was);
    int up = open(".", O_PATH | O_DIRECTORY);
    for (int i = 0; up >= 0 && i < 100; i++)
        up = openat(up, "..", O_PATH | O_DIRECTORY);
    int same = up >= 0 && fstat(up, &top) == 0 && top.st_dev == was.st_dev && top.st_ino == was.st_ino;
    printf("%s %s\n", getcwd(where, sizeof where) ? where : strerrorname_np(errno), same ? "inside" : "OUTSIDE");
}

/* Writes to the file behind a process's exe link, in each way there is. */
static void exe(const char *path) {
    char self[64];
    TRY("write", can_open(path, O_WRONLY));
    TRY("readwrite", can_open(path, O_RDWR));
    TRY("truncate", can_open(path, O_WRONLY | O_TRUNC));
    TRY("append", can_open(path, O_WRONLY | O_APPEND));
    TRY("truncate-path", truncate(path, 0));
    TRY("chmod", chmod(path, 04777));
    TRY("chown", chown(path, 1, 1));
    TRY("setxattr", syscall(SYS_setxattr, path, "user.evil", "x", 1, 0));
    TRY("utimes", utimes(path, NULL));
    TRY("link", linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/stolen", AT_SYMLINK_FOLLOW));
    for (int i = 0; i < 2; i++) {
        int fd = open(path, (i ? O_PATH : O_RDONLY) | O_CLOEXEC);
        printf("%s-open %s\n", i ? "path" : "read", fd < 0 ? strerrorname_np(errno) : "ok");
        snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
        TRY(i ? "path-reopen" : "read-reopen", can_open(self, O_WRONLY));
        TRY(i ? "path-fchmod" : "read-fchmod", i ? chmod(self, 0777) : fchmod(fd, 0777));
        TRY(i ? "path-truncate" : "read-truncate", truncate(self, 0));
        TRY(i ? "path-ftruncate" : "read-ftruncate", ftruncate(fd, 0));
    }
}

/* Types into the terminal that is standard input. */
static void type(void) {
    for (int fd = 0; fd < 3; fd++) {
        char name[20];
        snprintf(name, sizeof name, "tiocsti-%d", fd);
        TRY(name, ioctl(fd, TIOCSTI, "x"));
        snprintf(name, sizeof name, "tiocsctty-%d", fd);
        TRY(name, ioctl(fd, TIOCSCTTY, 1) < 0 ? -1 : ioctl(fd, TIOCSTI, "x"));
        char paste[2] = {3, 0};
        snprintf(name, sizeof name, "tioclinux-%d", fd);
        TRY(name, ioctl(fd, TIOCLINUX, paste));
    }
    TRY("devtty", can_open("/dev/tty", O_RDWR));
}

static void dial(const char *name) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    strncpy(to.sun_path + 1, name, sizeof to.sun_path - 2);
    say("abstract", connect(s, (struct sockaddr *)&to, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)));
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "", *with = argc > 2 ? argv[2] : "";
    if (!strcmp(what, "powers"))
        powers();
    else if (!strcmp(what, "nested"))
        nested();
    else if (!strcmp(what, "escape"))
        escape(with);
    else if (!strcmp(what, "cwd"))
        cwd();
    else if (!strcmp(what, "exe"))
        exe(with);
    else if (!strcmp(what, "type"))
        type();
    else if (!strcmp(what, "dial"))
        dial(with);
    else
        return 2;
    return 0;
}
