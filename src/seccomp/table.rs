//! The system calls of x86: their names, their numbers, and what a container may do with them by default.
//!
//! The numbers are the kernel's (arch/x86/entry/syscalls, up to Linux 6.17, by way of linux-raw-sys 0.12.1). The classes are those of
//! Docker's default profile as it was at commit 02e898b137aed1024e232d59bcb05e6179b72177 of moby/profiles (2026), for a kernel of at
//! least 5.10, where all of its `minKernel` conditions hold. What differs from it is said in docs/security.md.

/// What the built-in filter does with a system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Class {
    /// Harmless, or guarded by the kernel itself.
    Allow,
    /// All but two requests, which put words into a terminal as if they had been typed.
    Ioctl,
    /// Some families.
    Socket,
    /// Some values.
    Personality,
    /// Without new namespaces.
    Clone,
    /// Its flags are behind a pointer, where no filter can look: programs are told to use clone.
    Clone3,
    /// CAP_DAC_READ_SEARCH.
    DacReadSearch,
    /// CAP_SYS_ADMIN.
    SysAdmin,
    /// CAP_BPF or CAP_SYS_ADMIN.
    Bpf,
    /// CAP_PERFMON or CAP_SYS_ADMIN.
    Perfmon,
    /// CAP_SYSLOG or CAP_SYS_ADMIN.
    Syslog,
    /// CAP_SYS_BOOT.
    SysBoot,
    /// CAP_SYS_CHROOT.
    SysChroot,
    /// CAP_SYS_MODULE.
    SysModule,
    /// CAP_SYS_PACCT.
    SysPacct,
    /// CAP_SYS_PTRACE.
    SysPtrace,
    /// CAP_SYS_RAWIO.
    SysRawio,
    /// CAP_SYS_TIME.
    SysTime,
    /// CAP_SYS_TTY_CONFIG.
    SysTtyConfig,
    /// CAP_SYS_NICE.
    SysNice,
    /// Never: they reach the whole machine, or are relics that nobody has reviewed for long.
    Deny,
    /// Newer than the profile that this follows: as if the kernel did not have them, so that programs fall back.
    Newer,
}

/// How many classes there are.
pub const CLASSES: usize = Class::Newer as usize + 1;

/// No system call has this number or a higher one (the bit of x32 left away).
pub const END: usize = 560;

/// Three words each: the name; the number on x86_64, after a slash that of the x32 ABI where it is another one; the number on i386.
pub const TABLE: [(Class, &str); CLASSES] = [
    (
        Class::Allow,
        "\
        read 0 3  write 1 4  open 2 5  close 3 6  stat 4 106  fstat 5 108  lstat 6 107  poll 7 168  lseek 8 19
        mmap 9 90  mprotect 10 125  munmap 11 91  brk 12 45  rt_sigaction 13/512 174  rt_sigprocmask 14 175
        rt_sigreturn 15/513 173  pread64 17 180  pwrite64 18 181  readv 19/515 145  writev 20/516 146  access 21 33
        pipe 22 42  select 23 82  sched_yield 24 158  mremap 25 163  msync 26 144  mincore 27 218  madvise 28 219
        shmget 29 395  shmat 30 397  shmctl 31 396  dup 32 41  dup2 33 63  pause 34 29  nanosleep 35 162
        getitimer 36 105  alarm 37 27  setitimer 38 104  getpid 39 20  sendfile 40 187  connect 42 362  accept 43 -
        sendto 44 369  recvfrom 45/517 371  sendmsg 46/518 370  recvmsg 47/519 372  shutdown 48 373  bind 49 361
        listen 50 363  getsockname 51 367  getpeername 52 368  socketpair 53 360  setsockopt 54/541 366
        getsockopt 55/542 365  fork 57 2  vfork 58 190  execve 59/520 11  exit 60 1  wait4 61 114  kill 62 37
        uname 63 122  semget 64 393  semop 65 -  semctl 66 394  shmdt 67 398  msgget 68 399  msgsnd 69 400
        msgrcv 70 401  msgctl 71 402  fcntl 72 55  flock 73 143  fsync 74 118  fdatasync 75 148  truncate 76 92
        ftruncate 77 93  getdents 78 141  getcwd 79 183  chdir 80 12  fchdir 81 133  rename 82 38  mkdir 83 39
        rmdir 84 40  creat 85 8  link 86 9  unlink 87 10  symlink 88 83  readlink 89 85  chmod 90 15  fchmod 91 94
        chown 92 182  fchown 93 95  lchown 94 16  umask 95 60  gettimeofday 96 78  getrlimit 97 76  getrusage 98 77
        sysinfo 99 116  times 100 43  ptrace 101/521 26  getuid 102 24  getgid 104 47  setuid 105 23  setgid 106 46
        geteuid 107 49  getegid 108 50  setpgid 109 57  getppid 110 64  getpgrp 111 65  setsid 112 66  setreuid 113 70
        setregid 114 71  getgroups 115 80  setgroups 116 81  setresuid 117 164  getresuid 118 165  setresgid 119 170
        getresgid 120 171  getpgid 121 132  setfsuid 122 138  setfsgid 123 139  getsid 124 147  capget 125 184
        capset 126 185  rt_sigpending 127/522 176  rt_sigtimedwait 128/523 177  rt_sigqueueinfo 129/524 178
        rt_sigsuspend 130 179  sigaltstack 131/525 186  utime 132 30  mknod 133 14  statfs 137 99  fstatfs 138 100
        getpriority 140 96  setpriority 141 97  sched_setparam 142 154  sched_getparam 143 155
        sched_setscheduler 144 156  sched_getscheduler 145 157  sched_get_priority_max 146 159
        sched_get_priority_min 147 160  sched_rr_get_interval 148 161  mlock 149 150  munlock 150 151  mlockall 151 152
        munlockall 152 153  modify_ldt 154 123  prctl 157 172  arch_prctl 158 384  adjtimex 159 124  setrlimit 160 75
        sync 162 36  gettid 186 224  readahead 187 225  setxattr 188 226  lsetxattr 189 227  fsetxattr 190 228
        getxattr 191 229  lgetxattr 192 230  fgetxattr 193 231  listxattr 194 232  llistxattr 195 233
        flistxattr 196 234  removexattr 197 235  lremovexattr 198 236  fremovexattr 199 237  tkill 200 238  time 201 13
        futex 202 240  sched_setaffinity 203 241  sched_getaffinity 204 242  set_thread_area 205 243
        io_setup 206/543 245  io_destroy 207 246  io_getevents 208 247  io_submit 209/544 248  io_cancel 210 249
        get_thread_area 211 244  epoll_create 213 254  epoll_ctl_old 214 -  epoll_wait_old 215 -
        remap_file_pages 216 257  getdents64 217 220  set_tid_address 218 258  restart_syscall 219 0  semtimedop 220 -
        fadvise64 221 250  timer_create 222/526 259  timer_settime 223 260  timer_gettime 224 261
        timer_getoverrun 225 262  timer_delete 226 263  clock_gettime 228 265  clock_getres 229 266
        clock_nanosleep 230 267  exit_group 231 252  epoll_wait 232 256  epoll_ctl 233 255  tgkill 234 270
        utimes 235 271  mq_open 240 277  mq_unlink 241 278  mq_timedsend 242 279  mq_timedreceive 243 280
        mq_notify 244/527 281  mq_getsetattr 245 282  waitid 247/529 284  ioprio_set 251 289  ioprio_get 252 290
        inotify_init 253 291  inotify_add_watch 254 292  inotify_rm_watch 255 293  openat 257 295  mkdirat 258 296
        mknodat 259 297  fchownat 260 298  futimesat 261 299  newfstatat 262 -  unlinkat 263 301  renameat 264 302
        linkat 265 303  symlinkat 266 304  readlinkat 267 305  fchmodat 268 306  faccessat 269 307  pselect6 270 308
        ppoll 271 309  set_robust_list 273/530 311  get_robust_list 274/531 312  splice 275 313  tee 276 315
        sync_file_range 277 314  vmsplice 278/532 316  utimensat 280 320  epoll_pwait 281 319  signalfd 282 321
        timerfd_create 283 322  eventfd 284 323  fallocate 285 324  timerfd_settime 286 325  timerfd_gettime 287 326
        accept4 288 364  signalfd4 289 327  eventfd2 290 328  epoll_create1 291 329  dup3 292 330  pipe2 293 331
        inotify_init1 294 332  preadv 295/534 333  pwritev 296/535 334  rt_tgsigqueueinfo 297/536 335
        recvmmsg 299/537 337  fanotify_mark 301 339  prlimit64 302 340  name_to_handle_at 303 341
        clock_adjtime 305 343  syncfs 306 344  sendmmsg 307/538 345  getcpu 309 318  process_vm_readv 310/539 347
        process_vm_writev 311/540 348  sched_setattr 314 351  sched_getattr 315 352  renameat2 316 353  seccomp 317 354
        getrandom 318 355  memfd_create 319 356  execveat 322/545 358  membarrier 324 375  mlock2 325 376
        copy_file_range 326 377  preadv2 327/546 378  pwritev2 328/547 379  pkey_mprotect 329 380  pkey_alloc 330 381
        pkey_free 331 382  statx 332 383  io_pgetevents 333 385  rseq 334 386  uretprobe 335 -
        pidfd_send_signal 424 424  pidfd_open 434 434  close_range 436 436  openat2 437 437  faccessat2 439 439
        epoll_pwait2 441 441  landlock_create_ruleset 444 444  landlock_add_rule 445 445
        landlock_restrict_self 446 446  memfd_secret 447 447  process_mrelease 448 448  futex_waitv 449 449
        cachestat 451 451  fchmodat2 452 452  map_shadow_stack 453 453  futex_wake 454 454  futex_wait 455 455
        futex_requeue 456 456  statmount 457 457  listmount 458 458  mseal 462 462  setxattrat 463 463
        getxattrat 464 464  listxattrat 465 465  removexattrat 466 466  waitpid - 7  socketcall - 102  ipc - 117
        sigreturn - 119  sigprocmask - 126  _llseek - 140  _newselect - 142  ugetrlimit - 191  mmap2 - 192
        truncate64 - 193  ftruncate64 - 194  stat64 - 195  lstat64 - 196  fstat64 - 197  lchown32 - 198  getuid32 - 199
        getgid32 - 200  geteuid32 - 201  getegid32 - 202  setreuid32 - 203  setregid32 - 204  getgroups32 - 205
        setgroups32 - 206  fchown32 - 207  setresuid32 - 208  getresuid32 - 209  setresgid32 - 210  getresgid32 - 211
        chown32 - 212  setuid32 - 213  setgid32 - 214  setfsuid32 - 215  setfsgid32 - 216  fcntl64 - 221
        sendfile64 - 239  statfs64 - 268  fstatfs64 - 269  fadvise64_64 - 272  fstatat64 - 300  clock_gettime64 - 403
        clock_adjtime64 - 405  clock_getres_time64 - 406  clock_nanosleep_time64 - 407  timer_gettime64 - 408
        timer_settime64 - 409  timerfd_gettime64 - 410  timerfd_settime64 - 411  utimensat_time64 - 412
        pselect6_time64 - 413  ppoll_time64 - 414  io_pgetevents_time64 - 416  recvmmsg_time64 - 417
        mq_timedsend_time64 - 418  mq_timedreceive_time64 - 419  semtimedop_time64 - 420  rt_sigtimedwait_time64 - 421
        futex_time64 - 422  sched_rr_get_interval_time64 - 423",
    ),
    (Class::Ioctl, "ioctl 16/514 54"),
    (Class::Socket, "socket 41 359"),
    (Class::Personality, "personality 135 136"),
    (Class::Clone, "clone 56 120"),
    (Class::Clone3, "clone3 435 435"),
    (Class::DacReadSearch, "open_by_handle_at 304 342"),
    (
        Class::SysAdmin,
        "\
        mount 165 21  umount2 166 52  sethostname 170 74  setdomainname 171 121  quotactl 179 131
        lookup_dcookie 212 253  unshare 272 310  fanotify_init 300 338  setns 308 346  open_tree 428 428
        move_mount 429 429  fsopen 430 430  fsconfig 431 431  fsmount 432 432  fspick 433 433  mount_setattr 442 442
        quotactl_fd 443 443  lsm_get_self_attr 459 459  lsm_set_self_attr 460 460  lsm_list_modules 461 461
        umount - 22",
    ),
    (Class::Bpf, "bpf 321 357"),
    (Class::Perfmon, "perf_event_open 298 336"),
    (Class::Syslog, "syslog 103 103"),
    (Class::SysBoot, "reboot 169 88"),
    (Class::SysChroot, "chroot 161 61"),
    (Class::SysModule, "init_module 175 128  delete_module 176 129  finit_module 313 350"),
    (Class::SysPacct, "acct 163 51"),
    (Class::SysPtrace, "kcmp 312 349  pidfd_getfd 438 438  process_madvise 440 440"),
    (Class::SysRawio, "iopl 172 110  ioperm 173 101"),
    (Class::SysTime, "settimeofday 164 79  clock_settime 227 264  stime - 25  clock_settime64 - 404"),
    (Class::SysTtyConfig, "vhangup 153 111"),
    (
        Class::SysNice,
        "\
        mbind 237 274  set_mempolicy 238 276  get_mempolicy 239 275  set_mempolicy_home_node 450 450",
    ),
    (
        Class::Deny,
        "\
        uselib 134 86  ustat 136 62  sysfs 139 135  pivot_root 155 217  _sysctl 156 149  swapon 167 87  swapoff 168 115
        create_module 174 127  get_kernel_syms 177 130  query_module 178 167  nfsservctl 180 169  getpmsg 181 188
        putpmsg 182 189  afs_syscall 183 137  tuxcall 184 -  security 185 -  vserver 236 273  kexec_load 246/528 283
        add_key 248 286  request_key 249 287  keyctl 250 288  migrate_pages 256 294  move_pages 279/533 317
        kexec_file_load 320 -  userfaultfd 323 374  io_uring_setup 425 425  io_uring_enter 426 426
        io_uring_register 427 427  break - 17  oldstat - 18  oldfstat - 28  stty - 31  gtty - 32  nice - 34  ftime - 35
        prof - 44  signal - 48  lock - 53  mpx - 56  ulimit - 58  oldolduname - 59  sigaction - 67  sgetmask - 68
        ssetmask - 69  sigsuspend - 72  sigpending - 73  oldlstat - 84  readdir - 89  profil - 98  olduname - 109
        idle - 112  vm86old - 113  bdflush - 134  vm86 - 166",
    ),
    (Class::Newer, "open_tree_attr 467 467  file_getattr 468 468  file_setattr 469 469"),
];

/// One system call of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where its name is in the class's text: from, to.
    name: (usize, usize),
    /// Its number on x86_64.
    pub x86_64: Option<u16>,
    /// Its number on x32, without the bit, where that is another one.
    pub x32: Option<u16>,
    /// Its number on i386.
    pub i386: Option<u16>,
}

/// The call that starts at `at` (after blanks) in a text of the table, and where it ends; nothing after the last one.
pub const fn read(text: &str, at: usize) -> Option<(Call, usize)> {
    let bytes = text.as_bytes();
    let Some(name) = word(bytes, at) else { return None };
    let Some(numbers) = word(bytes, name.1) else { return None };
    let Some(old) = word(bytes, numbers.1) else { return None };
    let (x86_64, end) = number(bytes, numbers.0);
    let x32 = if end < numbers.1 && bytes[end] == b'/' { number(bytes, end + 1).0 } else { None };
    Some((Call { name, x86_64, x32, i386: number(bytes, old.0).0 }, old.1))
}

const fn word(bytes: &[u8], mut at: usize) -> Option<(usize, usize)> {
    while at < bytes.len() && bytes[at].is_ascii_whitespace() {
        at += 1;
    }
    let from = at;
    while at < bytes.len() && !bytes[at].is_ascii_whitespace() {
        at += 1;
    }
    if from == at { None } else { Some((from, at)) }
}

const fn number(bytes: &[u8], from: usize) -> (Option<u16>, usize) {
    let (mut at, mut value) = (from, 0);
    while at < bytes.len() && bytes[at].is_ascii_digit() {
        value = value * 10 + (bytes[at] - b'0') as u16;
        at += 1;
    }
    (if at == from { None } else { Some(value) }, at)
}

/// All of them, with their names.
pub fn all() -> impl Iterator<Item = (&'static str, Class, Call)> {
    TABLE.into_iter().flat_map(|(class, text)| {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (call, end) = read(text, at)?;
            at = end;
            Some((text.get(call.name.0..call.name.1)?, class, call))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use linux_raw_sys::general as k;

    #[test]
    fn names_and_numbers_are_there_once() {
        let (mut names, mut wide, mut old) = (Vec::new(), Vec::new(), Vec::new());
        for (name, _, call) in all() {
            assert!(call.x86_64.is_some() || call.i386.is_some(), "{name}");
            names.push(name);
            wide.extend(call.x86_64.into_iter().chain(call.x32));
            old.extend(call.i386);
        }
        assert_eq!((names.len(), wide.len(), old.len()), (469, 382 + 36, 459));
        names.sort_unstable();
        wide.sort_unstable();
        old.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]));
        assert!(wide.windows(2).chain(old.windows(2)).all(|two| two[0] != two[1]));
        assert!(wide.iter().chain(&old).all(|number| usize::from(*number) < END));
    }

    #[test]
    fn classes_stand_in_their_order() {
        for ((class, _), n) in TABLE.iter().zip(0..) {
            assert_eq!(*class as usize, n);
        }
    }

    #[test]
    fn numbers_are_the_kernels() {
        let find = |wanted: &str| all().find(|(name, ..)| *name == wanted).unwrap().2;
        let call = |x86_64: u32, x32, i386| (Some(x86_64 as u16), x32, i386);
        for (name, expected) in [
            ("read", call(k::__NR_read, None, Some(3))),
            ("execve", call(k::__NR_execve, Some(520), Some(11))),
            ("clone3", call(k::__NR_clone3, None, Some(435))),
            ("socket", call(k::__NR_socket, None, Some(359))),
            ("file_setattr", call(k::__NR_file_setattr, None, Some(469))),
            ("socketcall", (None, None, Some(102))),
            ("tuxcall", call(184, None, None)),
        ] {
            let found = find(name);
            assert_eq!((found.x86_64, found.x32, found.i386), expected, "{name}");
        }
    }
}
