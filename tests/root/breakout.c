/* The usual ways out of a container, each tried once, in a process of its own, with a payload that harms nobody where it works:
 *     breakout CANARY DISK ABSTRACT COMM KEY
 * a file of the host, the number of its disk (MAJOR:MINOR), an abstract socket, a process's name, and a key's description there.
 * The first line says whether a seccomp filter is on ("filter: 0" or "filter: 2"), then one line a way: "WAY: open" if the kernel
 * let us through, otherwise "WAY: ERRNO". Let through is also what fails for its payload alone: after the gate (capability,
 * filter) the kernel would have complained of the nonsense that it was given. Static; compiled by tests/root/breakout.rs.
 *
 * What must never be in here: a reboot, kexec, acct or swap call with arguments that could work; any write but sysrq's 'h' and what
 * was read from the same file before; a new cgroup hierarchy (it would stay). */
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
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *canary, *disk, *abstract, *comm, *key;

static int can_open(const char *path, int flags) { return open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }

static int put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd < 0 ? -1 : write(fd, text, strlen(text)) < 0 ? -1 : 0;
}

/* Writes what is there already. What cannot be read, or is empty, is opened for writing and left alone. */
static int rewrite(const char *path) {
    char text[4096];
    int in = open(path, O_RDONLY | O_CLOEXEC), out = open(path, O_WRONLY | O_CLOEXEC);
    if (out < 0)
        return -1;
    ssize_t n = in < 0 ? 0 : read(in, text, sizeof text);
    return n <= 0 ? 0 : write(out, text, n) < 0 ? -1 : 0;
}

static char *place(void) {
    static char path[64];
    const char *places[] = {"/tmp", "/dev/shm", "/dev", "/"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/breakout-%d", places[i], getpid());
        /* An earlier one with this number may have left it, in a root that is written to. */
        if (mkdir(path, 0700) == 0 || errno == EEXIST)
            return path;
    }
    return path;
}

static int node(mode_t type, unsigned major, unsigned minor, int bytes) {
    const char *places[] = {"/tmp", "/dev", "/dev/shm", "/", "/etc", "/run", "/dev/mqueue", "/dev/pts", "/var"};
    char path[64], data[512];
    int error = 0;
    for (unsigned i = 0; i < sizeof places / sizeof *places; i++) {
        snprintf(path, sizeof path, "%s/node-%d", places[i], getpid());
        if (mknod(path, type | 0600, makedev(major, minor)) < 0) {
            error = error ? error : errno;
            continue;
        }
        int fd = can_open(path, O_RDONLY);
        error = errno;
        unlink(path);
        if (fd >= 0 && (!bytes || read(fd, data, bytes) == bytes))
            return 0;
    }
    errno = error;
    return -1;
}

/* ---- mounts */
static int mount_tmpfs(void) { return mount("x", place(), "tmpfs", 0, NULL); }
static int mount_proc(void) { return mount("x", place(), "proc", 0, NULL); }
static int mount_sysfs(void) { return mount("x", place(), "sysfs", 0, NULL); }
static int mount_bind(void) { return mount("/", place(), NULL, MS_BIND, NULL); }
static int mount_debugfs(void) { return mount("x", place(), "debugfs", 0, NULL); }
static int mount_tracefs(void) { return mount("x", place(), "tracefs", 0, NULL); }
static int mount_devtmpfs(void) { return mount("x", place(), "devtmpfs", 0, NULL); }
static int mount_cgroup2(void) { return mount("x", place(), "cgroup2", 0, NULL); }
static int mount_disk(void) {
    char *at = place(), path[64];
    unsigned major = 0, minor = 0;
    sscanf(disk, "%u:%u", &major, &minor);
    snprintf(path, sizeof path, "/tmp/disk-%d", getpid());
    if (mknod(path, S_IFBLK | 0600, makedev(major, minor)) < 0)
        return -1;
    int done = mount(path, at, "ext4", MS_RDONLY, NULL), error = errno;
    unlink(path);
    errno = error;
    return done;
}
static int remount_proc_sys(void) { return mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL); }
static int remount_sys(void) { return mount(NULL, "/sys", NULL, MS_REMOUNT | MS_BIND, NULL); }
static int umount_masks(void) {
    const char *all[] = {"/proc/keys", "/proc/kcore", "/proc/timer_list", "/proc/interrupts", "/sys/firmware", "/proc/sys"};
    for (int i = 0; i < 6; i++)
        if (umount2(all[i], MNT_DETACH) == 0)
            return 0;
    return -1;
}
static int share_mounts(void) { return mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL); }
static int fs_open(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static int open_tree_clone(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1); }
static int move_a_mount(void) { return syscall(SYS_move_mount, AT_FDCWD, "/proc/sys", AT_FDCWD, place(), 0); }
static int set_mount_flags(void) {
    unsigned long long attr[4] = {0, 1 /* MOUNT_ATTR_RDONLY goes */, 0, 0};
    return syscall(SYS_mount_setattr, AT_FDCWD, "/proc/sys", 0, attr, sizeof attr);
}
static int pivot(void) { return syscall(SYS_pivot_root, ".", "."); }

/* cgroup v1, as far as it is mounted on this machine: a hierarchy that nobody has would be made, and stay. */
static int release_agent(void) {
    char line[512], options[256], path[300];
    FILE *list = fopen("/proc/self/cgroup", "re");
    errno = ENOENT;
    while (list && fgets(line, sizeof line, list)) {
        char *controllers = strchr(line, ':');
        char *end = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!end || end == controllers + 1)
            continue;
        *end = 0;
        snprintf(options, sizeof options, "%s", controllers + 1);
        char *at = place();
        if (mount("x", at, "cgroup", 0, options) < 0)
            return -1;
        snprintf(path, sizeof path, "%s/release_agent", at);
        return rewrite(path);
    }
    return -1;
}
static int cgroup_mount_v1(void) {
    release_agent();
    char path[64];
    struct stat at;
    snprintf(path, sizeof path, "/tmp/breakout-%d/cgroup.procs", getpid());
    return stat(path, &at);
}
static int release_agent_there(void) {
    const char *all[] = {"/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/cpu/release_agent"};
    for (int i = 0; i < 3; i++)
        if (can_open(all[i], O_WRONLY) >= 0)
            return 0;
    return -1;
}
static int cgroup_make(void) {
    const char *all[] = {"/sys/fs/cgroup/breakout", "/sys/fs/cgroup/memory/breakout", "/sys/fs/cgroup/unified/breakout"};
    for (int i = 0; i < 3; i++)
        if (mkdir(all[i], 0700) == 0)
            return rmdir(all[i]), 0;
    return -1;
}

/* ---- files of the kernel */
static int sysrq(void) { return put("/proc/sysrq-trigger", "h"); }
static int core_pattern(void) { return rewrite("/proc/sys/kernel/core_pattern"); }
static int modprobe(void) { return rewrite("/proc/sys/kernel/modprobe"); }
static int binfmt(void) { return can_open("/proc/sys/fs/binfmt_misc/register", O_WRONLY); }
static int uevent_helper(void) { return can_open("/sys/kernel/uevent_helper", O_WRONLY); }
static int sys_kernel(void) { return can_open("/sys/kernel/mm/ksm/run", O_WRONLY); }
static int sys_module(void) { return can_open("/sys/module/firmware_class/parameters/path", O_WRONLY); }
static int sys_power(void) { return can_open("/sys/power/state", O_WRONLY); }
static int debugfs_there(void) { return can_open("/sys/kernel/debug/sleep_time", O_RDONLY); }
static int tracing_there(void) { return can_open("/sys/kernel/tracing/trace", O_RDONLY); }
static int kcore(void) {
    char c;
    int fd = can_open("/proc/kcore", O_RDONLY);
    errno = fd < 0 ? errno : ENODATA;
    return fd >= 0 && read(fd, &c, 1) == 1 ? 0 : -1;
}
static int proc_keys(void) {
    char c;
    int fd = can_open("/proc/keys", O_RDONLY);
    errno = fd < 0 ? errno : ENODATA;
    return fd >= 0 && read(fd, &c, 1) == 1 ? 0 : -1;
}
static int kmsg(void) { return can_open("/proc/kmsg", O_RDONLY); }
/* Of PID 1, if that is another user's. */
static int is_ours(void) {
    struct stat at;
    return stat("/proc/1", &at) < 0 || at.st_uid == getuid() || getuid() == 0;
}
static int mem_of_init(void) { return is_ours() ? (errno = EPERM, -1) : can_open("/proc/1/mem", O_RDWR); }
static int trace_init(void) { return is_ours() ? (errno = EPERM, -1) : (int)ptrace(PTRACE_SEIZE, 1, 0, 0); }
static int firmware(void) {
    DIR *dir = opendir("/sys/firmware");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    errno = ENOENT;
    return n > 2 ? 0 : -1;
}
static int own_program(void) {
    const char *all[] = {"/proc/1/exe", "/proc/self/exe"};
    struct stat self, at;
    stat("/proc/self/exe", &self);
    for (int i = 0; i < 2; i++) {
        /* What the image has is the container's own; the runtime's file is not in it. */
        int fd = can_open(all[i], O_WRONLY);
        if (fd >= 0 && fstat(fd, &at) == 0 && at.st_ino != self.st_ino)
            return 0;
    }
    errno = ETXTBSY;
    return -1;
}

/* ---- devices */
static int node_disk(void) {
    unsigned major = 0, minor = 0;
    sscanf(disk, "%u:%u", &major, &minor);
    return node(S_IFBLK, major, minor, 512);
}
static int node_loop(void) { return node(S_IFBLK, 7, 0, 0); }
static int node_loop_control(void) { return node(S_IFCHR, 10, 237, 0); }
static int node_mem(void) { return node(S_IFCHR, 1, 1, 0); }
static int node_port(void) { return node(S_IFCHR, 1, 4, 0); }
static int node_kmsg(void) { return node(S_IFCHR, 1, 11, 0); }
static int node_fuse(void) { return node(S_IFCHR, 10, 229, 0); }
static int node_kvm(void) { return node(S_IFCHR, 10, 232, 0); }
static int node_console(void) { return node(S_IFCHR, 5, 1, 0); }
static int port_iopl(void) { return syscall(SYS_iopl, 3); }
static int port_ioperm(void) { return syscall(SYS_ioperm, 0x80, 1, 1); }

/* ---- system calls that are root's: nonsense for arguments, so that the gate alone is tried */
static int reboot_nonsense(void) { return syscall(SYS_reboot, 1, 2, 3, NULL); }
static int kexec(void) { return syscall(SYS_kexec_load, 0, 1UL << 20, NULL, 0xffffUL); }
static int kexec_file(void) { return syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0xffffUL); }
static int init_module_nonsense(void) { return syscall(SYS_init_module, NULL, 0, ""); }
static int finit_module_nonsense(void) { return syscall(SYS_finit_module, -1, "", 0xffff); }
static int delete_module_nonsense(void) { return syscall(SYS_delete_module, "breakout_no_such_module", O_NONBLOCK); }
static int swapon_nothing(void) { return syscall(SYS_swapon, "/nonexistent/swap", 0); }
static int swapoff_nothing(void) { return syscall(SYS_swapoff, "/nonexistent/swap"); }
static int acct_nothing(void) { return syscall(SYS_acct, "/nonexistent/acct"); }
static int quota(void) { return syscall(SYS_quotactl, 0x800004 << 8, "/nonexistent/disk", 0, NULL); }
static int clock_same(void) {
    struct timex now = {0};
    if (adjtimex(&now) < 0)
        return -1;
    now.modes = ADJ_TICK; /* the tick that it has */
    return adjtimex(&now) < 0 ? -1 : 0;
}
static int hostname_same(void) {
    char name[65] = "";
    gethostname(name, sizeof name - 1);
    return sethostname(name, strlen(name));
}
static int kernel_log(void) {
    char text[256];
    return syscall(SYS_syslog, 3 /* SYSLOG_ACTION_READ_ALL: takes nothing away */, text, sizeof text) < 0 ? -1 : 0;
}
static int shocker(void) {
    struct { struct file_handle h; unsigned char bytes[8]; } handle = {{.handle_bytes = 8, .handle_type = 1}, {2}};
    const char *all[] = {"/", "/etc/hosts", "/etc/hostname", "/proc", "/tmp", "/volume"};
    int error = EPERM;
    for (int i = 0; i < 6; i++) {
        int fd = open(all[i], O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (syscall(SYS_open_by_handle_at, fd, &handle, O_RDONLY) >= 0)
            return 0;
        error = errno == EPERM ? error : errno;
    }
    errno = error;
    return -1;
}
static int bpf_map(void) {
    unsigned attr[20] = {2 /* BPF_MAP_TYPE_ARRAY */, 4, 4, 1};
    return syscall(SYS_bpf, 0, attr, sizeof attr);
}
static int bpf_nothing(void) { return syscall(SYS_bpf, 9999, NULL, 0); }
static int perf(int pid, int cpu) {
    unsigned long long attr[16] = {1 /* PERF_TYPE_SOFTWARE */ | 128ULL << 32};
    attr[5] = 1 << 5 | 1 << 6; /* exclude_kernel, exclude_hv */
    return syscall(SYS_perf_event_open, attr, pid, cpu, -1, 0);
}
static int perf_self(void) { return perf(0, -1); }
static int perf_everybody(void) { return perf(-1, 0); }
static int userfault(void) { return syscall(SYS_userfaultfd, O_CLOEXEC); }
static int userfault_user(void) { return syscall(SYS_userfaultfd, O_CLOEXEC | 1); }
static int io_uring(void) {
    unsigned params[30] = {0};
    return syscall(SYS_io_uring_setup, 1, params);
}
static int vsock(void) { return socket(40 /* AF_VSOCK */, SOCK_STREAM, 0); }

/* ---- keys */
static int keyring_join(void) { return syscall(SYS_keyctl, 1 /* JOIN_SESSION_KEYRING */, NULL); }
static int key_add(void) { return syscall(SYS_add_key, "user", "breakout", "x", 1, -2 /* its process's own */); }
static int key_request(void) { return syscall(SYS_request_key, "user", "breakout-nothing", NULL, 0); }
static int key_of_host(void) {
    int rings[] = {-3 /* session */, -4 /* user */, -5 /* user session */, -7 /* persistent */};
    char data[64];
    for (int i = 0; i < 4; i++) {
        long found = syscall(SYS_keyctl, 10 /* SEARCH */, rings[i], "user", key, 0);
        if (found >= 0 && syscall(SYS_keyctl, 11 /* READ */, found, data, sizeof data) >= 0)
            return 0;
    }
    return -1;
}

/* ---- namespaces */
static int in_child(int (*what)(void)) {
    int status = 0;
    pid_t p = fork();
    if (p == 0)
        _exit(what() < 0 ? errno : 0);
    if (p < 0 || waitpid(p, &status, 0) != p)
        return -1;
    errno = WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
    return errno ? -1 : 0;
}
static int unshare_user(void) { return unshare(CLONE_NEWUSER); }
static int unshare_mounts(void) { return unshare(CLONE_NEWNS); }
static int unshare_pids(void) { return unshare(CLONE_NEWPID); }
static int unshare_net(void) { return unshare(CLONE_NEWNET); }
static int unshare_cgroup(void) { return unshare(CLONE_NEWCGROUP); }
static int clone_user(void) {
    long p = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (p == 0)
        _exit(0);
    return p < 0 ? -1 : 0;
}
static int clone3_user(void) {
    unsigned long long args[8] = {CLONE_NEWUSER, 0, 0, 0, SIGCHLD};
    long p = syscall(435, args, sizeof args);
    if (p == 0)
        _exit(0);
    return p < 0 ? -1 : 0;
}
/* The same by the kernel's other doors, which a filter for one of them alone does not watch. */
static int i386_unshare_user(void) {
    int answer;
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(310), "b"(CLONE_NEWUSER) : "memory", "r8", "r9", "r10", "r11");
    errno = answer < 0 ? -answer : 0;
    return answer < 0 ? -1 : 0;
}
static int x32_unshare_user(void) { return syscall(0x40000000L + SYS_unshare, CLONE_NEWUSER); }
static int i386_unshare_mounts(void) {
    int answer;
    __asm__ volatile("int $0x80" : "=a"(answer) : "a"(310), "b"(CLONE_NEWNS) : "memory", "r8", "r9", "r10", "r11");
    errno = answer < 0 ? -answer : 0;
    return answer < 0 ? -1 : 0;
}

/* A user namespace of its own with itself as root, and a mount namespace in that: all powers, over nothing. */
static int nest(void) {
    char map[64];
    unsigned uid = getuid();
    if (unshare(CLONE_NEWUSER) < 0)
        return -1;
    put("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", uid);
    put("/proc/self/uid_map", map);
    return unshare(CLONE_NEWNS | CLONE_NEWCGROUP);
}
#define NESTED(name, what)               \
    static int name(void) {              \
        if (nest() < 0)                  \
            return -1;                   \
        return what();                   \
    }
NESTED(nested_tmpfs, mount_tmpfs)
NESTED(nested_sysfs, mount_sysfs)
NESTED(nested_debugfs, mount_debugfs)
NESTED(nested_devtmpfs, mount_devtmpfs)
NESTED(nested_cgroup, cgroup_mount_v1)
NESTED(nested_release_agent, release_agent)
NESTED(nested_cgroup2, mount_cgroup2)
NESTED(nested_umount, umount_masks)
NESTED(nested_remount, remount_proc_sys)
NESTED(nested_disk, node_disk)
NESTED(nested_core_pattern, core_pattern)
NESTED(nested_sysrq, sysrq)
NESTED(nested_shocker, shocker)
NESTED(nested_bpf, bpf_map)
NESTED(nested_reboot, reboot_nonsense)
static int nested_proc(void) {
    if (nest() < 0 || unshare(CLONE_NEWPID) < 0)
        return -1;
    return in_child(mount_proc);
}
static int into(const char *path, int flags) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -1 : setns(fd, flags);
}
static int setns_mounts(void) { return into("/proc/1/ns/mnt", CLONE_NEWNS); }
static int setns_net(void) { return into("/proc/1/ns/net", CLONE_NEWNET); }
static int setns_pid(void) { return into("/proc/1/ns/pid", CLONE_NEWPID); }
static int setns_cgroup(void) { return into("/proc/1/ns/cgroup", CLONE_NEWCGROUP); }

/* ---- what is outside */
static int chroot_out(void) {
    char *jail = place();
    int up = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (up < 0 || chroot(jail) < 0 || fchdir(up) < 0)
        return -1;
    for (int i = 0; i < 100; i++)
        if (chdir("..") < 0)
            break;
    if (chroot(".") < 0)
        return -1;
    return access(canary, F_OK);
}
static int canary_there(void) { return access(canary, F_OK); }
static int canary_by_links(void) {
    DIR *proc = opendir("/proc");
    char path[4200];
    struct dirent *e;
    while (proc && (e = readdir(proc))) {
        if (atoi(e->d_name) <= 0)
            continue;
        const char *links[] = {"root", "cwd", "fd/0", "fd/1", "fd/2", "fd/3", "fd/4", "fd/5", "fd/6", "fd/7", "fd/8", "fd/9"};
        for (int i = 0; i < 12; i++) {
            snprintf(path, sizeof path, "/proc/%s/%s/%s", e->d_name, links[i], canary);
            if (access(path, F_OK) == 0)
                return 0;
            snprintf(path, sizeof path, "/proc/%s/%s/../../../../../../../../../..%s", e->d_name, links[i], canary);
            if (access(path, F_OK) == 0)
                return 0;
        }
    }
    errno = ENOENT;
    return -1;
}
/* A process of the host, by its name: to be seen, signalled, traced, read, or stolen from. */
static int host_process(void) {
    DIR *proc = opendir("/proc");
    char path[300], text[64];
    struct dirent *e;
    while (proc && (e = readdir(proc))) {
        int pid = atoi(e->d_name);
        if (pid <= 0)
            continue;
        snprintf(path, sizeof path, "/proc/%d/comm", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        text[n < 0 ? 0 : n] = 0;
        if (fd >= 0)
            close(fd);
        if (strncmp(text, comm, strlen(comm)) == 0)
            return 0;
    }
    errno = ESRCH;
    return -1;
}
static int abstract_socket(void) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(to.sun_path + 1, abstract, sizeof to.sun_path - 2);
    return connect(s, (struct sockaddr *)&to, offsetof(struct sockaddr_un, sun_path) + 1 + strlen(abstract));
}
static int type_into_terminal(void) {
    for (int fd = 0; fd < 3; fd++)
        if (ioctl(fd, TIOCSTI, " ") == 0)
            return 0;
    return -1;
}
static int raise_ambient(void) { return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 21 /* SYS_ADMIN */, 0, 0); }
static int more_powers(void) {
    unsigned header[2] = {0x20080522, 0}, data[6] = {1 << 21, 1 << 21, 1 << 21, 0, 0, 0};
    return syscall(SYS_capset, header, data);
}
static int privileges_again(void) { return prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0); }
static int oom_immune(void) { return put("/proc/self/oom_score_adj", "-1000"); }
static int ids_of_others(void) { return put("/proc/self/uid_map", "0 0 4294967295"); }

/* `past` are the errors that come after the gate: whoever sees them was let through. */
static const struct way {
    const char *name;
    int (*go)(void);
    int past[4];
} ways[] = {
    {"mount-tmpfs", mount_tmpfs, {0}},
    {"mount-proc", mount_proc, {0}},
    {"mount-sysfs", mount_sysfs, {0}},
    {"mount-bind", mount_bind, {0}},
    {"mount-debugfs", mount_debugfs, {ENODEV, EBUSY}},
    {"mount-tracefs", mount_tracefs, {ENODEV, EBUSY}},
    {"mount-devtmpfs", mount_devtmpfs, {ENODEV, EBUSY}},
    {"mount-cgroup2", mount_cgroup2, {ENODEV, EBUSY}},
    {"mount-cgroup-v1", cgroup_mount_v1, {0}},
    {"mount-disk", mount_disk, {EINVAL, EBUSY}},
    {"remount-proc-sys", remount_proc_sys, {EINVAL}},
    {"remount-sys", remount_sys, {EINVAL}},
    {"umount-masks", umount_masks, {EINVAL, EBUSY}},
    {"share-mounts", share_mounts, {EINVAL}},
    {"fsopen", fs_open, {0}},
    {"open-tree", open_tree_clone, {EINVAL}},
    {"move-mount", move_a_mount, {EINVAL}},
    {"mount-setattr", set_mount_flags, {EINVAL}},
    {"pivot-root", pivot, {EINVAL, EBUSY}},
    {"release-agent", release_agent, {0}},
    {"release-agent-there", release_agent_there, {0}},
    {"cgroup-make", cgroup_make, {0}},
    {"sysrq-trigger", sysrq, {0}},
    {"core-pattern", core_pattern, {0}},
    {"modprobe", modprobe, {0}},
    {"binfmt-misc", binfmt, {0}},
    {"uevent-helper", uevent_helper, {0}},
    {"sys-kernel", sys_kernel, {0}},
    {"sys-module", sys_module, {0}},
    {"sys-power", sys_power, {0}},
    {"debugfs", debugfs_there, {0}},
    {"tracing", tracing_there, {0}},
    {"kcore", kcore, {0}},
    {"proc-keys", proc_keys, {0}},
    {"kmsg", kmsg, {0}},
    {"mem-of-init", mem_of_init, {0}},
    {"firmware", firmware, {0}},
    {"runtime-program", own_program, {0}},
    {"node-disk", node_disk, {0}},
    {"node-loop", node_loop, {ENXIO, EBUSY}},
    {"node-loop-control", node_loop_control, {ENXIO}},
    {"node-mem", node_mem, {ENXIO}},
    {"node-port", node_port, {ENXIO}},
    {"node-kmsg", node_kmsg, {ENXIO}},
    {"node-fuse", node_fuse, {ENXIO}},
    {"node-kvm", node_kvm, {ENXIO}},
    {"node-console", node_console, {ENXIO}},
    {"iopl", port_iopl, {0}},
    {"ioperm", port_ioperm, {0}},
    {"reboot", reboot_nonsense, {EINVAL}},
    {"kexec-load", kexec, {EINVAL, EBUSY}},
    {"kexec-file-load", kexec_file, {EINVAL, EBADF, EBUSY}},
    {"init-module", init_module_nonsense, {EFAULT, ENOEXEC, EINVAL}},
    {"finit-module", finit_module_nonsense, {EINVAL, EBADF}},
    {"delete-module", delete_module_nonsense, {ENOENT}},
    {"swapon", swapon_nothing, {ENOENT, EINVAL}},
    {"swapoff", swapoff_nothing, {ENOENT, EINVAL}},
    {"acct", acct_nothing, {ENOENT}},
    {"quotactl", quota, {EFAULT}},
    {"clock", clock_same, {0}},
    {"hostname", hostname_same, {0}},
    {"kernel-log", kernel_log, {0}},
    {"shocker", shocker, {ESTALE}},
    {"bpf-map", bpf_map, {0}},
    {"bpf-any", bpf_nothing, {EINVAL, EFAULT}},
    {"perf-self", perf_self, {EINVAL, ENOENT}},
    {"perf-everybody", perf_everybody, {EINVAL, ENOENT}},
    {"userfaultfd", userfault, {0}},
    {"userfaultfd-user", userfault_user, {0}},
    {"io-uring", io_uring, {EINVAL}},
    {"vsock", vsock, {0}},
    {"keyring-join", keyring_join, {0}},
    {"key-add", key_add, {EINVAL, ENOKEY}},
    {"key-request", key_request, {ENOKEY}},
    {"key-of-host", key_of_host, {0}},
    {"unshare-user", unshare_user, {0}},
    {"unshare-mounts", unshare_mounts, {0}},
    {"unshare-pids", unshare_pids, {0}},
    {"unshare-net", unshare_net, {0}},
    {"unshare-cgroup", unshare_cgroup, {0}},
    {"clone-user", clone_user, {0}},
    {"clone3-user", clone3_user, {0}},
    {"i386-unshare-user", i386_unshare_user, {0}},
    {"i386-unshare-mounts", i386_unshare_mounts, {0}},
    {"x32-unshare-user", x32_unshare_user, {0}},
    {"nested-tmpfs", nested_tmpfs, {0}},
    {"nested-proc", nested_proc, {0}},
    {"nested-sysfs", nested_sysfs, {0}},
    {"nested-debugfs", nested_debugfs, {0}},
    {"nested-devtmpfs", nested_devtmpfs, {0}},
    {"nested-cgroup-v1", nested_cgroup, {0}},
    {"nested-release-agent", nested_release_agent, {0}},
    {"nested-cgroup2", nested_cgroup2, {0}},
    {"nested-umount", nested_umount, {0}},
    {"nested-remount", nested_remount, {0}},
    {"nested-disk", nested_disk, {0}},
    {"nested-core-pattern", nested_core_pattern, {0}},
    {"nested-sysrq", nested_sysrq, {0}},
    {"nested-shocker", nested_shocker, {ESTALE}},
    {"nested-bpf", nested_bpf, {0}},
    {"nested-reboot", nested_reboot, {0}},
    {"setns-mounts", setns_mounts, {0}},
    {"setns-net", setns_net, {0}},
    {"setns-pid", setns_pid, {0}},
    {"setns-cgroup", setns_cgroup, {0}},
    {"chroot-out", chroot_out, {0}},
    {"canary", canary_there, {0}},
    {"canary-by-links", canary_by_links, {0}},
    {"host-process", host_process, {0}},
    {"abstract-socket", abstract_socket, {0}},
    {"tiocsti", type_into_terminal, {0}},
    {"trace-init", trace_init, {0}},
    {"ambient", raise_ambient, {0}},
    {"capset", more_powers, {0}},
    {"no-new-privs-off", privileges_again, {0}},
    {"oom-score", oom_immune, {0}},
    {"map-all-ids", ids_of_others, {0}},
};

int main(int argc, char **argv) {
    char line[128];
    const char *filter = "?";
    if (argc != 6)
        return 2;
    canary = argv[1], disk = argv[2], abstract = argv[3], comm = argv[4], key = argv[5];
    setvbuf(stdout, NULL, _IOLBF, 0);
    FILE *status = fopen("/proc/self/status", "re");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, "Seccomp:", 8) == 0)
            filter = strdup(strtok(line + 8, " \t\n"));
    printf("filter: %s\n", filter);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        int state = 0;
        fflush(NULL);
        pid_t p = fork();
        if (p == 0) {
            alarm(10);
            errno = 0;
            int done = ways[i].go(), error = errno, past = 0;
            for (int n = 0; n < 4; n++)
                past |= ways[i].past[n] && error == ways[i].past[n];
            _exit(done >= 0 || past ? 0 : error > 0 && error < 250 ? error : 255);
        }
        if (p < 0 || waitpid(p, &state, 0) != p)
            printf("%s: not tried, %s\n", ways[i].name, strerrorname_np(errno));
        else if (WIFSIGNALED(state))
            printf("%s: signal %d\n", ways[i].name, WTERMSIG(state));
        else if (WEXITSTATUS(state) == 0)
            printf("%s: open\n", ways[i].name);
        else
            printf("%s: %s\n", ways[i].name, WEXITSTATUS(state) == 255 ? "no errno" : strerrorname_np(WEXITSTATUS(state)));
    }
    printf("end\n");
    return 0;
}
