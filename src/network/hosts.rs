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

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
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
    let passing = folders::folder().join("hosts").join(id);
    if passing.exists() && !lasting.exists() { passing } else { lasting }
}

fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn lock(network: &str) -> io::Result<OwnedFd> {
    let path = folder(network);
    let open = || {
        let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
        sys::openat(sys::CWD, &path, k::O_RDONLY | k::O_DIRECTORY | k::O_NOFOLLOW, 0)
    };
    for _ in 0..100 {
        let dir = match open() {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {
                make_folder(&path)?;
                continue;
            }
            opened => opened?,
        };
        sys::lock(dir.as_fd(), true)?;
        // The network may have been removed before we had it, and its folder with it.
        if open().and_then(|now| sys::same_file(now.as_fd(), dir.as_fd())).unwrap_or(false) {
            return Ok(dir);
        }
    }
    Err(io::Error::from_raw_os_error(libc::EAGAIN))
}

fn parse(id: String, text: &str) -> Member {
    let (addresses, names): (Vec<&str>, Vec<&str>) =
        text.split_whitespace().partition(|word| word.parse::<IpAddr>().is_ok());
    let addresses = addresses.iter().filter_map(|word| word.parse().ok()).collect();
    Member { id, addresses, names: names.into_iter().map(str::to_owned).collect() }
}

/// Who is on a network, as they came (by address).
pub fn members(network: &str) -> Vec<Member> {
    let path = folder(network);
    let names = std::fs::read_dir(&path).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let one = |id: String| Some(parse(id.clone(), &std::fs::read_to_string(path.join(&id)).ok()?));
    let mut all: Vec<Member> = names.filter(|name| !name.starts_with('.')).filter_map(one).collect();
    all.sort_by(|a, b| a.addresses.cmp(&b.addresses).then_with(|| a.id.cmp(&b.id)));
    all
}

/// Somebody comes to a network, or has other names there.
pub fn join(network: &str, member: &Member) -> Result<()> {
    let doing = || format!("tell the network {network} of a container");
    let path = folder(network);
    let _lock = lock(network).doing(doing(), path.display())?;
    let words: Vec<String> =
        member.addresses.iter().map(IpAddr::to_string).chain(member.names.iter().cloned()).collect();
    std::fs::write(path.join(&member.id), words.join(" ") + "\n").doing(doing(), path.display())?;
    tell(network);
    Ok(())
}

/// Somebody leaves a network.
pub fn leave(network: &str, id: &str) {
    let Ok(_lock) = lock(network) else { return };
    let path = folder(network).join(id);
    // Once more: a name that leads nowhere would stay.
    if std::fs::remove_file(&path).is_err_and(|e| e.kind() != io::ErrorKind::NotFound) {
        let _ = std::fs::remove_file(&path);
    }
    // He may still run, and shall not find them any more.
    let _ = replace(&file(id), network, "");
    tell(network);
}

/// The networks that a container is on.
pub fn networks_of(id: &str) -> Vec<String> {
    let all = std::fs::read_dir(folders::folder().join("members")).into_iter().flatten();
    let names = all.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|network| folder(network).join(id).exists()).collect()
}

/// A container that nobody looks after any more leaves everything.
pub fn forget(id: &str) {
    for network in networks_of(id) {
        leave(&network, id);
    }
    for folder in [folders::lasting_folder(), folders::folder()] {
        let _ = std::fs::remove_file(folder.join("hosts").join(id));
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
pub fn begin(id: &str, own: &[(IpAddr, String)], owner: (u32, u32)) -> Result<PathBuf> {
    let mut text = LOOPBACK.to_owned();
    for (address, name) in own {
        let _ = writeln!(text, "{address}\t{name}");
    }
    let doing = "write the container's /etc/hosts";
    let mut refused = None;
    for folder in [folders::lasting_folder(), folders::folder()] {
        let path = folder.join("hosts").join(id);
        let write = || -> io::Result<()> {
            let mut options = std::fs::OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o644).custom_flags(k::O_NOFOLLOW as i32);
            let file = match options.open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    make_folder(&folder.join("hosts"))?;
                    options.open(&path)?
                }
                opened => opened?,
            };
            if owner != (0, 0) {
                sys::fchown(file.as_fd(), owner.0, owner.1)?;
            }
            sys::write_all(file.as_fd(), text.as_bytes())
        };
        match write() {
            Ok(()) => return Ok(path),
            Err(e) => refused = Some(Err(e).doing(doing, path.display())),
        }
    }
    refused.unwrap_or_else(|| Err(io::Error::from_raw_os_error(libc::EROFS)).doing(doing, id))
}

/// Writes to everybody on a network who is there. The caller has its lock. Who cannot be told now is told with the next change.
fn tell(network: &str) {
    let all = members(network);
    let lines: Vec<String> = all.iter().map(lines_of).collect();
    for (n, member) in all.iter().enumerate() {
        let others = lines.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, line)| line.as_str());
        let _ = replace(&file(&member.id), network, &others.collect::<String>());
    }
}

/// What others read of a member.
fn lines_of(member: &Member) -> String {
    let short = member.id.get(..crate::names::SHORT).unwrap_or(&member.id);
    let names = member.names.iter().map(String::as_str).chain([short]).collect::<Vec<_>>().join(" ");
    member.addresses.iter().map(|address| format!("{address}\t{names}\n")).collect()
}

/// Puts `lines` between our two lines for a network. The file itself stays: it is mounted.
fn replace(path: &Path, network: &str, lines: &str) -> io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let flags = (k::O_NOFOLLOW | k::O_NONBLOCK) as i32;
    let file = options.read(true).write(true).custom_flags(flags).open(path)?;
    let size = file.metadata()?.len();
    if size > LARGEST {
        return Err(io::Error::from_raw_os_error(libc::EFBIG));
    }
    let old = crate::procfs::read_sized(file.as_fd(), size, LARGEST as usize)?;
    let old = String::from_utf8_lossy(&old);
    let new = replaced(&old, network, lines);
    // From the first difference on, in one write: a reader sees the old names or the new ones, with the old one's end at worst.
    let same = old.bytes().zip(new.bytes()).take_while(|(a, b)| a == b).count();
    if old.len() != new.len() || same != new.len() {
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
        Some((from, to)) => {
            [old.get(..from).unwrap_or_default(), &block, old.get(to..).unwrap_or_default()].concat()
        }
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
    let own = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let reachable = |text: &str| servers(text).iter().any(|server| !server.is_loopback());
    let text = match std::fs::read_to_string(UPSTREAM) {
        Ok(upstream) if !reachable(&own) && reachable(&upstream) => upstream,
        _ => own,
    };
    resolver(asked, &text)
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
        kept(["search", "domain"]).for_each(|line| text.push_str(&format!("{line}\n")));
    } else if asked.search != ["."] {
        let _ = writeln!(text, "search {}", asked.search.join(" "));
    }
    let own = |server: &IpAddr| !server.is_loopback();
    let servers: Vec<IpAddr> =
        if asked.servers.is_empty() { servers(hosts).into_iter().filter(own).collect() } else { asked.servers.clone() };
    for server in &servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    if asked.options.is_empty() {
        kept(["options", "options"]).for_each(|line| text.push_str(&format!("{line}\n")));
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
        let asked = Resolver { servers: vec!["1.1.1.1".parse().unwrap()], search: vec![".".into()], options: vec!["ndots:2".into()] };
        assert_eq!(resolver(&asked, "search x\nnameserver 9.9.9.9\n"), "nameserver 1.1.1.1\noptions ndots:2\n");
        assert_eq!(servers("nameserver fe80::1%eth0\nnameserver\t::1\nnameservers x\n").len(), 2);
    }
}
