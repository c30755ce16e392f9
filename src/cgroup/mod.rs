//! The control group of a container: what belongs to it, whatever its processes do; freezing and killing all of them at once,
//! limits, and what it uses.
//!
//! A group has a *place*, the same in every hierarchy: `ctr/ID` below the root, or below `--cgroup-parent`, or below the group
//! that was delegated to an ordinary user. In the v2 tree (`layout.rs` knows where that is) one group does everything, as far
//! as the controllers are there. Where controllers are v1's, there is a group in the hierarchies that are needed: those of
//! what was asked for, and for every container that lasts, what tells about it: `freezer` and `cpuacct` where there is no v2
//! at all, `memory` to learn of processes that the kernel killed for lack of it, `blkio` for `ctr stats`, `devices` for its rules.
//! Where nothing can be made and nothing was asked for, a container has no group: it runs all the same, cannot be paused, and says so.
//!
//! To read what a group says: [`Group::read`] with the names of the file in v1 and in v2.
//!
//! See Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel.

pub mod devices;
pub mod layout;
pub mod limits;
pub mod stat;

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use linux_raw_sys::general as k;

pub use layout::Controller;
use layout::{Unified, V1, V2};

use crate::error::{Error, Result};
use crate::{procfs, sys};

/// The directory of all our groups, in each hierarchy.
const OURS: &str = "ctr";
const OURS_UNIFIED: [&CStr; 2] = [c"/sys/fs/cgroup/ctr", c"/sys/fs/cgroup/unified/ctr"];
const OURS_FREEZER: &CStr = c"/sys/fs/cgroup/freezer/ctr";

/// How often, a millisecond each, a freeze or the end of a killed process is waited for.
const PATIENCE: u32 = 2000;

/// How often it is looked whether a container has made new processes while the others were moved.
const ROUNDS: u32 = 100;

/// How many groups below a container's are looked at.
const MOST_BELOW: usize = 4096;

/// Which of the two a file was read from: they differ in names and units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // read by stats and audit
pub enum Version {
    /// The controller has a hierarchy of its own.
    V1,
    /// The v2 tree.
    V2,
}

/// The group of one container, as far as there are hierarchies for it.
#[derive(Debug, Default)]
pub struct Group {
    /// Below the root of each hierarchy, without a slash at its front: `ctr/ID`.
    place: String,
    /// v2.
    unified: Option<OwnedFd>,
    /// The v2 tree is mounted nowhere.
    unmounted: bool,
    /// v1: those that were made, or that are always looked at (freezer, where there is no v2, and memory).
    v1: Vec<(Controller, OwnedFd)>,
}

/// What a new group is for.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Controllers without which there is no use in it: one that is missing is an error.
    pub asked: Vec<Controller>,
    /// The container lasts: what tells about it is made too, where that can be.
    pub lasting: bool,
}

/// The place of a container's group; `parent` is `--cgroup-parent`.
pub fn place(parent: Option<&str>, id: &str) -> String {
    let parent = parent.map(|path| path.trim_matches('/')).filter(|path| !path.is_empty());
    match parent {
        Some(parent) => format!("{parent}/{id}"),
        None if sys::euid() == 0 => format!("{OURS}/{id}"),
        None => match layout::unified().and_then(|unified| layout::delegated(&unified)) {
            Some(base) if !base.is_empty() => format!("{base}/{OURS}/{id}"),
            _ => format!("{OURS}/{id}"),
        },
    }
}

/// Whether this can be the place of a container's group: what a record says is not believed.
fn is_place(place: &str, id: &str) -> bool {
    let parts = || place.split('/');
    !id.is_empty()
        && !place.contains('\0')
        && parts().all(|part| !matches!(part, "" | "." | ".."))
        && parts().next_back() == Some(id)
        && parts().count() > 1
}

/// The directories of all groups, opened once by who looks at many, or more than once.
#[derive(Debug)]
pub struct Groups {
    unified: Option<OwnedFd>,
    freezer: Option<OwnedFd>,
}

impl Groups {
    /// Opens them, as far as they are there. By their whole names: where there are none, that is all there is to do.
    pub fn open() -> Groups {
        let unified = OURS_UNIFIED.iter().find_map(|path| layout::hierarchy(path, V2));
        let freezer = if unified.is_some() { None } else { layout::hierarchy(OURS_FREEZER, V1) };
        Groups { unified, freezer }
    }

    /// The ways into the groups that a container has: its v2 group, for a child to be born in it (`CLONE_INTO_CGROUP`, Linux
    /// 5.7), and the files of its v1 groups, that a process joins by writing 0 to them.
    pub fn ways_in(&self, place: &str, id: &str) -> io::Result<(Option<OwnedFd>, Vec<OwnedFd>)> {
        if !is_place(place, id) {
            return Ok((None, Vec::new()));
        }
        let unified = match &self.unified {
            Some(dir) if place.strip_prefix(OURS).is_some_and(|rest| rest.strip_prefix('/') == Some(id)) => {
                layout::below(dir.as_fd(), id)
            }
            _ => Group::open_anywhere(place, id).unified,
        };
        Ok((unified, doors_at(place)?))
    }

    /// Whether all of a container is frozen.
    pub fn is_frozen(&self, place: &str, id: &str) -> bool {
        let read = |dir: &OwnedFd, name: &str, sign: &[u8]| {
            let path = CString::new(format!("{id}/{name}")).unwrap_or_default();
            let mut text = [0u8; 16];
            let file = sys::openat(dir.as_fd(), &path, k::O_RDONLY, 0);
            file.and_then(|file| sys::read(file.as_fd(), &mut text)).is_ok() && text.starts_with(sign)
        };
        let usual = place.strip_prefix(OURS).is_some_and(|rest| rest.strip_prefix('/') == Some(id));
        match (&self.unified, &self.freezer) {
            (Some(dir), _) if usual => read(dir, "cgroup.freeze", b"1"),
            (None, Some(dir)) if usual => read(dir, "freezer.state", b"FR"),
            _ => Group::open_anywhere(place, id).is_frozen(),
        }
    }
}

fn open(dir: BorrowedFd, name: &CStr) -> io::Result<OwnedFd> {
    sys::openat(dir, name, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
}

/// Where a group, or a file in it, may be in a controller's v1 hierarchy.
fn v1_paths(controller: Controller, below: &str) -> impl Iterator<Item = CString> {
    controller
        .paths()
        .map(move |root| CString::new([root.to_bytes(), b"/", below.as_bytes()].concat()).unwrap_or_default())
}

/// The file of a v1 group by which a single thread joins. Not `cgroup.procs`: for a whole process the kernel locks all of them
/// (`cgroup_threadgroup_rwsem`) and waits out an RCU grace period, milliseconds long; a thread that moves itself waits for nobody
/// since Linux 5.5 (`cgroup_procs_write_start` in kernel/cgroup/cgroup.c). A child that has just been made has one thread.
const DOOR: &CStr = c"tasks";

/// The doors of all v1 groups at a place. Only where there is none may one be passed by: behind it is a limit.
fn doors_at(place: &str) -> io::Result<Vec<OwnedFd>> {
    let mut doors = Vec::new();
    for controller in Controller::ALL {
        for path in v1_paths(controller, &format!("{place}/{}", DOOR.to_string_lossy())) {
            match sys::openat(sys::CWD, &path, k::O_WRONLY, 0) {
                Ok(door) => {
                    doors.push(door);
                    break;
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(doors)
}

fn exists(path: &CStr) -> bool {
    let found = sys::openat(sys::CWD, path, k::O_PATH, 0).map_err(|e| e.raw_os_error());
    // What cannot be told now (no descriptor is free, say) is there as far as anybody knows.
    !matches!(found, Err(Some(libc::ENOENT | libc::ENOTDIR)))
}

/// Which versions there are: `v2`, `v1`, `v1+v2` or `none`.
pub fn version() -> &'static str {
    match (layout::unified().is_some(), layout::has_v1()) {
        (true, false) => "v2",
        (false, true) => "v1",
        (true, true) => "v1+v2",
        (false, false) => "none",
    }
}

fn write(dir: BorrowedFd, file: &CStr, text: &str) -> io::Result<()> {
    // Never O_CREAT: cgroupfs answers EACCES then where a file is merely not there.
    let file = sys::openat(dir, file, k::O_WRONLY, 0)?;
    sys::write(file.as_fd(), text.as_bytes()).map(drop)
}

fn read(dir: BorrowedFd, file: &CStr) -> Option<String> {
    let file = sys::openat(dir, file, k::O_RDONLY, 0).ok()?;
    Some(String::from_utf8_lossy(&procfs::read_all(file.as_fd(), 4 << 20).ok()?).into_owned())
}

/// The groups that somebody has made below one (a container that may write to its own: a privileged one, systemd, another ctr), those
/// above before those in them. None, at the cost of one call, where there are none: the kernel counts links.
fn groups_below(dir: BorrowedFd) -> Vec<CString> {
    let mut all = vec![CString::default()];
    let mut next = 0;
    while let Some(above) = all.get(next).cloned() {
        next += 1;
        let held = if above.is_empty() { None } else { open(dir, &above).ok() };
        let here = if above.is_empty() { Some(dir) } else { held.as_ref().map(AsFd::as_fd) };
        let Some(here) = here.filter(|here| sys::fstat(*here).is_ok_and(|stat| stat.st_nlink > 2)) else { continue };
        for name in rootfs::walk::names(here).unwrap_or_default() {
            if all.len() > MOST_BELOW || open(here, &name).is_err() {
                continue;
            }
            let parts = [above.to_bytes(), if above.is_empty() { b"" } else { b"/" }, name.to_bytes()];
            all.extend(CString::new(parts.concat()));
        }
    }
    all.remove(0);
    all
}

/// The processes of a group and of all below it, a line each.
fn members(dir: BorrowedFd) -> Option<String> {
    let mut text = read(dir, c"cgroup.procs")?;
    for group in groups_below(dir) {
        // What is taken away meanwhile had none; a threaded one's are its parent's.
        let below = open(dir, &group).ok().and_then(|group| read(group.as_fd(), c"cgroup.procs"));
        text.push_str(&below.unwrap_or_default());
    }
    Some(text)
}

/// Opens the first of these files that there is, to write to it; and which it is.
pub fn open_file(dir: BorrowedFd, names: &[&str]) -> io::Result<(usize, OwnedFd)> {
    let mut result = Err(io::Error::from_raw_os_error(libc::ENOENT));
    for (n, name) in names.iter().enumerate() {
        let file = sys::openat(dir, &CString::new(*name).unwrap_or_default(), k::O_WRONLY, 0);
        result = file.map(|file| (n, file));
        if result.is_ok() {
            break;
        }
    }
    result
}

/// What the first of them that there is says.
pub fn say(dir: BorrowedFd, names: &[&str]) -> String {
    names.iter().find_map(|name| read(dir, &CString::new(*name).unwrap_or_default())).unwrap_or_default()
}

/// The value behind a word at a line's front, as in `memory.stat`.
pub fn value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Makes the group at `place` below a hierarchy's root; true if it was there already. `each` is done with every group above it, before
/// anything is made below that.
fn make(
    root: &OwnedFd,
    place: &str,
    each: &mut dyn FnMut(BorrowedFd, &str) -> Result<()>,
) -> Result<io::Result<(OwnedFd, bool)>> {
    // Somebody else's end may take the folder away in between: then it is made again.
    let mut last = io::Error::from_raw_os_error(libc::ENOENT);
    for _ in 0..20 {
        let (mut dir, mut shown, mut left) = (None::<OwnedFd>, String::new(), false);
        let mut done = true;
        for part in place.split('/') {
            let here = dir.as_ref().map_or(root.as_fd(), AsFd::as_fd);
            each(here, &shown)?;
            let name = CString::new(part).unwrap_or_default();
            left = match sys::mkdir(here, &name, 0o755) {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => true,
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                    (last, done) = (e, false);
                    break;
                }
                Err(e) => match open(here, &name) {
                    Ok(_) => true,
                    Err(_) => return Ok(Err(e)),
                },
                Ok(()) => false,
            };
            match open(here, &name) {
                Ok(found) => dir = Some(found),
                Err(e) => {
                    (last, done) = (e, false);
                    break;
                }
            }
            shown = format!("{shown}/{part}");
        }
        if let (Some(dir), true) = (dir, done) {
            return Ok(Ok((dir, left)));
        }
    }
    Ok(Err(last))
}

impl Group {
    /// Makes the groups of a new container, as far as that is possible; what was asked for and is not possible is an error, and
    /// nothing is left then.
    pub fn create(place: &str, id: &str, needs: &Needs) -> Result<Group> {
        if !is_place(place, id) {
            return Err(Error::usage(format_args!("bad --cgroup-parent: {place:?} cannot be a control group")));
        }
        let left = Cell::new(false);
        let mut group = Group::make(place, needs, &left)?;
        if left.get() {
            // An earlier run's that could not be removed at its end: somebody may be in it, it may be frozen, and one that was
            // written to kill it kills (Linux 6.18) whoever is born into it later.
            group.clear();
            group = Group::make(place, needs, &Cell::new(false))?;
        }
        Ok(group)
    }

    fn make(place: &str, needs: &Needs, left: &Cell<bool>) -> Result<Group> {
        let mut group = Group { place: place.to_owned(), ..Group::default() };
        let filled = group.fill(needs, left);
        match filled {
            Ok(()) => Ok(group),
            Err(e) => {
                group.remove();
                Err(e)
            }
        }
    }

    /// Makes what is needed in each hierarchy.
    fn fill(&mut self, needs: &Needs, left: &Cell<bool>) -> Result<()> {
        let mounted = layout::unified();
        self.unmounted = mounted.is_none() && !layout::has_v1();
        let unified = if self.unmounted { layout::unified_of_our_own() } else { mounted };
        let mut wanted = needs.asked.clone();
        let mut want = |controller: Controller| {
            if !wanted.contains(&controller) {
                wanted.push(controller);
            }
        };
        if needs.lasting {
            [Controller::Memory, Controller::Blkio, Controller::Devices].into_iter().for_each(&mut want);
        }
        if unified.is_none() {
            want(Controller::Freezer);
            if needs.lasting {
                want(Controller::Cpuacct);
            }
        }
        // Several controllers may be mounted together: one group is all of theirs.
        let mut seen: Vec<u64> = Vec::new();
        let mut in_v2 = Vec::new();
        for controller in wanted {
            let asked = needs.asked.contains(&controller);
            let Some(root) = layout::v1(controller) else {
                in_v2.extend(controller.in_v2().map(|name| (name, asked)));
                if asked && unified.is_none() {
                    return Err(missing(controller, "there is neither v2 nor a v1 hierarchy with it"));
                }
                continue;
            };
            let device = sys::fstat(root.as_fd()).map_or(0, |stat| stat.st_dev);
            if seen.contains(&device) {
                continue;
            }
            seen.push(device);
            // A new cpuset has no processors and no memory, and nobody can be in it then.
            let mut settle = |dir: BorrowedFd, _: &str| {
                if controller == Controller::Cpuset {
                    inherit_cpuset(dir, root.as_fd());
                }
                Ok(())
            };
            match make(&root, &self.place, &mut settle)? {
                Ok((dir, was_there)) => {
                    left.set(left.get() || was_there);
                    let _ = settle(dir.as_fd(), "");
                    self.v1.push((controller, dir));
                }
                Err(e) if asked => {
                    return Err(Error::new(
                        format_args!("make a control group of the {} controller", controller.name()),
                        format_args!("{}/{}", controller.path().to_string_lossy(), self.place),
                        e,
                    ));
                }
                Err(_) => {}
            }
        }
        let Some(unified) = unified else { return Ok(()) };
        match make_unified(&unified, &self.place, &in_v2)? {
            Ok((dir, was_there)) => {
                left.set(left.get() || was_there);
                self.unified = Some(dir);
                Ok(())
            }
            Err(e) if in_v2.iter().any(|(_, asked)| *asked) => {
                Err(Error::new("make a control group", format_args!("{}/{}", unified.shown, self.place), e))
            }
            Err(_) => Ok(()),
        }
    }

    /// Makes groups for more controllers, and moves the container there: for limits that come later. v2 has one group for all.
    pub fn extend(&mut self, controllers: &[Controller]) -> Result<()> {
        let missing: Vec<Controller> =
            controllers.iter().copied().filter(|controller| self.dir(*controller).is_none()).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let before: Vec<Controller> = self.v1.iter().map(|(controller, _)| *controller).collect();
        let mut more = Group { place: self.place.clone(), ..Group::default() };
        more.fill(&Needs { asked: missing, lasting: false }, &Cell::new(false))?;
        if self.unified.is_none() {
            self.unified = more.unified;
        }
        for (controller, dir) in more.v1.into_iter().filter(|(controller, _)| !before.contains(controller)) {
            // While one is moved another one may be made: until nobody new is seen.
            let mut moved: Vec<u32> = Vec::new();
            let doing =
                || format!("move the processes of {} to a group of the {} controller", self.place, controller.name());
            let failed = |e| Error::new(doing(), "cgroup.procs", e);
            let all = |group: &Group| {
                group
                    .processes()
                    .ok_or_else(|| failed(io::Error::other("not all of them can be seen from this pid namespace")))
            };
            for round in 0.. {
                let new: Vec<u32> = all(self)?.into_iter().filter(|pid| !moved.contains(pid)).collect();
                if new.is_empty() {
                    break;
                }
                if round == ROUNDS {
                    return Err(failed(io::Error::other(
                        "new ones are made faster than they are moved; pause it first",
                    )));
                }
                for pid in &new {
                    // By a descriptor, and only if it is still in there: the number may be another's by now.
                    let held = sys::pidfd_open(*pid);
                    if held.is_err() || !all(self)?.contains(pid) {
                        continue;
                    }
                    match write(dir.as_fd(), c"cgroup.procs", &pid.to_string()) {
                        Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(failed(e)),
                        _ => {}
                    }
                }
                moved.extend(new);
            }
            self.v1.push((controller, dir));
        }
        Ok(())
    }

    /// Ends all that is in it, and takes it away.
    fn clear(&self) {
        if self.is_populated() != Some(false) {
            self.kill();
        }
        let _ = self.thaw();
        self.remove();
    }

    /// The groups that a container has.
    pub fn open(place: &str, id: &str) -> Group {
        if !is_place(place, id) {
            return Group::default();
        }
        let mut group = Group { place: place.to_owned(), ..Group::default() };
        let unified = layout::unified();
        let mut look = vec![Controller::Memory];
        match unified {
            Some(unified) => group.unified = layout::below(unified.root.as_fd(), place),
            None => look.push(Controller::Freezer),
        }
        for controller in look {
            group.v1.extend(group.find(controller).map(|dir| (controller, dir)));
        }
        group
    }

    /// The same for one that is known to have a group: where nothing is mounted, that is in a tree of nobody's.
    pub fn open_anywhere(place: &str, id: &str) -> Group {
        let mut group = Group::open(place, id);
        if !group.exists() && is_place(place, id) && layout::unified().is_none() && !layout::has_v1() {
            group.unmounted = true;
            group.unified = layout::unified_of_our_own().and_then(|own| layout::below(own.root.as_fd(), place));
        }
        group
    }

    /// Opens the group in a controller's v1 hierarchy.
    fn find(&self, controller: Controller) -> Option<OwnedFd> {
        v1_paths(controller, &self.place).find_map(|path| layout::hierarchy(&path, V1))
    }

    fn held(&self, controller: Controller) -> Option<&OwnedFd> {
        self.v1.iter().find(|(which, _)| *which == controller).map(|(_, dir)| dir)
    }

    /// The v1 group that freezes.
    fn freezer(&self) -> Option<&OwnedFd> {
        self.held(Controller::Freezer)
    }

    /// Whether there is any.
    pub fn exists(&self) -> bool {
        self.unified.is_some() || !self.v1.is_empty()
    }

    /// Below the root of each hierarchy, without a slash at its front: `ctr/ID`.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What a file of the group says: `v1` is its name in the controller's own hierarchy, `v2` that in the v2 tree (an empty name:
    /// there is none). v1 is looked at first: where a controller has a hierarchy of its own, v2 does not have it. For
    /// `cpu.stat`, `cgroup.procs`, `cgroup.threads` and `*.pressure` of v2 no controller is needed.
    #[allow(dead_code)] // for stats and audit
    pub fn read(&self, controller: Controller, v1: &CStr, v2: &CStr) -> Option<(Version, String)> {
        let found = if self.held(controller).is_none() { self.find(controller) } else { None };
        if let Some(text) =
            self.held(controller).or(found.as_ref()).filter(|_| !v1.is_empty()).and_then(|dir| read(dir.as_fd(), v1))
        {
            return Some((Version::V1, text));
        }
        let text = read(self.unified.as_ref().filter(|_| !v2.is_empty())?.as_fd(), v2)?;
        Some((Version::V2, text))
    }

    /// Where the group of a controller is, for who looks at those above it too: below /sys/fs/cgroup. None where it has none, or
    /// the tree is mounted nowhere.
    #[allow(dead_code)] // for stats and audit
    pub fn path(&self, controller: Controller) -> Option<(Version, String)> {
        if self.held(controller).is_some() || self.find(controller).is_some() {
            let path = v1_paths(controller, &self.place).find(|path| exists(path))?;
            return Some((Version::V1, path.to_string_lossy().into_owned()));
        }
        let dir = self.unified.as_ref().filter(|_| !self.unmounted)?;
        let has = controller.in_v2().is_none_or(|name| layout::has_word(&layout::offered(dir.as_fd()), name));
        let shown = layout::unified().filter(|_| has)?.shown;
        Some((Version::V2, format!("{shown}/{}", self.place)))
    }

    /// The directory in which a controller's files are, and which version that is.
    #[allow(dead_code)] // for stats and audit
    pub fn dir(&self, controller: Controller) -> Option<(Version, OwnedFd)> {
        let copy = |dir: &OwnedFd| sys::dup(dir.as_fd()).ok();
        if let Some(dir) = self.held(controller).and_then(copy).or_else(|| self.find(controller)) {
            return Some((Version::V1, dir));
        }
        let dir = self.unified.as_ref()?;
        let has = controller.in_v2().is_none_or(|name| layout::has_word(&layout::offered(dir.as_fd()), name));
        copy(dir).filter(|_| has).map(|dir| (Version::V2, dir))
    }

    /// The v2 group, for a child to be born in it (`CLONE_INTO_CGROUP`, Linux 5.7).
    pub fn birthplace(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// Where its v1 groups are.
    pub fn v1_places(&self) -> impl Iterator<Item = (Controller, CString)> + '_ {
        self.v1.iter().filter_map(|(controller, _)| {
            let mut paths = v1_paths(*controller, &self.place);
            Some((
                *controller,
                if *controller == Controller::Cpu { paths.find(|path| exists(path)) } else { paths.next() }?,
            ))
        })
    }

    /// Whether it is in a tree that is mounted on the machine, not only for ctr.
    pub fn is_mounted(&self) -> bool {
        self.exists() && !self.unmounted
    }

    /// The files of the v1 groups that a process joins by writing 0 to them.
    pub fn doors(&self) -> io::Result<Vec<(Controller, OwnedFd)>> {
        let door = |(controller, dir): &(Controller, OwnedFd)| {
            Ok((*controller, sys::openat(dir.as_fd(), DOOR, k::O_WRONLY, 0)?))
        };
        self.v1.iter().map(door).collect()
    }

    /// The processes in it, by their numbers in our pid namespace; None if they have none, or nobody can tell.
    pub fn processes(&self) -> Option<Vec<u32>> {
        let dir = self.unified.as_ref().or(self.freezer())?;
        let text = members(dir.as_fd())?;
        // 0 is somebody in another pid namespace, who has no number here.
        text.lines().map(|line| line.parse().ok().filter(|pid| *pid != 0)).collect()
    }

    /// Whether there is any process in it, whatever pid namespace it is in; None if nobody can tell.
    pub fn is_populated(&self) -> Option<bool> {
        match (&self.unified, self.freezer().or(self.held(Controller::Memory))) {
            (Some(dir), _) => value(&read(dir.as_fd(), c"cgroup.events")?, "populated").map(|n| n != 0),
            (None, Some(dir)) => Some(!members(dir.as_fd())?.is_empty()),
            (None, None) => None,
        }
    }

    /// Waits until nobody is in it any more. False if that cannot be seen.
    pub fn empties(&self) -> bool {
        wait_until(|| self.is_populated() != Some(true)).is_ok() && self.is_populated() == Some(false)
    }

    /// Whether all of it is frozen.
    pub fn is_frozen(&self) -> bool {
        match (&self.unified, self.freezer()) {
            (Some(dir), _) => read(dir.as_fd(), c"cgroup.freeze").is_some_and(|text| text.trim() == "1"),
            (None, Some(dir)) => read(dir.as_fd(), c"freezer.state").is_some_and(|text| text.trim() != "THAWED"),
            (None, None) => false,
        }
    }

    /// Stops every process in it until it is thawed; waits until they are. ENOTSUP where there is no freezer.
    /// cgroup v2: Linux 5.2.
    pub fn freeze(&self) -> io::Result<()> {
        let frozen = |dir: &OwnedFd| read(dir.as_fd(), c"cgroup.events").and_then(|text| value(&text, "frozen"));
        match (&self.unified, self.freezer()) {
            (Some(dir), _) => {
                write(dir.as_fd(), c"cgroup.freeze", "1")?;
                wait_until(|| frozen(dir) != Some(0))
            }
            (None, Some(dir)) => {
                // A process that is just being made can hold this up: it is told again and again.
                wait_until(|| {
                    let _ = write(dir.as_fd(), c"freezer.state", "FROZEN");
                    read(dir.as_fd(), c"freezer.state").is_some_and(|text| text.trim() == "FROZEN")
                })
            }
            (None, None) => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        match (&self.unified, self.freezer()) {
            (Some(dir), _) => write(dir.as_fd(), c"cgroup.freeze", "0"),
            (None, Some(dir)) => write(dir.as_fd(), c"freezer.state", "THAWED"),
            (None, None) => Ok(()),
        }
    }

    /// SIGKILL for every process in it. `cgroup.kill` is Linux 5.14; until then they are killed one by one, again and again
    /// while new ones appear. False if there is no group to do that with.
    pub fn kill(&self) -> bool {
        let Some(dir) = self.unified.as_ref() else { return self.kill_one_by_one() };
        write(dir.as_fd(), c"cgroup.kill", "1").is_ok() || self.kill_one_by_one()
    }

    fn kill_one_by_one(&self) -> bool {
        for _ in 0..100 {
            match self.processes() {
                None => return false,
                Some(all) if all.is_empty() => return true,
                Some(all) => {
                    for pid in all {
                        // By descriptor, and only if it is still in there: the number may be another's by now.
                        let held = sys::pidfd_open(pid);
                        if let (Ok(process), true) = (held, self.processes().is_some_and(|now| now.contains(&pid))) {
                            let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
                        }
                    }
                }
            }
            let _ = self.thaw();
            let _ = sys::poll(&mut [], 1);
        }
        true
    }

    /// How many processes in it the kernel has killed for lack of memory (4.13 for v1); 0 where nobody counts.
    pub fn oom_kills(&self) -> u64 {
        let v2 = self.unified.as_ref().and_then(|dir| value(&read(dir.as_fd(), c"memory.events")?, "oom_kill"));
        let v1 = self
            .held(Controller::Memory)
            .and_then(|dir| value(&read(dir.as_fd(), c"memory.oom_control")?, "oom_kill"));
        v2.unwrap_or(0) + v1.unwrap_or(0)
    }

    /// Takes the groups away. A process that was just killed may still be on its way out: that is waited for, a little.
    pub fn remove(&self) {
        let Some((folder, _)) = self.place.rsplit_once('/') else { return };
        // The last one takes our own folder along; somebody's --cgroup-parent stays.
        let ours = folder == OURS || folder.ends_with(&format!("/{OURS}"));
        let away = |root: BorrowedFd| {
            let (place, folder) = (CString::new(self.place.as_str()), CString::new(folder));
            let (place, folder) = (place.unwrap_or_default(), folder.unwrap_or_default());
            let _ = wait_until(|| match sys::unlink(root, &place, true) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => {
                    if let Ok(dir) = open(root, &place) {
                        for group in groups_below(dir.as_fd()).iter().rev() {
                            let _ = sys::unlink(dir.as_fd(), group, true);
                        }
                    }
                    false
                }
                _ => true,
            });
            if ours {
                let _ = sys::unlink(root, &folder, true);
            }
        };
        // Wherever one may be: v2 may have been out of reach when it was made.
        let unified = if self.unmounted { layout::unified_of_our_own() } else { layout::unified() };
        if let Some(Unified { root, .. }) = &unified {
            away(root.as_fd());
        }
        for controller in Controller::ALL {
            // Only where something is: looking costs less than trying.
            if self.held(controller).is_some() || self.find(controller).is_some() {
                if let Some(root) = layout::v1(controller) {
                    away(root.as_fd());
                }
            }
        }
    }
}

/// A controller that was asked for and is nowhere.
fn missing(controller: Controller, why: &str) -> Error {
    Error::new(
        format_args!("find the {} controller of control groups", controller.name()),
        "/sys/fs/cgroup",
        io::Error::new(io::ErrorKind::NotFound, why.to_owned()),
    )
    .hint(Some(layout::why_missing(controller.name())))
}

/// Makes the v2 group, with the controllers switched on above it: those that were asked for must be, others may.
fn make_unified(
    unified: &Unified,
    place: &str,
    controllers: &[(&'static str, bool)],
) -> Result<io::Result<(OwnedFd, bool)>> {
    let must = controllers.iter().any(|(_, asked)| *asked);
    make(&unified.root, place, &mut |dir, below| {
        let shown = format!("{}{below}", unified.shown);
        for (controller, asked) in controllers {
            match layout::enable(dir, &shown, controller) {
                Err(e) if *asked => return Err(e),
                _ => {}
            }
        }
        let kind = if must { read(dir, c"cgroup.type").unwrap_or_default() } else { String::new() };
        if matches!(kind.trim(), "threaded" | "domain threaded" | "domain invalid") {
            return Err(Error::new(
                "make a control group",
                format_args!("{shown}/cgroup.type"),
                io::Error::other(format!("it is {:?}: no containers can live below it", kind.trim())),
            )
            .hint(Some("another --cgroup-parent")));
        }
        Ok(())
    })
}

/// Gives a v1 cpuset what the hierarchy's root has, if it has nothing yet.
fn inherit_cpuset(dir: BorrowedFd, root: BorrowedFd) {
    for file in [c"cpuset.cpus", c"cpuset.mems"] {
        if read(dir, file).is_some_and(|text| text.trim().is_empty()) {
            let _ = write(dir, file, read(root, file).unwrap_or_default().trim());
        }
    }
}

/// Looks again and again, a millisecond between: cgroupfs has nothing to wait for that works in v1 and v2 alike.
fn wait_until(mut done: impl FnMut() -> bool) -> io::Result<()> {
    for _ in 0..PATIENCE {
        if done() {
            return Ok(());
        }
        let _ = sys::poll(&mut [], 1);
    }
    Err(io::Error::from_raw_os_error(libc::ETIMEDOUT))
}

/// Joins a group by one of its doors: the caller alone. Async-signal-safe.
pub fn join(door: BorrowedFd) -> io::Result<()> {
    let _ = door.as_raw_fd();
    sys::write(door, b"0").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_whole_words() {
        let text = "oom 1\noom_kill 7\noom_group_kill 9\n";
        assert_eq!((value(text, "oom_kill"), value(text, "oom"), value(text, "kill")), (Some(7), Some(1), None));
    }

    #[test]
    fn an_id_that_is_a_path_has_no_group() {
        for (place, id) in [("ctr/../x", "x"), ("", ""), ("x", "x"), ("/ctr/x", "x"), ("ctr/x", "y"), ("ctr//x", "x")]
        {
            assert!(!is_place(place, id) && !Group::open(place, id).exists(), "{place:?}");
        }
        assert!(is_place("ctr/x", "x") && is_place("a/b.slice/x", "x"));
        let (unified, doors) = Groups::open().ways_in("ctr/../x", "../x").unwrap();
        assert!(unified.is_none() && doors.is_empty());
    }
}
