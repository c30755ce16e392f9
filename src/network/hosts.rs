//! Names: who is on a network, each container's `/etc/hosts`, and what its `/etc/resolv.conf` says.
//!
//! ```text
//! /run/ctr/members/NETWORK/ID     who is on a network: addresses, then names
//! /var/lib/ctr/hosts/ID           a container's /etc/hosts, mounted in it
//! ```
//! Names are written files, not a name server: there is no process for them that could die, they work for programs that know nothing
//! of DNS, and a container's own name server (a resolver, say) is not in their way. A container may write to its file, and what it writes
//! stays: only what stands between our two lines for a network is ours, and replaced when somebody comes or goes. On the disk
//! because a container must not fill `/run`.
//!
//! Who reads or writes here holds the lock of the network's folder.

use std::ffi::{CString, OsStr};
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;

use crate::error::{Doing, Result};
use crate::{folders, sys};

/// A container on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The container.
    pub id: String,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// Its names there: the container's, and aliases.
    pub names: Vec<String>,
}

/// The largest `/etc/hosts` that is read to be changed: what is beyond is the container's own doing.
const LARGEST: u64 = 1 << 20;

/// Where every hosts file begins.
const LOOPBACK: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

fn folder(network: &str) -> PathBuf {
    folders::folder().join("members").join(network)
}

/// A container's hosts file, where it is or would be.
pub fn file(id: &str) -> PathBuf {
    let lasting = folders::lasting_folder().join("hosts").join(id);
    // Where the disk cannot be written to.
    let passing = || folders::folder().join("hosts").join(id);
    if lasting.exists() { lasting } else { Some(passing()).filter(|path| path.exists()).unwrap_or(lasting) }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn c(path: impl AsRef<OsStr>) -> CString {
    CString::new(path.as_ref().as_encoded_bytes()).unwrap_or_default()
}

fn open(network: &str) -> io::Result<OwnedFd> {
    sys::openat(sys::CWD, &c(folder(network)), k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
}

/// A network's folder, locked.
fn lock(network: &str) -> io::Result<OwnedFd> {
    let dir = match open(network) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
            make_folder(&folder(network))?;
            open(network)?
        }
        opened => opened?,
    };
    sys::lock(dir.as_fd(), true).map(|()| dir)
}

fn parse(id: String, text: &str) -> Member {
    let (addresses, names): (Vec<&str>, Vec<&str>) =
        text.split_whitespace().partition(|word| word.parse::<IpAddr>().is_ok());
    let addresses = addresses.iter().filter_map(|word| word.parse().ok()).collect();
    Member { id, addresses, names: names.into_iter().map(str::to_owned).collect() }
}

/// Who is on a network, by address.
pub fn members(network: &str) -> Vec<Member> {
    open(network).map_or_else(|_| Vec::new(), |dir| members_in(dir.as_fd(), None))
}

/// The same of a folder that is open; one of them is known.
fn members_in(dir: BorrowedFd, known: Option<&Member>) -> Vec<Member> {
    let mut all: Vec<Member> = known.cloned().into_iter().collect();
    let mut text = [0; 4096];
    // Who is missed, where the filesystem is a slow-spoken one, is told with the next change.
    let _ = folders::each_name(dir, false, &mut |name| {
        let id = name.to_string_lossy();
        if known.is_some_and(|known| known.id == id) || id.starts_with('.') {
            return;
        }
        let Ok(file) = sys::openat(dir, name, k::O_RDONLY | k::O_NOFOLLOW | k::O_NONBLOCK, 0) else { return };
        if let Ok(length) = sys::read(file.as_fd(), &mut text) {
            let words = String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned();
            all.push(parse(id.into_owned(), &words));
        }
    });
    all.sort_by(|a, b| a.addresses.cmp(&b.addresses).then_with(|| a.id.cmp(&b.id)));
    all
}

/// Somebody comes to a network, or has other names there.
pub fn join(network: &str, member: &Member) -> Result<()> {
    let doing = || format!("tell the network {network} of a container");
    let at = folder(network).join(&member.id);
    let words: Vec<String> =
        member.addresses.iter().map(IpAddr::to_string).chain(member.names.iter().cloned()).collect();
    let line = words.join(" ") + "\n";
    for _ in 0..100 {
        let dir = lock(network).doing(doing(), at.display())?;
        let flags = k::O_WRONLY | k::O_CREAT | k::O_TRUNC | k::O_NOFOLLOW;
        match sys::openat(dir.as_fd(), &c(&member.id), flags, 0o600) {
            // The network was removed while we waited, and made again perhaps.
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
            opened => {
                let file = opened.doing(doing(), at.display())?;
                sys::write_all(file.as_fd(), line.as_bytes()).doing(doing(), at.display())?;
                tell(network, dir.as_fd(), Some(member));
                return Ok(());
            }
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN)).doing(doing(), at.display())
}

/// Somebody leaves a network. One that still runs (`lives`) shall not find the others there any more.
pub fn leave(network: &str, id: &str, lives: bool) {
    // Once more: a name that leads nowhere would stay.
    let Ok(dir) = lock(network).or_else(|_| lock(network)) else { return };
    if sys::unlink(dir.as_fd(), &c(id), false).is_err() {
        let _ = sys::unlink(dir.as_fd(), &c(id), false);
    }
    if lives {
        let _ = replace(&file(id), network, "");
    }
    tell(network, dir.as_fd(), None);
}

/// The networks that a container is on.
pub fn networks_of(id: &str) -> Vec<String> {
    let networks = folders::names(&folders::folder().join("members"));
    networks.into_iter().filter(|network| folder(network).join(id).exists()).collect()
}

/// A container that nobody looks after any more leaves everything.
pub fn forget(id: &str) {
    for network in networks_of(id) {
        leave(&network, id, false);
    }
    for folder in [folders::lasting_folder(), folders::folder()] {
        let file = folder.join("hosts").join(id);
        if std::fs::remove_file(&file).is_err_and(|e| e.kind() != io::ErrorKind::NotFound) {
            let _ = std::fs::remove_file(&file);
        }
    }
}

/// A network is gone.
pub fn forget_network(network: &str) {
    let _ = std::fs::remove_dir_all(folder(network));
}

/// Another name for a container.
pub fn rename(id: &str, old: &str, new: &str) {
    for network in networks_of(id) {
        if let Some(mut member) = members(&network).into_iter().find(|member| member.id == id) {
            member.names.iter_mut().filter(|name| *name == old).for_each(|name| new.clone_into(name));
            let _ = join(&network, &member);
        }
    }
}

/// Writes a container's file as it begins. `owner` is who root inside is outside.
pub fn begin(id: &str, own: &[(IpAddr, String)], places: &[(&str, Member)], owner: (u32, u32)) -> Result<PathBuf> {
    let mut text = LOOPBACK.to_owned();
    for (address, name) in own {
        let _ = writeln!(text, "{address}\t{name}");
    }
    for (network, member) in places {
        text = replaced(&text, network, &lines_of(member));
    }
    let doing = "write the container's /etc/hosts";
    let mut refused = None;
    for folder in [folders::lasting_folder(), folders::folder()] {
        let path = folder.join("hosts").join(id);
        let write = || -> io::Result<()> {
            let flags = k::O_WRONLY | k::O_CREAT | k::O_TRUNC | k::O_NOFOLLOW;
            let open = || sys::openat(sys::CWD, &c(&path), flags, 0o644);
            let file = match open() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    make_folder(&folder.join("hosts"))?;
                    open()?
                }
                opened => opened?,
            };
            if owner != (0, 0) {
                sys::fchown(file.as_fd(), owner.0, owner.1)?;
            }
            let file = std::fs::File::from(file);
            // For everybody inside to read, whatever mask we have.
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            sys::write_all(file.as_fd(), text.as_bytes())
        };
        match write() {
            Ok(()) => return Ok(path),
            Err(e) => {
                let _ = std::fs::remove_file(&path);
                refused = Some(Err(e).doing(doing, path.display()));
            }
        }
    }
    refused.unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::EROFS)).doing(doing, id))
}

/// Writes to everybody on a network who is there. The caller has its lock. Who cannot be told now is told with the next change.
fn tell(network: &str, dir: BorrowedFd, known: Option<&Member>) {
    let all = members_in(dir, known);
    // Who comes to nobody has nobody to be told of, and a new file, which tells of itself.
    if known.is_some() && all.len() == 1 {
        return;
    }
    let lines: String = all.iter().map(lines_of).collect();
    for member in &all {
        let _ = replace(&file(&member.id), network, &lines);
    }
}

/// What others read of a member.
fn lines_of(member: &Member) -> String {
    let short = member.id.get(..crate::names::SHORT).unwrap_or(&member.id);
    let names = member.names.iter().map(String::as_str).chain([short]).collect::<Vec<_>>().join(" ");
    member.addresses.iter().fold(String::new(), |lines, address| lines + &format!("{address}\t{names}\n"))
}

/// Puts `lines` between our two lines for a network. The file itself stays: it is mounted.
fn replace(path: &Path, network: &str, lines: &str) -> io::Result<()> {
    let file = sys::openat(sys::CWD, &c(path), k::O_RDWR | k::O_NOFOLLOW | k::O_NONBLOCK, 0)?;
    let size = sys::fstat(file.as_fd())?.st_size as u64;
    if size > LARGEST {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let old = crate::procfs::read_sized(file.as_fd(), size, LARGEST as usize)?;
    let old = String::from_utf8_lossy(&old);
    let new = replaced(&old, network, lines);
    // From the first difference on, in one write: a reader sees the old names or the new ones, with the old one's end at worst.
    let same = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
    if old.len() != new.len() || same != new.len() {
        let file = std::fs::File::from(file);
        std::os::unix::fs::FileExt::write_all_at(&file, new.as_bytes().get(same..).unwrap_or_default(), same as u64)?;
        if new.len() < old.len() {
            file.set_len(new.len() as u64)?;
        }
    }
    Ok(())
}

fn replaced(old: &str, network: &str, lines: &str) -> String {
    let (begin, end) = (format!("# ctr: on the network {network}\n"), format!("# ctr: end of {network}\n"));
    let block = if lines.is_empty() { String::new() } else { format!("{begin}{lines}{end}") };
    let place = old.find(&begin).and_then(|from| {
        let to = old.get(from..)?.find(&end)?;
        Some((from, from + to + end.len()))
    });
    match place {
        Some((from, to)) => [old.get(..from).unwrap_or_default(), &block, old.get(to..).unwrap_or_default()].concat(),
        None if !old.is_empty() && !old.ends_with('\n') && !block.is_empty() => format!("{old}\n{block}"),
        None => format!("{old}{block}"),
    }
}

/// What was asked of name resolution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers instead of the host's.
    pub servers: Vec<IpAddr>,
    /// Domains that are looked in instead of the host's.
    pub search: Vec<String>,
    /// Options instead of the host's.
    pub options: Vec<String>,
}

/// Where systemd-resolved writes down whom it asks itself.
const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// A container's `/etc/resolv.conf`, where it has a network of its own: the host's, without servers on the host's loopback, which
/// is another one inside. Where that leaves none, the file says so, and nobody else's server is put in their place.
pub fn resolv_conf(asked: &Resolver) -> String {
    let reachable = |text: &str| servers(text).iter().any(|server| !server.is_loopback());
    let own = read("/etc/resolv.conf");
    let text = if reachable(&own) { own } else { Some(read(UPSTREAM)).filter(|text| reachable(text)).unwrap_or(own) };
    resolver(asked, &text)
}

/// The beginning of a short file; nothing, if there is none.
fn read(path: &str) -> String {
    let mut text = [0; 8192];
    let file = sys::openat(sys::CWD, &c(path), k::O_RDONLY | k::O_NONBLOCK, 0);
    let length = file.and_then(|file| sys::read(file.as_fd(), &mut text)).unwrap_or(0);
    String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned()
}

/// The name servers that a resolv.conf names.
pub fn servers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver")).map(str::trim);
    words.filter_map(|word| word.split(['%', ' ', '\t']).next()?.parse().ok()).collect()
}

/// The same without looking at the machine.
pub fn resolver(asked: &Resolver, hosts: &str) -> String {
    let mut text = String::new();
    let lines = || hosts.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let kept = |words: [&'static str; 2]| {
        let first = move |line: &&str| line.split_whitespace().next().is_some_and(|word| words.contains(&word));
        lines().filter(first)
    };
    if asked.search.is_empty() {
        for line in kept(["search", "domain"]) {
            let _ = writeln!(text, "{line}");
        }
    } else if asked.search != ["."] {
        let _ = writeln!(text, "search {}", asked.search.join(" "));
    }
    let own = |server: &IpAddr| !server.is_loopback();
    let servers: Vec<IpAddr> = if asked.servers.is_empty() {
        servers(hosts).into_iter().filter(own).collect()
    } else {
        asked.servers.clone()
    };
    for server in &servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if asked.options.is_empty() {
        for line in kept(["options", "options"]) {
            let _ = writeln!(text, "{line}");
        }
    } else {
        let _ = writeln!(text, "options {}", asked.options.join(" "));
    }
    if servers.is_empty() {
        text.push_str("# no name server of this host can be reached from here: --dns names one\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_lines_are_replaced() {
        let one = replaced("127.0.0.1\tlocalhost\n", "web", "10.0.0.2\tdb\n");
        assert!(one.starts_with("127.0.0.1\tlocalhost\n# ctr") && one.contains("10.0.0.2\tdb\n"), "{one}");
        let both = replaced(&(one.clone() + "1.2.3.4\tmine\n"), "back", "10.1.0.2\tx\n");
        let changed = replaced(&both, "web", "10.0.0.3\tdb\n");
        assert!(changed.contains("mine") && changed.contains("10.1.0.2") && changed.contains("10.0.0.3"));
        assert!(!changed.contains("10.0.0.2"));
        assert_eq!(replaced(&one, "web", ""), "127.0.0.1\tlocalhost\n");
        assert_eq!(replaced("no end", "web", ""), "no end");
        assert!(replaced("no end", "web", "1.1.1.1\ta\n").starts_with("no end\n# ctr"));
        // Half of our lines is no block of ours.
        assert!(replaced("# ctr: on the network web\nx\n", "web", "1.1.1.1\ta\n").contains("x\n"));
    }

    #[test]
    fn servers_on_the_hosts_loopback_are_left_out() {
        let none = Resolver::default();
        let text = resolver(&none, "# c\nsearch a b\nnameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\n");
        assert_eq!(text, "search a b\nnameserver 9.9.9.9\noptions edns0\n");
        assert!(resolver(&none, "nameserver 127.0.0.53\n").contains("no name server"));
        let asked = Resolver {
            servers: vec!["1.1.1.1".parse().unwrap()],
            search: vec![".".into()],
            options: vec!["ndots:2".into()],
        };
        assert_eq!(resolver(&asked, "search x\nnameserver 9.9.9.9\n"), "nameserver 1.1.1.1\noptions ndots:2\n");
        assert_eq!(servers("nameserver fe80::1%eth0\nnameserver\t::1\nnameservers x\n").len(), 2);
    }
}
