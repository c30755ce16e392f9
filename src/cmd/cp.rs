//! `ctr cp`: files into a container and out of it.
//!
//! What the two paths mean is decided here, by Docker's rules; what happens then, by descriptor and inside the container's
//! root, is `rootfs::copy`'s and `rootfs::tar`'s. Nothing of the container's is executed or loaded (CVE-2019-14271), and no
//! path of it is looked up anywhere but in its root (CVE-2018-15664, CVE-2019-10152).
//!
//! On the way in, what is copied belongs to root, and keeps its mode. On the way out it belongs to the caller, who is not
//! thereby made to own a set-user-id program or a device node of the container's making: those bits are dropped, and devices
//! left out. `-a` keeps all of that. A directory that is there already stays as it is, but for what comes into it; with `-a`
//! it takes over owner, mode and time. An archive has owners of its own, who are kept where they exist.

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::copy::{self, Ids, Owner, Settings};
use rootfs::put::Attributes;
use rootfs::walk::{self, Base, Failed, Place};

use super::see;
use crate::cli::Cp;
use crate::container::record::State;
use crate::error::{Doing, Error, Result};

/// The verb.
pub fn cp(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Cp>("cp", words)? else { return Ok(0) };
    let [from, to] = operands.as_slice() else {
        return Err(Error::usage("ctr cp takes two paths, one of them CONTAINER:PATH (see ctr cp --help)"));
    };
    let way = Way::parse(from, to)?;
    let state = State::open()?;
    let found = state.find(way.container().as_ref())?;
    // A container at rest stays so as long as we are in its layer.
    let at_rest = if found.is_alive() { None } else { Some(state.lock(&found)?) };
    let (root, ids) = match &at_rest {
        Some(entry) => see::at_rest(&found, entry)?,
        None => see::running(&found)?,
    };
    way.go(root.as_fd(), Asked { archive: asked.archive, follow: asked.follow_link, ids })?;
    Ok(0)
}

/// One of the two things that are copied from and to.
#[derive(Debug, PartialEq, Eq)]
pub enum Side {
    /// `-`: standard input or output.
    Stream,
    /// A path on this machine.
    Host(PathBuf),
    /// `NAME:PATH`.
    Container(String, PathBuf),
}

impl Side {
    /// Reads an argument. What has a slash before its first colon, or begins with a dot, is a path: `./a:b`, `/a:b`.
    pub fn parse(word: &OsStr) -> Result<Side> {
        let bytes = word.as_bytes();
        if bytes.is_empty() {
            return Err(Error::usage("an empty path: it is a path here, NAME:PATH in a container, or -"));
        }
        if bytes == b"-" {
            return Ok(Side::Stream);
        }
        let colon = bytes.iter().position(|b| *b == b':');
        let Some((name, path)) = colon.map(|at| (&bytes[..at], &bytes[at + 1..])) else {
            return Ok(Side::Host(PathBuf::from(word)));
        };
        if name.contains(&b'/') || name.starts_with(b".") {
            return Ok(Side::Host(PathBuf::from(word)));
        }
        let shown = word.to_string_lossy();
        if name.is_empty() || path.is_empty() {
            return Err(Error::usage(format_args!(
                "bad path {shown:?}: in a container it is NAME:PATH; a path here that has a colon begins with ./ or /"
            )));
        }
        let name = std::str::from_utf8(name)
            .map_err(|_| Error::usage(format_args!("bad path {shown:?}: no container has such a name")))?;
        Ok(Side::Container(name.to_owned(), PathBuf::from(OsStr::from_bytes(path))))
    }
}

/// What goes where.
#[derive(Debug, PartialEq, Eq)]
pub enum Way {
    /// Out of the container of this name: its path, then ours (or `-`).
    Out(String, PathBuf, PathBuf),
    /// Into the container of this name: our path (or `-`), then its.
    In(String, PathBuf, PathBuf),
}

impl Way {
    /// Reads the two arguments.
    pub fn parse(from: &OsStr, to: &OsStr) -> Result<Way> {
        let ours = |side: Side| match side {
            Side::Stream => PathBuf::from("-"),
            Side::Host(path) | Side::Container(_, path) => path,
        };
        match (Side::parse(from)?, Side::parse(to)?) {
            (Side::Container(..), Side::Container(..)) => Err(Error::usage(
                "both are in containers: copy by way of a directory here, or: ctr cp A:PATH - | ctr cp - B:DIR",
            )),
            (Side::Container(name, source), to) => Ok(Way::Out(name, source, ours(to))),
            (from, Side::Container(name, dest)) => Ok(Way::In(name, ours(from), dest)),
            _ => Err(Error::usage(
                "neither is in a container: one of them is NAME:PATH, as in: ctr cp web:/etc/hosts .",
            )),
        }
    }

    /// The container's name.
    pub fn container(&self) -> &str {
        match self {
            Way::Out(name, ..) | Way::In(name, ..) => name,
        }
    }

    /// Does it, in the container's root.
    pub fn go(&self, root: BorrowedFd, asked: Asked) -> Result<()> {
        // Modes are what they are in the original.
        rootfs::sys::umask(0);
        match self {
            Way::Out(name, source, dest) => copy_out(root, name, source, dest, asked),
            Way::In(name, source, dest) => {
                if let (Some(ids), 0) = (asked.ids, crate::sys::euid()) {
                    // In a filesystem with shifted ids nobody makes a file who has no id there.
                    rootfs::sys::keep_capabilities()
                        .and_then(|()| rootfs::sys::set_fs_ids(ids.users, ids.groups))
                        .doing(format_args!("copy into {name}"), "setfsuid")?;
                }
                copy_in(root, name, source, dest, asked)
            }
        }
    }
}

/// What was asked for besides.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// `-a`: owners, set-id bits, devices, extended attributes.
    pub archive: bool,
    /// `-L`: a link in the source's place is followed.
    pub follow: bool,
    /// The container's ids, if it has its own.
    pub ids: Option<Ids>,
}

impl Asked {
    fn ids(&self) -> Ids {
        self.ids.unwrap_or(Ids::SAME)
    }

    /// File capabilities name a user namespace: they mean something else in another one.
    fn attributes(&self) -> Option<Attributes> {
        let which = if self.ids.is_none() { Attributes::All } else { Attributes::User };
        self.archive.then_some(which)
    }
}

/// Copies `source`, in the container's root, to `dest` here; `-` is an archive on standard output.
pub fn copy_out(root: BorrowedFd, container: &str, source: &Path, dest: &Path, asked: Asked) -> Result<()> {
    let doing = format!("copy {} out of {container}", source.display());
    let from = Source::find(Base::Root(root), source, asked.follow).doing(&doing, "")?;
    if dest == Path::new("-") {
        return stream_out(&doing, from, asked);
    }
    let to = from.goes_to(Base::Own, dest).doing(&doing, dest.display())?;
    let settings = Settings {
        owner: if asked.archive { Owner::Kept(asked.ids(), Ids::SAME) } else { Owner::Maker },
        set_ids: asked.archive,
        devices: asked.archive,
        attributes: asked.attributes(),
    };
    copy::tree(from.place, &to, &settings, &mut say_left_out).map_err(|failed| explain(&doing, dest, failed))
}

/// Copies `source` here to `dest` in the container's root; `-` is an archive on standard input.
pub fn copy_in(root: BorrowedFd, container: &str, source: &Path, dest: &Path, asked: Asked) -> Result<()> {
    let mut settings = Settings {
        owner: if asked.archive { Owner::Kept(Ids::SAME, asked.ids()) } else { Owner::Root(asked.ids()) },
        set_ids: true,
        devices: true,
        attributes: asked.attributes(),
    };
    if source == Path::new("-") {
        if !asked.archive {
            settings.owner = Owner::Tried(Ids::SAME, asked.ids());
        }
        return stream_in(root, container, dest, &settings);
    }
    let doing = format!("copy {} into {container}", source.display());
    let from = Source::find(Base::Own, source, asked.follow).doing(&doing, "")?;
    let to = from.goes_to(Base::Root(root), dest).doing(&doing, format_args!("{container}:{}", dest.display()))?;
    copy::tree(from.place, &to, &settings, &mut say_left_out).map_err(|failed| explain(&doing, dest, failed))
}

/// What is copied.
struct Source {
    place: Place,
    is_directory: bool,
    /// What it is called in a directory that it is copied to. None if only what is in it is copied: `DIR/.`
    name: Option<CString>,
}

impl Source {
    fn find(base: Base, path: &Path, follow: bool) -> io::Result<Source> {
        let words = path.as_os_str().as_bytes();
        let place = Place::find(base, words, follow)?;
        let is_directory = walk::kind(&place.look()?) == k::S_IFDIR;
        if walk::says_directory(words) && !is_directory {
            return Err(walk::errno(libc::ENOTDIR));
        }
        let name = walk::split(words).map(|(_, name)| CString::new(name)).transpose()?;
        Ok(Source { place, is_directory, name })
    }

    /// Where it is to be made, if the user says `dest`.
    fn goes_to(&self, base: Base, dest: &Path) -> io::Result<Place> {
        let words = dest.as_os_str().as_bytes();
        let place = Place::find(base, bare(words), true)?;
        let there = match place.look() {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => None,
            there => Some(walk::kind(&there?)),
        };
        match there {
            None if walk::says_directory(words) && !self.is_directory => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the destination directory must exist"))
            }
            Some(k::S_IFDIR) => Ok(Place { dir: place.enter()?, name: self.name.clone() }),
            Some(_) if self.is_directory => {
                Err(io::Error::new(io::ErrorKind::NotADirectory, "a directory cannot be copied onto a file"))
            }
            Some(_) if walk::says_directory(words) => Err(walk::errno(libc::ENOTDIR)),
            None | Some(_) => Ok(place),
        }
    }
}

/// A path without what only says that it is a directory: `dir/`, `dir/.`. It may be about to be made.
fn bare(mut path: &[u8]) -> &[u8] {
    while let Some(shorter) = path.strip_suffix(b"/.").or(path.strip_suffix(b"/")).filter(|rest| !rest.is_empty()) {
        path = shorter;
    }
    path
}

/// One line for what is left out. The path is the container's: it may hold anything.
fn say_left_out(path: &Path, why: &str) {
    let line = if path.as_os_str().is_empty() {
        Error::usage(why)
    } else {
        Error::usage(format_args!("left out {}: {why}", path.display()))
    };
    let _ = writeln!(io::stderr(), "ctr: {line}");
}

/// What failed, below the source; if it was that itself, where it was to go says more.
fn explain(doing: &str, to: &Path, failed: Failed) -> Error {
    let Failed { path, doing: what, cause } = failed;
    let at =
        if path.as_os_str().is_empty() { to.display().to_string() } else { format!("{what} {}", path.display()) };
    Error::new(doing, at, cause)
}

#[cfg(not(feature = "tar"))]
mod stream {
    use super::{Asked, BorrowedFd, Error, Path, Result, Settings, Source};

    fn none() -> Error {
        Error::usage("this ctr was built without tar archives (feature tar): - is not possible")
    }

    pub fn stream_out(_: &str, _: Source, _: Asked) -> Result<()> {
        Err(none())
    }

    pub fn stream_in(_: BorrowedFd, _: &str, _: &Path, _: &Settings) -> Result<()> {
        Err(none())
    }
}

#[cfg(feature = "tar")]
mod stream {
    use std::io::{self, BufWriter};
    use std::os::fd::AsFd;

    use super::{
        Asked, Base, BorrowedFd, Doing, Error, OsStr, OsStrExt, Path, Place, Result, Settings, Source, bare, explain,
        say_left_out,
    };
    use crate::sys;

    /// A descriptor as the standard library wants it, without the line buffer of its own standard output.
    struct Plain(BorrowedFd<'static>);

    impl io::Write for Plain {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            sys::write(self.0, bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl io::Read for Plain {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            sys::read(self.0, into)
        }
    }

    /// Writes an archive of the source to standard output.
    pub fn stream_out(doing: &str, from: Source, asked: Asked) -> Result<()> {
        let out = sys::borrow(1);
        if sys::terminal_settings(out).is_ok() {
            return Err(Error::usage("an archive is nothing for a terminal: send it to a file or a pipe"));
        }
        let name = from.name.unwrap_or_else(|| c".".to_owned());
        let mut out = BufWriter::with_capacity(64 << 10, Plain(out));
        rootfs::tar::write(from.place, OsStr::from_bytes(name.to_bytes()), asked.ids(), &mut out, &mut say_left_out)
            .map_err(|failed| explain(doing, Path::new(""), failed))
    }

    /// Unpacks the archive on standard input into a directory of the container's.
    pub fn stream_in(root: BorrowedFd, container: &str, dest: &Path, settings: &Settings) -> Result<()> {
        let input = sys::borrow(0);
        if sys::terminal_settings(input).is_ok() {
            return Err(Error::usage("no archive comes from a terminal: give it from a file or a pipe"));
        }
        let doing = format!("unpack standard input into {container}");
        let dir = Place::find(Base::Root(root), bare(dest.as_os_str().as_bytes()), true)
            .and_then(Place::enter)
            .doing(&doing, dest.display())?;
        rootfs::tar::extract(dir.as_fd(), &mut Plain(input), settings, &mut say_left_out)
            .map_err(|failed| explain(&doing, dest, failed))
    }
}
use stream::{stream_in, stream_out};

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn side(word: &str) -> Side {
        Side::parse(OsStr::new(word)).unwrap()
    }

    #[test]
    fn an_argument_is_a_path_here_or_in_a_container() {
        let host = |path: &str| Side::Host(PathBuf::from(path));
        let inside = |path: &str| Side::Container("web".into(), PathBuf::from(path));
        assert_eq!(side("-"), Side::Stream);
        for path in ["a", "./a:b", "/a:b", "../a:b", ".:b", "dir/a:b", "./-", "--", "a b"] {
            assert_eq!(side(path), host(path));
        }
        assert_eq!(side("web:/etc/x"), inside("/etc/x"));
        assert_eq!(side("web:etc/x:y"), inside("etc/x:y"));
        assert_eq!(side("web:-"), inside("-"));
        for bad in ["", ":", ":/x", "web:"] {
            assert!(Side::parse(OsStr::new(bad)).is_err(), "{bad:?}");
        }
        assert!(Side::parse(OsStr::from_bytes(b"\xff:x")).is_err());
    }

    #[test]
    fn exactly_one_side_is_in_a_container() {
        let way = |from: &str, to: &str| Way::parse(OsStr::new(from), OsStr::new(to));
        assert_eq!(way("web:a", "b").unwrap(), Way::Out("web".into(), "a".into(), "b".into()));
        assert_eq!(way("-", "web:b").unwrap(), Way::In("web".into(), "-".into(), "b".into()));
        assert_eq!(way("a", "web:b").unwrap().container(), "web");
        for (from, to) in [("a", "b"), ("-", "-"), ("web:a", "db:b"), ("./web:a", "b")] {
            let words = way(from, to).unwrap_err().to_string();
            assert!(words.contains("in container") || words.contains("in a container"), "{words}");
        }
    }

    #[test]
    fn what_only_says_directory_comes_off() {
        for (path, less) in
            [("a/", "a"), ("a/.", "a"), ("a/./", "a"), ("/", "/"), ("/.", "/"), (".", "."), ("..", "..")]
        {
            let less = if path == "/." { "/." } else { less };
            assert_eq!(bare(path.as_bytes()), less.as_bytes(), "{path}");
        }
        assert_eq!(bare(b"a/.."), b"a/..");
        assert_eq!(bare(b".hidden"), b".hidden");
        assert_eq!(bare(b"a/b."), b"a/b.");
    }

    /// A root with `file`, `dir/inner`, `link` to file, `dirlink` to dir; beside it `here`.
    struct Scene {
        base: PathBuf,
        root: fs::File,
    }

    impl Scene {
        fn new(name: &str) -> Scene {
            let base = std::env::temp_dir().join(format!("ctr-cp-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&base);
            fs::create_dir_all(base.join("root/dir")).unwrap();
            fs::create_dir_all(base.join("here/old")).unwrap();
            fs::write(base.join("root/file"), "file").unwrap();
            fs::write(base.join("root/dir/inner"), "inner").unwrap();
            fs::write(base.join("here/taken"), "taken").unwrap();
            symlink("file", base.join("root/link")).unwrap();
            symlink("/dir", base.join("root/dirlink")).unwrap();
            let root = fs::File::open(base.join("root")).unwrap();
            Scene { base, root }
        }

        fn out(&self, source: &str, dest: &str, follow: bool) -> Result<()> {
            let asked = Asked { archive: false, follow, ids: None };
            copy_out(self.root.as_fd(), "web", Path::new(source), &self.base.join("here").join(dest), asked)
        }

        fn bring(&self, source: &str, dest: &str) -> Result<()> {
            // As whoever runs the tests: nobody else may give files to root.
            let ids = Ids { users: sys::euid(), groups: sys::egid(), count: 1 };
            let asked = Asked { archive: false, follow: false, ids: Some(ids) };
            copy_in(self.root.as_fd(), "web", &self.base.join("here").join(source), Path::new(dest), asked)
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.base.join(path)).unwrap_or_else(|e| e.to_string())
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.base);
        }
    }

    use crate::sys;

    #[test]
    fn a_file_goes_where_docker_puts_it() {
        let scene = Scene::new("file");
        scene.out("/file", "new", false).unwrap();
        assert_eq!(scene.read("here/new"), "file");
        scene.out("file", "taken", false).unwrap();
        assert_eq!(scene.read("here/taken"), "file");
        scene.out("/dir/../file", "old", false).unwrap();
        assert_eq!(scene.read("here/old/file"), "file");
        let error = scene.out("/file", "none/", false).unwrap_err().to_string();
        assert!(error.ends_with("the destination directory must exist"), "{error}");
        assert!(scene.out("/file", "none/.", false).is_err());
        assert!(scene.out("/file", "none/new", false).is_err());
        assert!(scene.out("/file", "taken/", false).is_err());
        assert!(scene.out("/file/", "x", false).is_err());
        let error = scene.out("/etc/none", "x", false).unwrap_err().to_string();
        assert_eq!(error, "cannot copy /etc/none out of web: No such file or directory (os error 2)");
        // What is in the way is not a file.
        fs::create_dir(scene.base.join("here/old/inner")).unwrap();
        assert!(scene.out("/dir/inner", "old", false).is_err());
    }

    #[test]
    fn a_directory_goes_where_docker_puts_it() {
        let scene = Scene::new("dir");
        scene.out("/dir", "new", false).unwrap();
        assert_eq!(scene.read("here/new/inner"), "inner");
        scene.out("/dir", "new", false).unwrap();
        assert_eq!(scene.read("here/new/dir/inner"), "inner");
        scene.out("/dir/", "with-slash/", false).unwrap();
        assert_eq!(scene.read("here/with-slash/inner"), "inner");
        scene.out("/dir/.", "old", false).unwrap();
        assert_eq!(scene.read("here/old/inner"), "inner");
        scene.out("/dir/.", "with-dot", false).unwrap();
        assert_eq!(scene.read("here/with-dot/inner"), "inner");
        let error = scene.out("/dir", "taken", false).unwrap_err().to_string();
        assert!(error.contains("a directory cannot be copied onto a file"), "{error}");
        assert_eq!(scene.read("here/taken"), "taken");
    }

    #[test]
    fn links_are_copied_and_followed_inside_the_root_alone() {
        let scene = Scene::new("links");
        scene.out("/link", "l", false).unwrap();
        assert_eq!(fs::read_link(scene.base.join("here/l")).unwrap(), Path::new("file"));
        scene.out("/link", "old", true).unwrap();
        assert_eq!(scene.read("here/old/link"), "file");
        // /dir is the root's, whatever the host has there.
        scene.out("/dirlink", "d", true).unwrap();
        assert_eq!(scene.read("here/d/inner"), "inner");
        scene.out("/dirlink/.", "e", false).unwrap();
        assert_eq!(scene.read("here/e/inner"), "inner");
        symlink(scene.base.join("here/taken"), scene.base.join("root/out")).unwrap();
        symlink("../here", scene.base.join("root/up")).unwrap();
        symlink("/proc/self/root", scene.base.join("root/magic")).unwrap();
        for source in ["/out", "/up", "/up/taken", "/magic/etc", "/../here/taken"] {
            assert!(scene.out(source, "stolen", true).is_err(), "{source}");
            assert!(!scene.base.join("here/stolen").exists());
        }
        for dest in ["/out", "/up/x", "/magic/tmp/x", "/../here/x"] {
            let _ = scene.bring("taken", dest);
            assert!(!scene.base.join("here/x").exists(), "{dest}");
            assert_eq!(scene.read("here/taken"), "taken");
        }
    }

    #[test]
    fn into_a_container_modes_stay_and_out_of_it_set_id_bits_go() {
        let scene = Scene::new("modes");
        let path = scene.base.join("here/taken");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4751)).unwrap();
        let mode = |path: &str| fs::metadata(scene.base.join(path)).unwrap().permissions().mode() & 0o7777;
        scene.bring("taken", "/dirlink").unwrap();
        assert_eq!(scene.read("root/dir/taken"), "taken");
        assert_eq!(mode("root/dir/taken"), 0o4751);
        scene.out("/dir/taken", "back", false).unwrap();
        assert_eq!(mode("here/back"), 0o751);
        // Through a link to a file, it is the file that is overwritten.
        scene.bring("taken", "/link").unwrap();
        assert_eq!(scene.read("root/file"), "taken");
        assert!(fs::symlink_metadata(scene.base.join("root/link")).unwrap().is_symlink());
    }
}
