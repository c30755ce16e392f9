//! `ctr events`: what happens to containers, as it happens: the journal in the state folder, followed with inotify(7).
//!
//! Containers that end with their `ctr run --rm` write no journal (they would be slower for it): they come and go as
//! directories, which is seen too.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use linux_raw_sys::general as k;
use rootfs::json::Value;

use crate::cli::Events;
use crate::clock::{self, Time};
use crate::container::journal;
use crate::container::record::{self, Record, State};
use crate::error::{Doing, Error, Result};
use crate::filter::Filters;
use crate::sys;
use crate::template::Template;

/// What `--filter` knows.
const FILTERS: [&str; 5] = ["container", "event", "label", "label!", "type"];

/// One line of the journal.
struct Event {
    time: Time,
    action: String,
    id: String,
    name: String,
    attributes: Vec<(String, String)>,
}

impl Event {
    /// Takes a line apart; None for what is none.
    fn parse(line: &str) -> Option<Event> {
        let mut words = line.split(' ');
        let time = clock::parse(words.next()?.as_bytes())?;
        let (action, id, name) = (words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.to_owned());
        let pair = |word: &str| {
            let (key, value) = word.split_once('=')?;
            Some((key.to_owned(), value.replace("\\s", " ")))
        };
        Some(Event { time, action, id, name, attributes: words.filter_map(pair).collect() })
    }

    /// What happened, as Docker calls it.
    fn action(&self) -> String {
        let status = self.attributes.iter().find(|(key, _)| key == "status");
        match status {
            Some((_, status)) if self.action == "health_status" => format!("health_status: {status}"),
            _ => self.action.clone(),
        }
    }

    fn value(&self) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        let root = self.attributes.iter().find(|(key, _)| key == "root").map_or("", |(_, value)| value.as_str());
        let mut attributes = vec![("name".to_owned(), text(&self.name)), ("image".to_owned(), text(root))];
        let others = self.attributes.iter().filter(|(key, _)| !matches!(key.as_str(), "root" | "name" | "image"));
        attributes.extend(others.map(|(key, value)| (key.clone(), text(value))));
        let nanoseconds = self.time.since(clock::Time::new(0, 0).unwrap_or(self.time));
        Value::map([
            ("status", self.action().into()),
            ("id", text(&self.id)),
            ("from", text(root)),
            ("Type", text("container")),
            ("Action", self.action().into()),
            ("Actor", Value::map([("ID", text(&self.id)), ("Attributes", Value::Map(attributes))])),
            ("scope", text("local")),
            ("time", (nanoseconds / 1_000_000_000).into()),
            ("timeNano", nanoseconds.into()),
        ])
    }

    fn line(&self) -> String {
        let mut pairs: Vec<String> = self.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        pairs.push(format!("name={}", self.name));
        pairs.sort();
        format!("{} container {} {} ({})", self.time, self.action(), self.id, pairs.join(", "))
    }

    fn matches(&self, filters: &Filters) -> bool {
        let labels: Vec<(&str, &str)> =
            self.attributes.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        filters.matches_exact("event", self.action.split(':').next().unwrap_or_default())
            && filters.matches_label(&labels)
            && filters.matches_exact("type", "container")
            && (!filters.has("container")
                || filters.values("container").any(|word| word == self.name || self.id.starts_with(word)))
    }
}

/// How it is shown.
enum Look {
    Lines,
    Json,
    Template(Template),
}

struct Show {
    filters: Filters,
    look: Look,
    since: Time,
    until: Option<Time>,
}

impl Show {
    /// One line of the journal. False when nobody reads any more, or the time is over.
    fn line(&self, line: &str) -> Result<bool> {
        let Some(event) = Event::parse(line) else { return Ok(true) };
        self.event(&event)
    }

    fn event(&self, event: &Event) -> Result<bool> {
        if self.until.is_some_and(|until| event.time > until) {
            return Ok(false);
        }
        if event.time < self.since || !event.matches(&self.filters) {
            return Ok(true);
        }
        let text = match &self.look {
            Look::Lines => event.line(),
            Look::Json => event.value().compact(),
            Look::Template(template) => template.render(&event.value())?,
        };
        let mut out = std::io::stdout();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            done => done.doing("write to standard output", "").map(|()| true),
        }
    }
}

/// The journal, read as far as it goes.
struct Journal {
    file: Option<std::fs::File>,
    inode: u64,
    rest: String,
}

impl Journal {
    /// What has come since the last time, whole lines. Follows it into a new file.
    fn lines(&mut self, path: &Path) -> Vec<String> {
        let mut all = self.more();
        let now = std::fs::metadata(path).map_or(0, |found| found.ino());
        if now != self.inode {
            self.file = std::fs::File::open(path).ok();
            self.inode = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |found| found.ino());
            all.extend(self.more());
        }
        all
    }

    fn more(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            let _ = file.read_to_end(&mut bytes);
        }
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        let Some(end) = self.rest.rfind('\n') else { return Vec::new() };
        let lines = self.rest.get(..end).unwrap_or_default().lines().map(str::to_owned).collect();
        self.rest = self.rest.get(end + 1..).unwrap_or_default().to_owned();
        lines
    }
}

/// The verb.
pub fn events(words: &[OsString]) -> Result<u8> {
    let Some((asked, operands)) = super::read::<Events>("events", words)? else { return Ok(0) };
    if !operands.is_empty() {
        return Err(Error::usage("ctr events takes no operands: --filter container=… chooses"));
    }
    let now = clock::now();
    let when = |text: &Option<String>, option: &str| {
        text.as_deref().map(|text| clock::parse_when(text, option, now)).transpose()
    };
    let (since, until) = (when(&asked.since, "--since")?, when(&asked.until, "--until")?);
    let look = match asked.format.as_deref() {
        None | Some("") => Look::Lines,
        Some("json") => Look::Json,
        Some(text) => Look::Template(Template::parse(text)?),
    };
    let show = Show { filters: Filters::parse(&asked.filter, &FILTERS)?, look, since: since.unwrap_or(now), until };
    // Makes the folders, and takes away what dead ones left.
    let guarded = State::open()?.all().into_iter().filter(|found| found.record.get("guarded").is_some());
    let mut transient =
        Transient { watch: -1, known: guarded.map(|found| (found.name.clone(), found.record)).collect() };
    let folder = record::folder();
    let path = folder.join(journal::NAME);
    let watch = sys::inotify_init().doing("watch the state folder", "inotify_init1")?;
    let add = |path: &Path, mask: u32| {
        let c_path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        sys::inotify_add_watch(watch.as_fd(), &c_path, mask).doing("watch the state folder", path.display())
    };
    add(&folder, k::IN_MODIFY | k::IN_CREATE | k::IN_MOVED_TO)?;
    transient.watch = add(&folder.join("containers"), k::IN_CREATE | k::IN_DELETE | k::IN_ONLYDIR)?;
    // First what was, if it is wanted; from there on what comes. The watch is there already, so nothing is lost in between.
    let mut file = std::fs::File::open(&path).ok();
    let inode = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |found| found.ino());
    if since.is_some() {
        let before = std::fs::read_to_string(folder.join(journal::BEFORE)).unwrap_or_default();
        for line in before.lines() {
            show.line(line)?;
        }
    } else if let Some(file) = &mut file {
        let _ = file.seek(SeekFrom::End(0));
    }
    let mut journal = Journal { file, inode, rest: String::new() };
    loop {
        for line in journal.lines(&path) {
            if !show.line(&line)? {
                return Ok(0);
            }
        }
        let now = clock::now();
        let left = match until {
            Some(until) if until <= now => return Ok(0),
            Some(until) => (until.since(now) / 1_000_000 + 1).min(60_000) as i32,
            None => -1,
        };
        if !transient.wait(&watch, left, &show)? {
            return Ok(0);
        }
    }
}

/// Containers that write no journal.
struct Transient {
    /// The watch of their folder.
    watch: i32,
    /// Those that are there, by name.
    known: BTreeMap<String, Record>,
}

impl Transient {
    /// Waits for something new, and tells of those that come and go. False when nobody reads any more.
    fn wait(&mut self, watch: &OwnedFd, patience: i32, show: &Show) -> Result<bool> {
        let mut wanted = [sys::PollFd { fd: watch.as_raw_fd(), events: libc::POLLIN, revents: 0 }];
        // Who reads us may go: without anything to say we would not learn of it.
        match sys::poll(&mut wanted, patience) {
            Err(e) if e.kind() != std::io::ErrorKind::Interrupted => return Err(e).doing("wait for events", "poll"),
            _ => {}
        }
        if wanted[0].revents == 0 {
            return Ok(true);
        }
        let mut buffer = [0u8; 8192];
        let length = sys::read(watch.as_fd(), &mut buffer).doing("read what has changed", "inotify")?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        // struct inotify_event: watch, mask, cookie, length, name.
        while rest.len() >= 16 {
            let word = |at: usize| rest.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
            let (watch, mask, length) = (word(0) as i32, word(4), word(12) as usize);
            let name = rest.get(16..16 + length).unwrap_or_default();
            let name = String::from_utf8_lossy(name.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned();
            if watch == self.watch && !name.starts_with('.') {
                let created = mask & k::IN_CREATE != 0;
                if let Some(event) = self.event(&name, created) {
                    if !show.event(&event)? {
                        return Ok(false);
                    }
                }
            }
            rest = rest.get(16 + length..).unwrap_or_default();
        }
        Ok(true)
    }

    /// A directory has come or gone.
    fn event(&mut self, name: &str, created: bool) -> Option<Event> {
        if created {
            // Its record follows at once.
            let record = (0..50).find_map(|_| {
                let text = std::fs::read(record::folder().join("containers").join(name).join("record")).ok();
                let record = text.and_then(|text| Record::parse(&text).ok());
                if record.is_none() {
                    let _ = sys::poll(&mut [], 1);
                }
                record
            })?;
            // One that is looked after writes the journal itself.
            record.get("guarded")?;
            self.known.insert(name.to_owned(), record);
        }
        let record = if created { self.known.get(name).cloned() } else { self.known.remove(name) }?;
        Some(Event {
            time: clock::now(),
            action: if created { "start" } else { "die" }.to_owned(),
            id: record.id().to_owned(),
            name: name.to_owned(),
            attributes: vec![("root".to_owned(), record.get("root").unwrap_or_default().to_owned())],
        })
    }
}
