//! `ctr run` and `ctr create`: what was asked, what the machine is like, the plan, the container, its end.
//!
//! `run --rm` in the foreground makes a container that ends with it, and needs nobody else: it is the process that waits, and hands
//! its own files in. Every other container is looked after by a supervisor, to which `run` is attached (unless `-d`).

use std::cell::Cell;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

use argh::ArgsInfo;

use super::asked;
use crate::cgroup::{self, Group};
use crate::cli::{self, Run};
use crate::container::client::{self, Outcome, Session};
use crate::container::facts::{self, Held};
use crate::container::plan::{Facts, Plan, plan};
use crate::container::record::{self, Record, State};
use crate::container::spec::{Care, Root, Spec};
use crate::container::step::{Step, namespaces};
use crate::container::supervisor::{self, Job};
use crate::container::trace::Trace;
use crate::container::{control, journal, limits, network, security, spawn, streams, supervise};
use crate::error::{Doing, Error, Result};
use crate::{names, sys, tty};

/// The words of `run` or `create`, read.
struct Words {
    asked: Run,
    options: Vec<String>,
    operands: Vec<OsString>,
}

fn read(verb: &str, words: &[OsString]) -> Result<Option<Words>> {
    let line = cli::split(&if verb == "run" { Run::get_args_info() } else { cli::create_info() }, words, true)?;
    if line.help {
        super::help(verb)?;
        return Ok(None);
    }
    let asked = cli::parse(verb, &line.options)?;
    Ok(Some(Words { asked, options: line.options, operands: line.operands }))
}

/// `ctr run`.
pub fn run(words: &[OsString]) -> Result<u8> {
    let Some(Words { mut asked, options, operands }) = read("run", words)? else { return Ok(0) };
    if asked.dry_run
        || (asked.rm
            && !asked.detach
            && asked.health_cmd.is_none()
            && asked.log_opt.is_empty()
            && asked.label_file.is_empty())
    {
        for text in &mut asked.security_opt {
            *text = security::settle(text)?;
        }
        return here(&asked, operands);
    }
    let made = make(options, operands)?;
    let (id, name) = (made.record.id().to_owned(), made.name);
    let Made { entry, record, spec, care, asked, files, .. } = made;
    if spec.terminal && !asked.detach {
        streams::check_terminal(spec.interactive)?;
    }
    let keys = asked.detach_keys.as_deref().map_or(Ok(client::KEYS.to_vec()), client::keys)?;
    let view = spec.root == Root::Host;
    if asked.detach {
        let job = Job { entry, record, spec, care, pidfile: files.pid.clone(), trace: asked.trace, size: None };
        start(job, None, &files)?;
        if view {
            // Only a view of the host cannot be written to the disk; one that has just ended and is gone is no matter.
            let _ = say_where_it_writes(&id);
        }
        super::print(&format!("{id}\n"))?;
        return Ok(0);
    }
    if spec.terminal && spec.interactive {
        tty::await_foreground(sys::borrow(0))?;
    }
    let signals = supervise::take_signals()?;
    let (terminal, input, own) = (spec.terminal, spec.interactive, !spec.host_pid);
    let size = tty::ours().and_then(|fd| sys::window_size(fd).ok());
    let job = Job { entry, record, spec, care, pidfile: files.pid.clone(), trace: asked.trace, size };
    let launched = start(job, Some(control::OWNER | if input { control::INPUT } else { 0 }), &files)?;
    let Some(socket) = launched.client else { return Ok(0) };
    let first = own.then_some(launched.pid);
    let session = Session { socket, name: &name, first, terminal, input, proxy: true, owner: true, keys };
    told(session.run(&signals)?, &id)
}

/// The exit code of who was attached to the container with this id.
pub fn told(outcome: Outcome, id: &str) -> Result<u8> {
    Ok(match outcome {
        Outcome::Ended(code) => code,
        Outcome::Detached => 0,
        // As who writes to a pipe that nobody reads.
        Outcome::Unheard => 128 + libc::SIGPIPE as u8,
        Outcome::Signalled(signal) => 128 + signal as u8,
        Outcome::Lost => return lost(id),
    })
}

/// The connection has ended without the end: the record knows more.
fn lost(id: &str) -> Result<u8> {
    let found = State::open()?.find(id.as_ref())?;
    match found.record.number("exit").filter(|_| !found.is_alive()) {
        Some(code) => {
            let _ = writeln!(
                io::stderr(),
                "ctr: its last output came faster than it was read, and is not shown: ctr logs {} has it\r",
                found.name
            );
            Ok(code)
        }
        None => Err(Error::new(
            format_args!("stay attached to {}", found.name),
            "",
            io::Error::other("its supervisor has gone without a word"),
        )
        .hint(Some("ctr ps -a says what became of the container"))),
    }
}

/// Says so, if what the container writes does not last as others' does.
fn say_where_it_writes(id: &str) -> Result<()> {
    let found = State::open()?.find(id.as_ref())?;
    let until = match (found.record.get("layer"), found.record.get("layer-in-memory")) {
        (Some("memory"), _) => "only until it stops",
        (_, Some(_)) => "only until the next boot",
        _ => return Ok(()),
    };
    let _ = writeln!(io::stderr(), "ctr: {}: what it writes is kept in memory, and {until}", found.name);
    Ok(())
}

/// Launches; a container that was made for this run and did not come to run is taken away again.
fn start(job: Job, attach: Option<u8>, files: &Files) -> Result<supervisor::Launched> {
    let id = job.record.id().to_owned();
    supervisor::launch(job, attach).map_err(|e| {
        let withdrawn = State::open().and_then(|state| {
            let found = state.find(id.as_ref())?;
            let entry = state.lock(&found)?;
            if entry.record()?.get("state") == Some("created") { entry.remove_all() } else { Ok(()) }
        });
        let _ = withdrawn;
        files.withdraw(e)
    })
}

/// `ctr create`.
pub fn create(words: &[OsString]) -> Result<u8> {
    let Some(Words { asked, options, operands }) = read("create", words)? else { return Ok(0) };
    if asked.detach || asked.dry_run || asked.trace || asked.detach_keys.is_some() {
        return Err(Error::usage(
            "--detach, --detach-keys, --trace and --dry-run are for ctr run: create starts nothing",
        ));
    }
    let made = make(options, operands)?;
    made.entry.keep();
    super::print(&format!("{}\n", made.record.id()))?;
    Ok(0)
}

/// A container that was made and has not run yet.
struct Made {
    entry: record::Entry,
    record: Record,
    spec: Spec,
    care: Care,
    asked: Run,
    name: String,
    files: Files,
}

/// Makes the directory and the record; dropping the result takes them away again.
fn make(options: Vec<String>, operands: Vec<OsString>) -> Result<Made> {
    let options = asked::settle(options)?;
    let asked: Run = cli::parse("run", &options)?;
    let operands = asked::settle_root(&asked, operands)?;
    let (root, command) = asked::root_of(&asked, &operands)?;
    let spec = asked::spec(&asked, operands)?;
    if sys::euid() != 0 && spec.ids.as_ref().is_some_and(|map| !map.is_one()) {
        // What another id writes to a disk is that id's, and outside he is not it.
        return Err(Error::usage(
            "--uidmap and --gidmap without root: only with run --rm in the foreground, where what is written stays in memory; \
             files of other ids on the disk could be removed by root alone",
        ));
    }
    let care = asked::care(&asked)?;
    let (id, made_up) = names::fresh().doing("make up an id", "getrandom")?;
    let name = spec.name.clone().unwrap_or(made_up);
    let record = asked::remember(&id, &options, &root, &command)?;
    limits::check(&spec.resources)?;
    // What is wrong with the root is found now, not when it is started.
    let opened = sys::with_three_descriptors(|| facts::open_root(&spec.root))?;
    facts::gather(&spec, &opened, id.clone())?;
    drop(opened);
    let state = State::open()?;
    let entry = state.create(&name, true, spec.name.is_some())?;
    if !entry.path().starts_with(record::lasting_folder()) {
        let _ = writeln!(
            io::stderr(),
            "ctr: {} cannot be written to: {name} is remembered in {} until the next boot",
            record::lasting_folder().display(),
            record::folder().display()
        );
    }
    let files = Files::create(&asked, &id)?;
    entry.save(&record).map_err(|e| files.withdraw(e))?;
    journal::note("create", &record, Some(&name), &[]);
    Ok(Made { entry, record, spec, care, asked, name, files })
}

/// `run --rm`: a container that ends with this process.
fn here(asked: &Run, operands: Vec<OsString>) -> Result<u8> {
    let spec = asked::spec(asked, operands)?;
    asked::care(asked)?;
    let (id, made_up) = names::fresh().doing("make up an id", "getrandom")?;
    let name = spec.name.clone().unwrap_or(made_up);

    let root = sys::with_three_descriptors(|| facts::open_root(&spec.root))?;
    let mut held = Held::default();
    let mut facts = facts::gather(&spec, &root, id)?;
    facts.awaits_parent = asked.pidfile.is_some();
    if spec.terminal && !asked.dry_run {
        streams::check_terminal(spec.interactive)?;
    }
    if asked.dry_run {
        return super::print(&dry_run(&plan(&spec, &facts))).map(|()| 0);
    }

    let mut trace = Trace::new(asked.trace);
    if spec.terminal && spec.interactive {
        tty::await_foreground(sys::borrow(0))?;
    }
    let signals = supervise::take_signals()?;
    let entry = State::transient()?.create(&name, false, spec.name.is_some())?;
    trace.note("record", "the container has a name and a record");
    let lease = facts::lease(&spec, &mut facts)?;
    let mut record = brief_record(&spec, asked, &facts.id)?;
    let ourselves_pid = std::process::id();
    record.set("supervisor", ourselves_pid.to_string());
    let joined = std::cell::RefCell::new(network::join(&spec, &mut facts, &name, &mut held, &mut record, &entry)?);
    let wanted = streams::Wanted {
        interactive: spec.interactive,
        terminal: spec.terminal,
        owner: facts::owner_outside(&facts),
        first: !spec.host_pid,
        relay: false,
    };
    let (mut connected, given) = streams::connect(wanted, signals, &mut held)?;
    (facts.stdio, facts.terminal) = (given.stdio, given.terminal);
    let ourselves = sys::pidfd_open(ourselves_pid).doing("get a descriptor of ourselves", "pidfd_open")?;
    facts.parent = ourselves.as_raw_fd();
    // Most have none: it costs more than all that a short command does. Their device nodes are dead without rules: no mount of
    // a container lets nodes live but that of its own /dev, which it cannot add to.
    let group = if limits::are_asked(&spec) {
        let place = cgroup::place(spec.cgroup_parent.as_deref(), &facts.id);
        // Who comes after us, should we be killed, must know where to look.
        record.set("cgroup", &place);
        entry.save(&record)?;
        let (group, late) = limits::prepare(&spec, &facts.devices, &place, &facts.id, false)?;
        let (doors, late_doors) = limits::doors(&group, &spec)?;
        facts.birthplace = group.birthplace().map(|fd| fd.as_raw_fd());
        facts.doors = doors.into_iter().map(|door| held.keep(door)).collect();
        facts.cgroup_view = limits::view(&group, &spec);
        facts.late_doors = late_doors.into_iter().map(|door| held.keep(door)).collect();
        facts.late_writes = late.into_iter().map(|(file, text)| (held.keep(file), text)).collect();
        Some(OwnGroup(group))
    } else {
        None
    };
    facts::prepare(&spec, &mut facts, &mut held)?;
    let files = Files::create(asked, &facts.id)?;
    if spec.host_pid {
        sys::adopt_orphans().doing("become the parent of orphans", "prctl")?;
    }
    let current = std::cell::RefCell::new(record);
    let beside = |pid: u32, space: u32, facts: &Facts| {
        facts.remember(&mut current.borrow_mut());
        network::attach(&joined, space, &mut current.borrow_mut())?;
        current.borrow_mut().set("pid", pid.to_string());
        entry.save(&current.borrow()).and_then(|()| files.started(pid))
    };
    let born = spawn::birth(&spec, &mut facts, &mut trace, &beside)
        .map_err(|e| files.withdraw(facts::if_empty(e, &root, &spec.root)))?;
    trace.sum();
    Facts::warn(facts.warnings(&name).iter().map(String::as_str));
    network::open(&joined, born.pidfd.as_fd(), false).inspect_err(|_| {
        let _ = sys::pidfd_signal(born.pidfd.as_fd(), libc::SIGKILL);
        let _ = sys::wait_pidfd(born.pidfd.as_fd());
    })?;
    // The container has what it needs of these; held here, they would keep its pipes open.
    drop(held);
    let settled = || entry.save_identity(&current.borrow(), born.pid);
    let ended = connected.run(&born, facts.parent, &name, &settled)?;
    if spec.host_pid {
        supervise::reap_orphans();
    }
    if let Some(OwnGroup(group)) = &group {
        if group.oom_kills() > 0 {
            let _ = writeln!(
                io::stderr(),
                "ctr: {name} ran out of memory (--memory): the kernel killed it or a part of it\r"
            );
        }
        group.kill();
    }
    drop(group);
    drop(joined);
    drop(lease);
    entry.remove();
    // We end now, and the kernel closes the rest faster than we could.
    std::mem::forget((root, ourselves, connected, born));
    Ok(ended.code())
}

/// The control group of a container that ends with us.
struct OwnGroup(Group);

impl Drop for OwnGroup {
    fn drop(&mut self) {
        self.0.remove();
    }
}

/// The record of a container that ends with its `ctr run`.
fn brief_record(spec: &Spec, asked: &Run, id: &str) -> Result<Record> {
    let mut record = Record::default();
    record.set("id", id);
    record.set("state", "running");
    record.set("guarded", "yes");
    match &spec.root {
        crate::container::spec::Root::Host => record.set("root", "host"),
        crate::container::spec::Root::Dir(path) => record.set("root", path),
    }
    for word in &spec.command {
        record.add("arg", std::ffi::OsStr::new(&*String::from_utf8_lossy(word.to_bytes())));
    }
    let mut add = |option: &str, value: Option<&String>| {
        if let Some(value) = value {
            record.add(option, value);
        }
    };
    for (option, value) in [
        ("--hostname", &asked.hostname),
        ("--user", &asked.user),
        ("--workdir", &asked.workdir),
        ("--pid", &asked.pid),
        ("--ipc", &asked.ipc),
        ("--uts", &asked.uts),
        ("--shm-size", &asked.shm_size),
        ("--ip", &asked.ip),
        ("--ip6", &asked.ip6),
        ("--mac-address", &asked.mac_address),
        ("--userns", &asked.userns),
        ("--stop-signal", &asked.stop_signal),
        ("--stop-timeout", &asked.stop_timeout),
        ("--cgroup-parent", &asked.cgroup_parent),
        ("--cgroupns", &asked.cgroupns),
    ] {
        add(option, value.as_ref());
    }
    for (option, texts) in [("--uidmap", &asked.uidmap), ("--gidmap", &asked.gidmap)] {
        for text in texts {
            add(option, Some(text));
        }
    }
    for (option, value) in asked::resource_words(asked) {
        add(option, Some(value));
    }
    for rule in &asked.device_cgroup_rule {
        add("--device-cgroup-rule", Some(rule));
    }
    for label in &asked.label {
        add("--label", Some(label));
    }
    for (option, values) in [
        ("--security-opt", &asked.security_opt),
        ("--ulimit", &asked.ulimit),
        ("--cap-add", &asked.cap_add),
        ("--cap-drop", &asked.cap_drop),
        ("--device", &asked.device),
        ("--sysctl", &asked.sysctl),
        ("--group-add", &asked.group_add),
        ("--tmpfs", &asked.tmpfs),
        ("--add-host", &asked.add_host),
        ("--dns", &asked.dns),
        ("--dns-search", &asked.dns_search),
        ("--dns-option", &asked.dns_option),
        ("--network", &asked.network),
        ("--network-alias", &asked.network_alias),
        ("--publish", &asked.publish),
        ("--expose", &asked.expose),
    ] {
        for value in values {
            add(option, Some(value));
        }
    }
    // Where ./ is, is known only here.
    for (option, texts) in [("--volume", &asked.volume), ("--mount", &asked.mount)] {
        for text in texts {
            let settled = asked::settle(vec![option.to_owned(), text.clone()])?;
            add(option, settled.get(1));
        }
    }
    for pair in &spec.env {
        record.add("--env", std::ffi::OsStr::new(&*String::from_utf8_lossy(pair.to_bytes())));
    }
    for (option, on) in [
        ("--rm", true),
        ("--read-only", asked.read_only),
        ("--rw", asked.rw),
        ("--tty", asked.tty),
        ("--interactive", asked.interactive),
        ("--init", asked.init),
        ("--privileged", asked.privileged),
        ("--publish-all", asked.publish_all),
        ("--oom-kill-disable", asked.oom_kill_disable),
    ] {
        if on {
            record.add(option, "");
        }
    }
    Ok(record)
}

/// The files that the user asked for beside the container.
struct Files {
    cid: Option<PathBuf>,
    pid: Option<PathBuf>,
    pid_written: Cell<bool>,
}

impl Files {
    /// `--cidfile` must be new: an old one may still be somebody's.
    fn create(asked: &Run, id: &str) -> Result<Files> {
        let cid = asked.cidfile.as_ref().map(PathBuf::from);
        if let Some(path) = &cid {
            let mut file = std::fs::File::create_new(path).map_err(|e| {
                let exists = e.kind() == io::ErrorKind::AlreadyExists;
                Error::new("write the --cidfile", path.display(), e)
                    .hint(exists.then_some("remove it, or choose another name"))
            })?;
            io::Write::write_all(&mut file, id.as_bytes()).doing("write the --cidfile", path.display())?;
        }
        Ok(Files { cid, pid: asked.pidfile.as_ref().map(PathBuf::from), pid_written: Cell::new(false) })
    }

    fn started(&self, pid: u32) -> Result<()> {
        let Some(path) = &self.pid else { return Ok(()) };
        let written = std::fs::write(path, format!("{pid}\n"));
        self.pid_written.set(written.is_ok());
        written.doing("write the --pidfile", path.display())
    }

    /// There is no container after all.
    fn withdraw(&self, error: Error) -> Error {
        for path in [self.cid.as_ref(), self.pid.as_ref().filter(|_| self.pid_written.get())].into_iter().flatten() {
            let _ = std::fs::remove_file(path);
        }
        error
    }
}

/// The plan in words: what `--trace` will show, with what stands behind each line.
fn dry_run(plan: &Plan) -> String {
    let mut text = String::new();
    let mut half = |title: &str, steps: &[Step]| {
        if steps.is_empty() {
            return;
        }
        let _ = writeln!(text, "{title}");
        for step in steps {
            let _ = writeln!(text, "  {:<14} {}", step.name, step.why);
            for op in &step.ops {
                let _ = writeln!(text, "  {:<14}   {op}", "");
            }
        }
    };
    half(&format!("clone3 {}, a process that holds them, and in there:", namespaces(plan.held)), &plan.holder);
    half("before it exists:", &plan.outer);
    half(&format!("clone3 {}, and in there:", namespaces(plan.namespaces)), &plan.inner);
    let _ = writeln!(
        text,
        "{} steps; nothing was done (--dry-run)",
        plan.holder.len() + plan.outer.len() + plan.inner.len()
    );
    text
}
