//! Every step fails in turn, and so do system calls: a clear word, the right exit code, and nothing left behind.

use crate::kills::{Way, sample, start};
use crate::support::{ctr_fault_path, ctr_path};
use crate::tracer::{Hit, Shot, Traced};

#[test]
fn each_step_that_fails_is_named() {
    let host = start();
    for way in Way::all() {
        for step in way.steps() {
            for errno in [libc::EPERM, libc::ENOMEM, libc::EIO] {
                let fail = format!("{step}:{errno}");
                let traced = way.trace(&ctr_fault_path(), &["echo", "done"], Some(("CTR_FAIL", &fail)), None);
                let (done, show) = (&traced.done, format!("{} with {fail}: {traced:#?}", way.name));
                // Where it may, it goes on with the host's ids, and says so.
                if way.name == "auto" && done.code == 0 {
                    assert!(done.err.contains("has the host's user ids") && done.out == "done\n", "{show}");
                    assert!(
                        done.err.lines().count() == 1 && done.err.contains(&format!("(os error {errno})")),
                        "{show}"
                    );
                    host.same_still();
                    continue;
                }
                if step == "exec" {
                    assert!(matches!(done.code, 125 | 126) && done.err.contains("cannot run"), "{show}");
                } else {
                    assert!(done.code == 125 && done.err.contains(&format!("step {step:?}")), "{show}");
                }
                assert!(done.err.starts_with("ctr: ") && done.err.contains(&format!("(os error {errno})")), "{show}");
                assert!(done.err.lines().skip(1).all(|line| line.starts_with("  try: ")), "{show}");
                assert_eq!(done.out, "", "{show}");
                for file in ["cid", "pid"] {
                    assert!(!way.place.join(file).exists(), "{file} of {show}");
                }
                host.same_still();
            }
        }
        way.clean_after_the_next(&host, "failures");
    }
    host.same();
}

/// Errors that this call may have in real life, on a machine that is full or sick.
pub fn errors(call: i64, tty: bool) -> &'static [i32] {
    use libc::{EAGAIN, EINTR, EIO, EMFILE, ENFILE, ENOMEM, ENOSPC};
    match call {
        // What cannot fail, and the start of the C and the Rust library.
        libc::SYS_exit
        | libc::SYS_exit_group
        | libc::SYS_rt_sigreturn
        | libc::SYS_rt_sigaction
        | libc::SYS_rt_sigprocmask
        | libc::SYS_sigaltstack
        | libc::SYS_arch_prctl
        | libc::SYS_set_tid_address
        | libc::SYS_munmap
        | libc::SYS_clock_gettime
        | libc::SYS_sched_yield
        | libc::SYS_getpid
        | libc::SYS_gettid
        | libc::SYS_getppid
        | libc::SYS_getuid
        | libc::SYS_geteuid
        | libc::SYS_getgid
        | libc::SYS_getegid
        | libc::SYS_setfsuid
        | libc::SYS_setfsgid
        | libc::SYS_umask
        | libc::SYS_kill
        | libc::SYS_pidfd_send_signal => &[],
        // Who cannot put a terminal's settings back has no other way to do it.
        libc::SYS_ioctl if tty => &[],
        // On a terminal EIO means that it has hung up, which is no error.
        libc::SYS_write | libc::SYS_writev if tty => &[EINTR, ENOSPC],
        libc::SYS_read | libc::SYS_readv if tty => &[EINTR],
        libc::SYS_read | libc::SYS_readv | libc::SYS_close | libc::SYS_pread64 => &[EINTR, EIO],
        libc::SYS_write | libc::SYS_writev | libc::SYS_ftruncate => &[EINTR, EIO, ENOSPC],
        libc::SYS_poll
        | libc::SYS_ppoll
        | libc::SYS_wait4
        | libc::SYS_waitid
        | libc::SYS_epoll_wait
        | libc::SYS_epoll_pwait
        | libc::SYS_futex
        | libc::SYS_recvmsg
        | libc::SYS_recvfrom
        | libc::SYS_nanosleep
        | libc::SYS_clock_nanosleep => &[EINTR],
        libc::SYS_mmap | libc::SYS_brk | libc::SYS_mremap | libc::SYS_mprotect => &[ENOMEM],
        libc::SYS_clone3 | libc::SYS_clone | libc::SYS_fork | libc::SYS_vfork => &[ENOMEM, EAGAIN],
        libc::SYS_openat
        | libc::SYS_open
        | libc::SYS_openat2
        | libc::SYS_open_tree
        | libc::SYS_fsopen
        | libc::SYS_fsmount
        | libc::SYS_memfd_create
        | libc::SYS_pidfd_open
        | libc::SYS_socket
        | libc::SYS_pipe2
        | libc::SYS_signalfd4
        | libc::SYS_epoll_create1 => &[ENOMEM, EMFILE, ENFILE, EIO, ENOSPC],
        _ => &[EIO, ENOMEM, ENOSPC],
    }
}

/// Success with the right output, or a word about what went wrong (and its own failure, or the end that the command took
/// when nobody listened any more); never a crash.
fn sane(traced: &Traced) -> bool {
    let done = &traced.done;
    let ended_well = done.code == 0 && done.out.trim_end() == "done";
    let told = [0, 125, 126, 127, 129, 137].contains(&done.code) && done.err.starts_with("ctr: ");
    // Whatever failed: what was asked for is there, or the program does not run.
    (ended_well || told) && !done.out.contains("weak")
}

/// A sample of all system calls of ctr, of its child and of its init, each with each error; all with CTR_TEST_ALL.
#[test]
fn system_calls_that_fail() {
    let host = start();
    for way in Way::all() {
        let words = way.words();
        let usual = way.trace(&ctr_path(), &words, None, None);
        assert!(usual.done.code == 0 && sane(&usual), "{}: {usual:#?}", way.name);
        let mut shots = Vec::new();
        for (process, calls) in usual.calls.iter().enumerate() {
            let init = process == 1 && way.options.iter().any(|o| o == "--init");
            let ours = if init || process == 0 { calls.len() } else { usual.ours(process) };
            for (call, number) in (1..=ours).zip(calls) {
                let errors = errors(*number, way.tty).iter();
                shots.extend(errors.map(|errno| Shot { process, call, number: *number, hit: Hit::Error(*errno) }));
            }
        }
        assert!(shots.len() > 200, "{}: {usual:#?}", way.name);
        for shot in sample(&shots, 61) {
            let traced = way.trace(&ctr_path(), &words, None, Some(shot));
            assert!(sane(&traced), "{}: {shot:?} {traced:#?}", way.name);
            way.clean_after_the_next(&host, &format!("{shot:?}"));
        }
    }
    host.same();
}
