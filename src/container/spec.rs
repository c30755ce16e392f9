//! What was asked for, checked: plain data, and the readers of the little languages that options are written in.
//!
//! Nothing here looks at the machine. What is wrong with the words alone is found here; whether a path exists or a user
//! is known is found when the plan is made.

use std::ffi::{CString, OsString};
use std::net::IpAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use linux_raw_sys::general as k;
use rootfs::InRoot;

use super::device::Device;
use super::security::Security;
use super::sysctl::Sysctl;
use crate::caps;
use crate::error::{Error, Result};
use crate::idmap::IdMap;
use crate::network::connect::Join;
use crate::network::hosts::Resolver;
use crate::network::ports::Wish;
use crate::seccomp::Filter;

/// What becomes `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// A copy-on-write view of the machine's own root.
    Host,
    /// A directory.
    Dir(PathBuf),
}

/// Which network the container is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// One of its own, with a loopback interface and nothing else.
    None,
    /// The host's.
    Host,
    /// That of another container, by name or id.
    Container(String),
    /// One of its own, joined to these.
    Joined(Vec<Join>),
}

impl Network {
    /// Whether it has a network namespace of its own.
    pub fn is_own(&self) -> bool {
        matches!(self, Network::None | Network::Joined(_))
    }
}

/// Whether the container has a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Userns {
    /// No: root inside is root outside, with fewer capabilities.
    Host,
    /// Yes, with ids that nobody else has, where kernel and filesystems can.
    Auto,
    /// Yes, or there is no container.
    Required,
}

/// What root gets who says nothing.
pub const DEFAULT_USERNS: Userns = Userns::Auto;

/// A directory or file of the host, seen inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Where it is on the host, absolute.
    pub from: PathBuf,
    /// Where it is inside.
    pub to: InRoot,
    /// Nothing can be written through it.
    pub read_only: bool,
    /// With what is mounted below it.
    pub recursive: bool,
    /// It shows what the host mounts below it later. Nothing ever travels to the host.
    pub slave: bool,
}

/// A fresh tmpfs inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tmpfs {
    /// Where.
    pub to: InRoot,
    /// `MS_*`.
    pub flags: u32,
    /// The options of the filesystem itself.
    pub data: CString,
}

/// A resource limit (`--ulimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// In the unit of the resource; `u64::MAX` is unlimited.
    pub soft: u64,
    /// The same.
    pub hard: u64,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What becomes `/`.
    pub root: Root,
    /// Writes go to the root directory itself instead of a layer above it.
    pub writable_root: bool,
    /// Nothing can be written but volumes and tmpfs.
    pub read_only: bool,
    /// The command and its arguments; at least one.
    pub command: Vec<CString>,
    /// `KEY=VALUE`, later ones win.
    pub env: Vec<CString>,
    /// Where the command starts.
    pub workdir: InRoot,
    /// `USER[:GROUP]` as typed.
    pub user: Option<String>,
    /// The container's name, if one was chosen.
    pub name: Option<String>,
    /// The host name inside.
    pub hostname: Option<String>,
    /// Standard input stays open.
    pub interactive: bool,
    /// The command gets a terminal.
    pub terminal: bool,
    /// Bind mounts.
    pub volumes: Vec<Volume>,
    /// tmpfs mounts.
    pub tmpfs: Vec<Tmpfs>,
    /// Which network.
    pub network: Network,
    /// The host's processes are seen.
    pub host_pid: bool,
    /// The host's System V and POSIX IPC are used.
    pub host_ipc: bool,
    /// The host's name is used.
    pub host_uts: bool,
    /// A user namespace or not.
    pub userns: Userns,
    /// Its ids, if they are given by hand.
    pub ids: Option<IdMap>,
    /// What it publishes.
    pub ports: Vec<Wish>,
    /// Lines for `/etc/hosts`; without an address it is this host's as seen from inside.
    pub hosts: Vec<(String, Option<IpAddr>)>,
    /// What its `/etc/resolv.conf` is to say.
    pub resolver: Resolver,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// ctr's own init as PID 1.
    pub init: bool,
    /// The capabilities that its processes may have, as far as they can be had.
    pub capabilities: caps::Set,
    /// No masks, no read-only parts, all devices of the host, and all capabilities unless some are dropped.
    pub privileged: bool,
    /// Device nodes of the host.
    pub devices: Vec<Device>,
    /// Kernel parameters of its namespaces.
    pub sysctls: Vec<Sysctl>,
    /// Groups that its user is in beside his own, as typed.
    pub groups: Vec<String>,
    /// `--security-opt`.
    pub security: Security,
    /// What it may use of the machine.
    pub resources: crate::cgroup::limits::Limits,
    /// Devices that it may use beside the usual ones.
    pub device_rules: Vec<crate::cgroup::devices::DeviceRule>,
    /// Below which control group its own is made.
    pub cgroup_parent: Option<String>,
    /// It sees the host's control groups.
    pub host_cgroup: bool,
}

impl Spec {
    /// An option that gives more than every container has, which is little in a user namespace of its own, and much without.
    pub fn powers(&self) -> Option<&'static str> {
        let rules = [
            (self.privileged, "--privileged"),
            (self.capabilities.all & !caps::DEFAULT != 0, "--cap-add"),
            (self.security.no_new_privs == Some(false), "--security-opt no-new-privileges=false"),
            (matches!(self.security.filter, Filter::Unconfined), "--security-opt seccomp=unconfined"),
        ];
        rules.into_iter().find_map(|(given, option)| given.then_some(option))
    }
}

/// A C string from what a user typed; a NUL byte cannot come from a command line, but from a file.
fn c_string(bytes: impl Into<Vec<u8>>, option: &str) -> Result<CString> {
    CString::new(bytes).map_err(|e| {
        let shown = String::from_utf8_lossy(e.into_vec().as_slice()).into_owned();
        Error::usage(format_args!("bad {option} {shown:?}: it has a NUL byte in it"))
    })
}

/// The command line of the container.
pub fn command(words: Vec<OsString>) -> Result<Vec<CString>> {
    words.into_iter().map(|word| c_string(word.into_vec(), "argument")).collect()
}

/// One `-e`: `KEY=VALUE`, or `KEY` alone to pass on the caller's value (nothing, if the caller has none).
pub fn env(text: &str) -> Result<Option<CString>> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(OsString::from(value))),
        None => (text, std::env::var_os(text)),
    };
    if key.is_empty() {
        return Err(Error::usage(format_args!("bad -e {text:?}: it is KEY=VALUE, or KEY to pass on ctr's own")));
    }
    let Some(value) = value else { return Ok(None) };
    let mut pair = key.as_bytes().to_vec();
    pair.push(b'=');
    pair.extend_from_slice(value.as_bytes());
    c_string(pair, "-e").map(Some)
}

/// The lines of an `--env-file`: as for `-e`; empty lines and those that begin with `#` are left out.
pub fn env_file(text: &str, path: &Path) -> Result<Vec<CString>> {
    let mut all = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = line.split('=').next().unwrap_or_default();
        if key.is_empty() || key.contains(char::is_whitespace) || line.contains('\0') {
            return Err(Error::usage(format_args!(
                "bad line {} in {}: {line:?} is not KEY=VALUE",
                n + 1,
                path.display()
            )));
        }
        all.extend(env(line)?);
    }
    Ok(all)
}

/// An absolute path inside the container, cleaned.
pub fn inside(path: &str, option: &str) -> Result<InRoot> {
    InRoot::new(Path::new(path))
        .ok_or_else(|| Error::usage(format_args!("bad {option} {path:?}: it must be absolute, such as /data")))
}

/// A mount target: absolute, and not `/` itself.
fn target(path: &str, option: &str) -> Result<InRoot> {
    let target = inside(path, option)?;
    if target.is_root() {
        return Err(Error::usage(format_args!(
            "bad {option} {path:?}: the container's root itself cannot be covered"
        )));
    }
    Ok(target)
}

/// A path of the host, made absolute by `here` without looking at it.
fn outside(path: &str, option: &str) -> Result<PathBuf> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    if path.starts_with('.') {
        return std::env::current_dir()
            .map(|here| here.join(path))
            .map_err(|e| Error::new("tell where ./ is", path, e));
    }
    Err(Error::usage(format_args!(
        "bad {option} {path:?}: named volumes do not exist yet; a path begins with / or ./"
    )))
}

/// `-v SRC:DST[:OPTIONS]`.
pub fn volume(text: &str) -> Result<Volume> {
    let mut words = text.split(':');
    let (Some(from), Some(to), options, None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(Error::usage(format_args!("bad -v {text:?}: it is SRC:DST or SRC:DST:ro")));
    };
    if from.is_empty() || to.is_empty() {
        return Err(Error::usage(format_args!("bad -v {text:?}: it is SRC:DST or SRC:DST:ro")));
    }
    let mut volume =
        Volume { from: outside(from, "-v")?, to: target(to, "-v")?, read_only: false, recursive: true, slave: false };
    for option in options.unwrap_or_default().split(',').filter(|o| !o.is_empty()) {
        match option {
            "ro" => volume.read_only = true,
            "rw" => volume.read_only = false,
            "z" | "Z" => {} // SELinux relabelling: nothing to do where no label is set.
            other => volume.slave = is_slave(other, "-v", text)?,
        }
    }
    Ok(volume)
}

/// Only what cannot carry a mount back to the host.
fn is_slave(word: &str, option: &str, text: &str) -> Result<bool> {
    match word {
        "private" | "rprivate" => Ok(false),
        "slave" | "rslave" => Ok(true),
        _ => Err(Error::usage(format_args!(
            "bad {option} {text:?}: {word:?} is none of ro, rw, private, rprivate, slave, rslave"
        ))),
    }
}

/// A `--mount`: one of the two kinds it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mount {
    /// `type=bind`.
    Volume(Volume),
    /// `type=tmpfs`.
    Tmpfs(Tmpfs),
}

/// `--mount type=bind|tmpfs,source=…,target=…[,readonly][,…]`.
pub fn mount(text: &str) -> Result<Mount> {
    let bad = |why: String| Error::usage(format_args!("bad --mount {text:?}: {why}"));
    let (mut kind, mut from, mut to, mut read_only, mut recursive) = ("bind", None, None, false, true);
    let (mut slave, mut size, mut mode) = (false, None, None);
    for word in text.split(',') {
        let (key, value) = word.split_once('=').map_or((word, None), |(key, value)| (key, Some(value)));
        let needed = || value.filter(|v| !v.is_empty()).ok_or_else(|| bad(format!("{key} needs a value")));
        let flag = || match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => Err(bad(format!("{key}={other} is neither true nor false"))),
        };
        match key {
            "type" => kind = needed()?,
            "source" | "src" => from = Some(needed()?),
            "target" | "dst" | "destination" => to = Some(needed()?),
            "readonly" | "ro" => read_only = flag()?,
            "bind-nonrecursive" => recursive = !flag()?,
            "bind-propagation" => slave = is_slave(needed()?, "--mount", text)?,
            "tmpfs-size" => size = Some(bytes(needed()?, "--mount tmpfs-size")?),
            "tmpfs-mode" => {
                mode = Some(octal(needed()?).ok_or_else(|| bad("tmpfs-mode is octal, such as 1777".into()))?);
            }
            "" => return Err(bad("an empty word".into())),
            _ => return Err(bad(format!("unknown key {key:?}"))),
        }
    }
    let to = target(to.ok_or_else(|| bad("target= is missing".into()))?, "--mount")?;
    match kind {
        "bind" if size.is_none() && mode.is_none() => {
            let from = outside(from.ok_or_else(|| bad("source= is missing".into()))?, "--mount")?;
            Ok(Mount::Volume(Volume { from, to, read_only, recursive, slave }))
        }
        "tmpfs" if from.is_none() => {
            let mut data = format!("mode={:o}", mode.unwrap_or(0o1777));
            if let Some(size) = size {
                data = format!("{data},size={size}");
            }
            let flags = rootfs::op::PLAIN | if read_only { k::MS_RDONLY } else { 0 };
            Ok(Mount::Tmpfs(Tmpfs { to, flags, data: c_string(data, "--mount")? }))
        }
        "bind" => Err(bad("tmpfs-size and tmpfs-mode go with type=tmpfs".into())),
        "tmpfs" => Err(bad("a tmpfs has no source".into())),
        "volume" => Err(bad("named volumes do not exist yet; use type=bind with a path".into())),
        other => Err(bad(format!("type {other:?} is neither bind nor tmpfs"))),
    }
}

/// `--tmpfs DST[:OPTIONS]`, with mount(8)'s words for the options.
pub fn tmpfs(text: &str) -> Result<Tmpfs> {
    let (to, options) = text.split_once(':').unwrap_or((text, ""));
    let bad = |why: &str| Error::usage(format_args!("bad --tmpfs {text:?}: {why}"));
    let mut flags = rootfs::op::PLAIN;
    let mut data = vec!["mode=1777".to_owned()];
    for option in options.split(',').filter(|o| !o.is_empty()) {
        match option {
            "rw" => flags &= !k::MS_RDONLY,
            "ro" => flags |= k::MS_RDONLY,
            "exec" => flags &= !k::MS_NOEXEC,
            "noexec" => flags |= k::MS_NOEXEC,
            "suid" => flags &= !k::MS_NOSUID,
            "nosuid" => flags |= k::MS_NOSUID,
            "nodev" => flags |= k::MS_NODEV,
            "dev" => flags &= !k::MS_NODEV,
            _ => {
                let (key, value) =
                    option.split_once('=').ok_or_else(|| bad("an option is KEY=VALUE or ro, exec, …"))?;
                match key {
                    "size" => data.push(format!("size={}", bytes(value, "--tmpfs size")?)),
                    "mode" => {
                        data[0] =
                            format!("mode={:o}", octal(value).ok_or_else(|| bad("mode is octal, such as 755"))?);
                    }
                    "uid" | "gid" | "nr_inodes" => {
                        let number: u32 = value.parse().map_err(|_| bad("uid, gid and nr_inodes are numbers"))?;
                        data.push(format!("{key}={number}"));
                    }
                    _ => {
                        return Err(bad(
                            "options are size, mode, uid, gid, nr_inodes, ro, rw, exec, noexec, suid, nosuid, dev, nodev",
                        ));
                    }
                }
            }
        }
    }
    Ok(Tmpfs { to: target(to, "--tmpfs")?, flags, data: c_string(data.join(","), "--tmpfs")? })
}

fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// A size as people write it: bytes, or with k, m, g (powers of 1024; an i and a b after it change nothing), fractions
/// allowed. At least one byte.
pub fn bytes(text: &str, option: &str) -> Result<u64> {
    let bad = || Error::usage(format_args!("bad {option} {text:?}: a size is a number with k, m or g, such as 64m"));
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match lower.get(digits.len()..).unwrap_or_default() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(bad()),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || part.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(bad());
    }
    let whole: u64 = whole.parse().map_err(|_| bad())?;
    let fraction = if part.is_empty() { 0 } else { part.parse::<u64>().map_err(|_| bad())? };
    let fraction = (u128::from(fraction) << shift) / 10u128.pow(part.len() as u32);
    let sum = (u128::from(whole) << shift) + fraction;
    u64::try_from(sum).ok().filter(|n| *n > 0 && i64::try_from(*n).is_ok()).ok_or_else(bad)
}

/// Resources by number (include/uapi/asm-generic/resource.h).
const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

impl Limit {
    /// The resource's name.
    pub fn name(&self) -> &'static str {
        RESOURCES.get(self.resource as usize).copied().unwrap_or("?")
    }

    /// A limit as it is typed.
    pub fn shown(limit: u64) -> String {
        if limit == u64::MAX { "unlimited".to_owned() } else { limit.to_string() }
    }
}

impl std::fmt::Display for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}={}:{}", self.name(), Limit::shown(self.soft), Limit::shown(self.hard))
    }
}

/// `--ulimit NAME=SOFT[:HARD]`, in the unit of setrlimit(2); `unlimited` or -1 for no limit.
pub fn limit(text: &str) -> Result<Limit> {
    let bad =
        || Error::usage(format_args!("bad --ulimit {text:?}: it is NAME=SOFT[:HARD], such as nofile=1024:4096"));
    let (name, values) = text.split_once('=').ok_or_else(bad)?;
    let resource = RESOURCES.iter().position(|n| *n == name).ok_or_else(|| {
        Error::usage(format_args!("bad --ulimit {text:?}: {name:?} is none of {}", RESOURCES.join(", ")))
    })?;
    let number = |word: &str| match word {
        "unlimited" | "-1" => Ok(u64::MAX),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| bad()),
        _ => Err(bad()),
    };
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if soft > hard {
        return Err(Error::usage(format_args!("bad --ulimit {text:?}: the soft limit is above the hard one")));
    }
    Ok(Limit { resource: resource as u32, soft, hard })
}

/// `--add-host NAME:ADDRESS` (or `NAME=ADDRESS`); the address may be `host-gateway`.
pub fn host(text: &str) -> Result<(String, Option<IpAddr>)> {
    let bad = || Error::usage(format_args!("bad --add-host {text:?}: it is NAME:ADDRESS, such as db:10.0.0.7"));
    let (name, address) = text.split_once('=').or_else(|| text.split_once(':')).ok_or_else(bad)?;
    let address = match address {
        "host-gateway" => None,
        _ => Some(address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| bad())?),
    };
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(bad());
    }
    Ok((name.to_owned(), address))
}

/// `--dns ADDRESS`.
pub fn name_server(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| Error::usage(format_args!("bad --dns {text:?}: it is an address, such as 9.9.9.9")))
}

/// `--network-alias`, `--alias`: what others find it by, as DNS has names (RFC 1123).
pub fn alias(text: &str) -> Result<String> {
    let good = |label: &str| {
        let inside = label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        !label.is_empty() && label.len() <= 63 && inside && !label.starts_with('-') && !label.ends_with('-')
    };
    if text.len() <= 253 && text.split('.').all(good) && text.parse::<IpAddr>().is_err() {
        return Ok(text.to_owned());
    }
    Err(Error::usage(format_args!(
        "bad alias {text:?}: it is a name as DNS has them: letters, digits and dashes, with dots between"
    )))
}

/// `--dns-search`; `.` alone is for none.
pub fn search(text: &str) -> Result<String> {
    let name = text.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(text);
    if text == "." || alias(name).is_ok() {
        return Ok(name.to_owned());
    }
    Err(Error::usage(format_args!("bad --dns-search {text:?}: it is a domain, such as example.org, or . for none")))
}

/// `--dns-option`: see resolv.conf(5).
pub fn dns_option(text: &str) -> Result<String> {
    if !text.is_empty() && text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Error::usage(format_args!("bad --dns-option {text:?}: it is one word of resolv.conf(5), such as ndots:2")))
}

/// `--network NAME[:ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS,alias=NAME…]`: a network, and what is wished there. [`join_word`] writes it.
pub fn join(text: &str) -> Result<Join> {
    let (name, wishes) = text.split_once(':').unwrap_or((text, ""));
    if crate::names::check(name).is_err() {
        return Err(Error::usage(format_args!(
            "bad --network {text:?}: it is bridge, none, host, container:NAME, or a network's name (ctr network ls)"
        )));
    }
    let network = if name == "default" { crate::network::USUAL } else { name };
    let mut join = Join { network: network.to_owned(), ..Join::default() };
    for wish in wishes.split(',').filter(|_| text.contains(':')) {
        let bad = |why: &str| Error::usage(format_args!("bad --network {text:?}: {why}"));
        let done = match wish.split_once('=') {
            Some(("ip", ip)) => ip.parse().map(|ip| join.v4 = Some(ip)).is_ok(),
            Some(("ip6", ip)) => ip.parse().map(|ip| join.v6 = Some(ip)).is_ok(),
            Some(("mac", address)) => mac(address).map(|mac| join.mac = Some(mac)).is_ok(),
            Some(("alias", name)) => alias(name).map(|name| join.aliases.push(name)).is_ok(),
            _ => return Err(bad("after the name come ip=, ip6=, mac= and alias=, with commas between")),
        };
        if !done {
            return Err(bad(&format!("{wish} is no such address or name")));
        }
    }
    Ok(join)
}

/// A network and what is wished there, as [`join`] reads it.
pub fn join_word(join: &Join) -> String {
    let v4 = join.v4.map(|ip| format!("ip={ip}"));
    let v6 = join.v6.map(|ip| format!("ip6={ip}"));
    let mac = join.mac.map(|mac| format!("mac={}", mac.map(|byte| format!("{byte:02x}")).join(":")));
    let aliases = join.aliases.iter().map(|alias| format!("alias={alias}"));
    let wishes: Vec<String> = [v4, v6, mac].into_iter().flatten().chain(aliases).collect();
    if wishes.is_empty() { join.network.clone() } else { format!("{}:{}", join.network, wishes.join(",")) }
}

/// The network that a word of `--network` is about.
pub fn joined_name(word: &str) -> &str {
    match word.split_once(':') {
        Some(("container", _)) | None => word,
        Some((name, _)) => name,
    }
}

/// `--mac-address`: six bytes in hexadecimal; that of one interface, not of many.
pub fn mac(text: &str) -> Result<[u8; 6]> {
    let words: Vec<&str> = text.split([':', '-']).collect();
    let byte = |word: &&str| u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2);
    let bytes: Option<Vec<u8>> = words.iter().map(byte).collect();
    let read =
        bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()).filter(|mac| mac[0] & 1 == 0 && *mac != [0; 6]);
    read.ok_or_else(|| {
        Error::usage(format_args!(
            "bad --mac-address {text:?}: it is six bytes such as 02:42:ac:11:00:02, the first of them even"
        ))
    })
}

/// A host name: up to 64 bytes (`__NEW_UTS_LEN`) of letters, digits, dots and dashes.
pub fn hostname(text: &str) -> Result<String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if text.is_empty() || text.len() > 64 || !text.bytes().all(good) || text.starts_with(['-', '.']) {
        return Err(Error::usage(format_args!(
            "bad host name {text:?}: letters, digits, '-', '_' and '.', not at the beginning, 64 at most"
        )));
    }
    Ok(text.to_owned())
}

/// When a container that has ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// Never.
    #[default]
    No,
    /// When its exit code was not 0; at most so many times.
    OnFailure(Option<u32>),
    /// Whenever it ends, and after a reboot, unless it was stopped by `ctr stop`; after a reboot even then.
    Always,
    /// The same, but what was stopped stays stopped over a reboot.
    UnlessStopped,
}

/// How a container's health is looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// For `/bin/sh -c` inside.
    pub command: String,
    /// Nanoseconds from the end of one check to the next.
    pub interval: u64,
    /// Nanoseconds that a check may take.
    pub timeout: u64,
    /// How many failures in a row make it unhealthy.
    pub retries: u32,
    /// Nanoseconds after the start in which failures do not count.
    pub start_period: u64,
}

/// What a supervisor is to do beside running the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Care {
    /// When it is started again.
    pub restart: Restart,
    /// It is removed when it ends.
    pub remove: bool,
    /// What `stop` sends; SIGTERM if it is none of our business.
    pub stop_signal: Option<i32>,
    /// How many seconds `stop` waits; None for ever.
    pub stop_timeout: Option<u64>,
    /// How its health is looked after.
    pub health: Option<Health>,
    /// `--log-opt max-size`, in bytes.
    pub log_size: Option<u64>,
    /// `--log-opt max-file`.
    pub log_files: Option<u32>,
}

/// How many seconds a container has to end by itself, if nobody says otherwise (as Docker has it).
pub const STOP_TIMEOUT: u64 = 10;

/// `--restart`.
pub fn restart(text: &str) -> Result<Restart> {
    match text.split_once(':').map_or((text, None), |(name, times)| (name, Some(times))) {
        ("no" | "", None) => Ok(Restart::No),
        ("always", None) => Ok(Restart::Always),
        ("unless-stopped", None) => Ok(Restart::UnlessStopped),
        ("on-failure", None) => Ok(Restart::OnFailure(None)),
        ("on-failure", Some(times)) if times.parse::<u32>().is_ok() => {
            Ok(Restart::OnFailure(times.parse().ok().filter(|n| *n > 0)))
        }
        _ => Err(Error::usage(format_args!(
            "bad --restart {text:?}: it is no, on-failure, on-failure:TIMES, always or unless-stopped"
        ))),
    }
}

/// How many seconds to wait for the end, from `-t` or `--stop-timeout`; -1 is for ever (None).
pub fn seconds(text: &str, option: &str) -> Result<Option<u64>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(n) if (0..=i64::from(i32::MAX) / 1000).contains(&n) => Ok(Some(n as u64)),
        _ => Err(Error::usage(format_args!(
            "bad {option} {text:?}: it is a number of seconds, or -1 to wait for ever"
        ))),
    }
}

/// One `--log-opt`.
pub fn log_opt(text: &str, care: &mut Care) -> Result<()> {
    let bad = || {
        Error::usage(format_args!(
            "bad --log-opt {text:?}: it is max-size=SIZE (at least 4k) or max-file=N (1 to 100)"
        ))
    };
    match text.split_once('=').ok_or_else(bad)? {
        ("max-size", size) => {
            care.log_size = Some(bytes(size, "--log-opt max-size").ok().filter(|n| *n >= 4096).ok_or_else(bad)?);
        }
        ("max-file", n) => care.log_files = Some(n.parse().ok().filter(|n| (1..=100).contains(n)).ok_or_else(bad)?),
        _ => return Err(bad()),
    }
    Ok(())
}

/// A `--label`: the key has no blanks, the value may be missing.
pub fn label(text: &str) -> Result<()> {
    let key = text.split('=').next().unwrap_or_default();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(Error::usage(format_args!("bad --label {text:?}: it is KEY=VALUE, or KEY")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_what_is_wished_there() {
        for text in ["n", "n:ip=10.5.0.7", "n:ip=10.5.0.7,ip6=fd05::7,mac=02:11:22:33:44:55,alias=a,alias=b.c"] {
            assert_eq!(join_word(&join(text).unwrap()), text);
            assert_eq!(joined_name(text), "n");
        }
        assert_eq!(join("default").unwrap().network, "bridge");
        assert_eq!(joined_name("container:x"), "container:x");
        for bad in [
            "",
            ":",
            "n:",
            "n:ip=",
            "n:ip=fd05::7",
            "n:ip6=1.2.3.4",
            "n:mac=1",
            "n:alias=-",
            "n:x=1",
            "n:ip=1.2.3.4,",
            "a/b",
        ] {
            assert!(join(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn volumes() {
        let v = volume("/a:/b").unwrap();
        assert_eq!((v.from.to_str(), v.to.to_string().as_str(), v.read_only), (Some("/a"), "/b", false));
        assert!(volume("/a:/b/../c:ro").unwrap().read_only);
        assert!(volume("/a:/b:ro,rslave").unwrap().slave);
        assert!(volume("./a:/b").unwrap().from.is_absolute());
        for bad in
            ["", "/a", ":", "/a:", ":/b", "/a:b", "/a:/", "/a:/..", "a:/b", "/a:/b:shared", "/a:/b:ro:x", "/a:/b:wo"]
        {
            assert!(volume(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn mounts() {
        assert!(matches!(mount("type=bind,source=/a,target=/b,readonly").unwrap(), Mount::Volume(v) if v.read_only));
        assert!(matches!(mount("type=bind,src=/a,dst=/b,ro=false,bind-nonrecursive").unwrap(),
            Mount::Volume(v) if !v.read_only && !v.recursive));
        assert!(matches!(mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=700").unwrap(),
            Mount::Tmpfs(t) if t.data.to_bytes() == b"mode=700,size=1048576"));
        for bad in [
            "",
            "type=bind",
            "type=bind,source=/a",
            "type=tmpfs,source=/a,target=/b",
            "type=volume,target=/b",
            "type=nfs,target=/b",
            "type=bind,source=/a,target=/b,tmpfs-size=1",
            "x=y",
            "target=/b,source=",
            "target=/b,ro=maybe",
        ] {
            assert!(mount(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes() {
        for (text, size) in [("1", 1), ("64m", 64 << 20), ("1.5g", 3 << 29), ("2KiB", 2048), ("1b", 1), ("0.5k", 512)]
        {
            assert_eq!(bytes(text, "-m").unwrap(), size, "{text}");
        }
        for bad in [
            "",
            "0",
            "m",
            "-1",
            "1x",
            "1.2.3",
            ".5m",
            "1e3",
            "99999999999999999999",
            "16777216t",
            "1 m",
            "0.0000000001g",
        ] {
            assert!(bytes(bad, "-m").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tmpfs_options() {
        let t = tmpfs("/run:size=1m,exec,mode=755").unwrap();
        assert_eq!(t.data.to_bytes(), b"mode=755,size=1048576");
        assert_eq!(t.flags, k::MS_NOSUID | k::MS_NODEV);
        for bad in ["", "run", "/", "/run:size", "/run:size=0", "/run:mode=9", "/run:foo=1", "/run:uid=x"] {
            assert!(tmpfs(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(limit("nofile=10:20").unwrap(), Limit { resource: 7, soft: 10, hard: 20 });
        assert_eq!(limit("core=unlimited").unwrap().hard, u64::MAX);
        for bad in
            ["nofile", "nofile=", "files=1", "nofile=2:1", "nofile=-2", "nofile=1:2:3", "nofile=99999999999999999999"]
        {
            assert!(limit(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn environment() {
        assert_eq!(env("A=b=c").unwrap().unwrap().to_bytes(), b"A=b=c");
        assert_eq!(env("CTR_SURELY_UNSET").unwrap(), None);
        assert!(env("=x").is_err() && env("").is_err() && env("A=\0").is_err());
        let file = env_file("# c\n\nA=1\n  B=2 3\n", Path::new("f")).unwrap();
        assert_eq!(file.len(), 2);
        assert_eq!(file[1].to_bytes(), b"B=2 3");
        assert!(env_file("A B=1", Path::new("f")).is_err());
        assert!(env_file("A=1\nB=\0", Path::new("f")).unwrap_err().to_string().contains("line 2 in f"));
    }

    #[test]
    fn names_and_addresses() {
        assert_eq!(host("db:10.0.0.7").unwrap().0, "db");
        assert_eq!(host("db:::1").unwrap().1, "::1".parse().ok());
        assert_eq!(host("db=[fe80::1]").unwrap().1, "fe80::1".parse().ok());
        assert_eq!(host("up:host-gateway").unwrap().1, None);
        assert!(alias("db.example").is_ok() && search(".").is_ok() && dns_option("ndots:2").is_ok());
        for bad in ["", "a b", "-a", "a-", "a..b", "10.0.0.1", "a/b", &"x".repeat(64)] {
            assert!(alias(bad).is_err(), "{bad:?}");
        }
        assert_eq!(mac("02:42:ac:11:00:02").unwrap(), [2, 0x42, 0xac, 0x11, 0, 2]);
        for bad in
            ["", "02:42:ac:11:00", "03:42:ac:11:00:02", "00:00:00:00:00:00", "2:42:ac:11:0:2", "02:42:ac:11:00:xx"]
        {
            assert!(mac(bad).is_err(), "{bad:?}");
        }
        for bad in ["db", "db:", ":1.2.3.4", "a b:1.2.3.4", "db:300.1.1.1", "a\nb:1.2.3.4"] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
        assert!(name_server("1.1.1.1").is_ok() && name_server("dns").is_err());
        assert!(hostname("web-1.example").is_ok() && hostname("-x").is_err() && hostname("a b").is_err());
    }
}
