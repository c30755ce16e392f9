/* A resident that has SYS_PTRACE and waits for visitors: attaches to every process that is new in here, and says what it holds then
 * that is more than its own: "POWER" (capabilities), "UNFILTERED", "DESCRIPTOR", "ENVIRONMENT" (CANARY=). Writes "SEIZED" over the
 * environment of each that does not run this image's own program, for the test to see in whose memory it arrives.
 * Ends when /dev/shm/enough is there. Static; compiled by tests/root/breakout.rs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[65536];
static ssize_t length;

static const char *slurp(int pid, const char *name) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    text[length < 0 ? (length = 0) : length] = 0;
    if (fd >= 0)
        close(fd);
    return text;
}

static unsigned long long status(int pid, const char *key, int base) {
    const char *at = strstr(slurp(pid, "status"), key);
    return at ? strtoull(at + strlen(key), 0, base) : 0;
}

/* It is stopped. Tells whether it is ctr. */
static int look(int pid, const struct stat *own) {
    char path[64], to[256];
    struct stat exe;
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    if (stat(path, &exe) || (exe.st_dev == own->st_dev && exe.st_ino == own->st_ino))
        return 0;
    printf("held\n");
    if (status(pid, "CapPrm:", 16) & ~status(getpid(), "CapPrm:", 16))
        printf("POWER\n");
    if (status(pid, "CapBnd:", 16) & ~status(getpid(), "CapBnd:", 16))
        printf("POWER to come\n");
    if (status(pid, "Seccomp:", 10) != status(getpid(), "Seccomp:", 10))
        printf("UNFILTERED\n");
    if (status(pid, "NoNewPrivs:", 10) != status(getpid(), "NoNewPrivs:", 10))
        printf("NEW PRIVILEGES\n");
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/%d/fd/%s", pid, e->d_name);
        ssize_t n = readlink(path, to, sizeof to - 1);
        to[n < 0 ? 0 : n] = 0;
        /* Who guards it, by a pipe that nobody writes to, takes the one place. */
        if (atoi(e->d_name) > 2 && strncmp(to, "pipe:", 5))
            printf("DESCRIPTOR %s %s\n", e->d_name, to);
    }
    if (dir)
        closedir(dir);
    slurp(pid, "environ");
    if (memmem(text, length, "CANARY=", 7))
        printf("ENVIRONMENT\n");
    const char *at = strrchr(slurp(pid, "stat"), ')');
    /* The 50th word; what is behind the name is the third. */
    for (int n = 2; at && n < 50; n++)
        at = strchr(at + 1, ' ');
    unsigned long env = at ? strtoul(at + 1, 0, 10) : 0;
    struct iovec from = {"SEIZED", 6}, into = {(void *)env, 6};
    if (process_vm_writev(pid, &from, 1, &into, 1, 0) == 6)
        printf("written\n");
    return 1;
}

int main(void) {
    static char known[4194304];
    struct stat own;
    long rounds = 0, met = 0, ctr = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    stat("/bin/busybox", &own);
    known[getpid()] = known[1] = 1;
    printf("up\n");
    for (; access("/dev/shm/enough", F_OK); rounds++) {
        DIR *dir = opendir("/proc");
        for (struct dirent *e; dir && (e = readdir(dir));) {
            int pid = atoi(e->d_name);
            if (pid <= 0 || known[pid])
                continue;
            known[pid] = 1;
            /* Not PTRACE_ATTACH: its SIGSTOP may come later, and stop for good whom we have let go. */
            if (ptrace(PTRACE_SEIZE, pid, 0, 0)) {
                if (errno != ESRCH)
                    printf("refused %s\n", strerrorname_np(errno));
                continue;
            }
            met++;
            int state;
            ptrace(PTRACE_INTERRUPT, pid, 0, 0);
            if (waitpid(pid, &state, __WALL) == pid && WIFSTOPPED(state)) {
                ctr += look(pid, &own);
                ptrace(PTRACE_DETACH, pid, 0, 0);
            }
        }
        if (dir)
            closedir(dir);
    }
    printf("end: %s rounds, met %s, ctr %ld of %ld\n", rounds > 100 ? "many" : "few", met ? "some" : "none", ctr, met);
    return 0;
}
