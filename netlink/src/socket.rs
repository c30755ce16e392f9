//! Questions to the kernel and its answers.
//!
//! Every question gets a number of its own, and answers are recognised by it, so that what is left over from a question
//! that went wrong is passed over. A change is answered by an acknowledgement (`NLMSG_ERROR`, where 0 means yes), a question by one
//! message or a refusal, and a dump by many messages, with `NLMSG_DONE` behind them. The kernel does its work inside our `send`: when that returns,
//! the verdict is already queued, and waiting for it cannot hang.
//!
//! Several messages can go in one send ([`Socket::requests`]): the kernel takes them one after the other, reports every
//! failure, and only the last one's success, so that a hundred cost two system calls. Which of them failed is told by the
//! number that the verdict carries.
//!
//! A refusal can come with a sentence ("extended ack": `Unknown device type`), often the only thing that tells why. It is
//! kept in the error's text, with the attribute that the kernel pointed at; [`errno`] finds the number again, [`refusal`]
//! all of it.
//!
//! A dump is not a snapshot. When the list changed while the kernel was walking it, it says so (`NLM_F_DUMP_INTR`), and
//! entries can be missing or doubled: we ask again. When it had no memory for the next part (`ENOBUFS`) it leaves the
//! dump hanging half-way, and answers the next one with `EBUSY` until somebody has read on: we read on, and ask again.
//! Both a bounded number of times. We never open another socket for it: that one would speak to the network namespace
//! that the caller is in by then.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libc::{
    EAGAIN, EBUSY, EINTR, EINVAL, EMSGSIZE, ENOBUFS, MSG_DONTWAIT, NETLINK_ROUTE, NLM_F_ACK, NLM_F_DUMP,
    NLM_F_DUMP_INTR, NLMSG_ERROR, c_int,
};

use crate::sys;
use crate::wire::{self, Message};

/// The kernel fills up to 32 KiB per read of a dump when it sees a buffer that large, and no more than that
/// (Documentation/userspace-api/netlink/intro.rst). A single message can be longer (a network card with hundreds of virtual
/// functions): then the buffer grows.
const BUFFER: usize = 32 * 1024;

/// What a single answer gets first: a link with its statistics is 1.5 KiB. Whoever never dumps never needs more.
const SMALL: usize = 4096;

/// How often a dump is asked for before we give up: each is a whole walk, and a host on which ten in a row are disturbed
/// is better told about than waited for.
const ATTEMPTS: u32 = 10;

/// How many datagrams of an abandoned dump we read at most: more links than a host can have.
const LEFTOVERS: u32 = 100_000;

/// A netlink socket, and the number of its last question. It speaks to the network namespace in which it was opened,
/// wherever its owner goes afterwards.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    protocol: c_int,
    sequence: u32,
    buffer: Vec<u8>,
    /// The last datagram was longer than the buffer, which has grown since: the question is to be asked again.
    cut: bool,
    /// The kernel says more about a refusal than its number.
    talks: bool,
    /// It looks closely at what is asked for in a dump.
    strict: bool,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// A socket for `NETLINK_ROUTE` or `NETLINK_NETFILTER`. `EPROTONOSUPPORT`: the kernel has no such family.
    pub fn open(protocol: c_int) -> io::Result<Socket> {
        let fd = sys::socket(protocol)?;
        Ok(Socket { fd, protocol, sequence: 0, buffer: vec![0; SMALL], cut: false, talks: false, strict: false })
    }

    /// Has the kernel say more about refusals, for `bytes` that are going to be sent. Where it cannot, we know less, but every
    /// question and every answer stays what it is. Not every socket lives to see a change, and a question that is only refused for
    /// want of what it asks for needs no words.
    fn have_it_talk(&mut self, bytes: usize) {
        if !std::mem::replace(&mut self.talks, true) {
            let _ = sys::set_extended_ack(self.fd.as_fd());
        }
        // A refusal carries back what was refused, with the words behind it: that is to fit.
        if bytes > SMALL / 2 && self.buffer.len() < BUFFER {
            let _ = sys::set_capped_ack(self.fd.as_fd());
            self.buffer.resize(BUFFER, 0);
        }
    }

    /// Have something done. Returns when it is done, or with the kernel's reason why not.
    pub fn request(&mut self, message: Message) -> io::Result<()> {
        let mut question = message.finish()?;
        self.have_it_talk(question.len());
        self.exchange(&mut question, NLM_F_ACK, End::Verdict).map(drop)
    }

    /// Have several things done, in this order, with one send. The error is the first refusal, and [`refusal`] tells which
    /// message it was for.
    ///
    /// Nothing is undone: the kernel goes on after a refusal, so that those behind it are done where they can be. All or
    /// nothing is what [`crate::nft::Batch`] gives, for nf_tables alone.
    pub fn requests(&mut self, messages: impl IntoIterator<Item = Message>) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let (bytes, starts) = wire::numbered(messages, first)?;
        let last = first.wrapping_add(starts.len() as u32).wrapping_sub(1);
        if starts.is_empty() { Ok(()) } else { self.deliver(&bytes, &starts, first, last) }
    }

    /// Send these messages, which begin at `starts` and are numbered from `first`, and gather the verdicts up to the one
    /// on number `last`, the only one that asks for one in any case.
    pub(crate) fn deliver(&mut self, bytes: &[u8], starts: &[usize], first: u32, last: u32) -> io::Result<()> {
        self.sequence = first.wrapping_add(starts.len() as u32);
        self.have_it_talk(bytes.len());
        match sys::send(self.fd.as_fd(), bytes) {
            // Longer than the send buffer (net.core.wmem_default). Half of the number is kept for bookkeeping.
            Err(error) if error.raw_os_error() == Some(EMSGSIZE) => {
                let room = c_int::try_from(bytes.len()).unwrap_or(c_int::MAX);
                sys::force_send_buffer(self.fd.as_fd(), room.saturating_add(4096)).map_err(|_| error)?;
                sys::send(self.fd.as_fd(), bytes)?;
            }
            other => other?,
        }
        let protocol = self.protocol;
        let (mut refused, mut dropped, mut judged): (Option<Refusal>, _, _) = (None, false, false);
        while !judged {
            // All verdicts are queued already: nothing to read is the end.
            let (datagram, _) = match self.receive(MSG_DONTWAIT) {
                Err(error) if error.raw_os_error() == Some(EAGAIN) => break,
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {
                    dropped = true;
                    continue;
                }
                other => other?,
            };
            for message in wire::messages(datagram) {
                // A datagram that was cut is one long refusal: its verdict stands in front.
                let Ok(message) = message else {
                    let (number, verdict) = wire::acknowledged(datagram);
                    if let (Err(error), None) = (verdict, &refused) {
                        let n = number.wrapping_sub(first) as usize;
                        refused = Some(Refusal::new(error.raw_os_error().unwrap_or(EINVAL), Some(n)));
                    }
                    judged |= number == last;
                    break;
                };
                let n = message.sequence.wrapping_sub(first) as usize;
                let (Some(&start), Some(verdict)) = (starts.get(n), message.verdict()?) else { continue };
                judged |= message.sequence == last;
                if verdict.errno == 0 {
                    continue;
                }
                match &mut refused {
                    Some(refused) => refused.failed.push(n),
                    None => refused = Some(Refusal::of(verdict, protocol, bytes.get(start..), Some(n))),
                }
            }
        }
        match refused {
            Some(refused) => Err(refused.into()),
            None if judged => Ok(()),
            None if dropped => Err(io::Error::from_raw_os_error(ENOBUFS)),
            None => Err(wire::malformed()),
        }
    }

    /// Have several things done, in this order, with one send, and do not ask how it went: they are done, or cannot be, when this
    /// returns. For what is on its way out, where a refusal means that it is gone already. The verdict stays unread, so this is a
    /// socket's last word.
    pub fn tell(self, messages: impl IntoIterator<Item = Message>) -> io::Result<()> {
        let (bytes, starts) = wire::numbered(messages, self.next_sequence())?;
        if starts.is_empty() { Ok(()) } else { sys::send(self.fd.as_fd(), &bytes) }
    }

    /// The number that the next message gets.
    pub(crate) fn next_sequence(&self) -> u32 {
        self.sequence.wrapping_add(1)
    }

    /// Ask for one thing, which is one message. The answer is read with [`wire::messages`]. It may be asked twice, so that it must not be a
    /// request that changes something.
    pub fn get(&mut self, message: Message) -> io::Result<Vec<u8>> {
        let mut question = message.finish()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.exchange(&mut question, 0, End::Answer) {
                Ok(answer) => return Ok(answer.bytes),
                Err(_) if self.cut && attempts < ATTEMPTS => self.read_on()?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Ask for all of a kind. The answer is read with [`wire::messages`], and is one consistent walk of the list.
    pub fn dump(&mut self, message: Message) -> io::Result<Vec<u8>> {
        // Only dumps change by it, and not every socket lives to see one.
        if !std::mem::replace(&mut self.strict, true) {
            let _ = sys::set_strict_check(self.fd.as_fd());
            self.have_it_talk(BUFFER);
        }
        let mut question = message.finish()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.exchange(&mut question, NLM_F_DUMP, End::Verdict) {
                Ok(answer) if !answer.interrupted => return Ok(answer.bytes),
                Ok(_) if attempts < ATTEMPTS => {}
                Ok(_) => {
                    let words = format!("the kernel's list was read {ATTEMPTS} times and changed each time");
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, words));
                }
                Err(error) if attempts < ATTEMPTS && (self.cut || matches!(errno(&error), Some(ENOBUFS | EBUSY))) => {
                    self.read_on()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn exchange(&mut self, question: &mut [u8], flags: c_int, end: End) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        self.cut = false;
        let (protocol, sequence) = (self.protocol, self.sequence);
        wire::stamp(question, flags, self.sequence);
        sys::send(self.fd.as_fd(), question)?;
        let mut answer = Answer::to(self.sequence);
        while !(answer.complete || end == End::Answer && !answer.bytes.is_empty()) {
            let (datagram, whole) = self.receive(0)?;
            if whole {
                let verdict = answer.take(datagram)?;
                if let Some(verdict) = verdict.filter(|verdict| verdict.errno != 0) {
                    return Err(Refusal::of(verdict, protocol, Some(question), None).into());
                }
            } else if wire::u16_at(datagram, 4).map(c_int::from) == Some(NLMSG_ERROR) {
                // A refusal that carries our request back: the verdict stands in front.
                let (number, verdict) = wire::acknowledged(datagram);
                answer.complete = number == sequence;
                if answer.complete {
                    verdict?;
                }
            } else {
                self.cut = true;
                return Err(io::Error::from_raw_os_error(EMSGSIZE));
            }
        }
        Ok(answer)
    }

    /// Read whatever is still coming, until nothing is. Reading is also what makes the kernel go on with a dump.
    fn read_on(&mut self) -> io::Result<()> {
        for _ in 0..LEFTOVERS {
            match self.receive(MSG_DONTWAIT).map(drop) {
                Err(error) if error.raw_os_error() == Some(EAGAIN) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(ENOBUFS) => {}
                other => other?,
            }
        }
        Err(io::Error::from_raw_os_error(ENOBUFS))
    }

    /// One datagram from the kernel, and whether it is whole. What was longer than the buffer is lost, but told
    /// (`MSG_TRUNC`), and the next one of that length will fit: growing after the fact costs one question twice, once in a
    /// socket's life, where a look beforehand (`MSG_PEEK`) would double the reads of every answer. Any process may send to
    /// our port (netlink(7)), so others are passed over.
    fn receive(&mut self, flags: c_int) -> io::Result<(&[u8], bool)> {
        let (length, room) = loop {
            let room = self.buffer.len();
            match sys::receive(self.fd.as_fd(), &mut self.buffer, flags) {
                Ok((_, sender)) if sender != 0 => {}
                Ok((length, _)) => break (length, room),
                Err(error) if error.raw_os_error() == Some(EINTR) => {}
                Err(error) => return Err(error),
            }
        };
        if length > room {
            self.buffer.resize(length.next_power_of_two(), 0);
        }
        Ok((self.buffer.get(..length.min(room)).unwrap_or_default(), length <= room))
    }
}

/// With what an answer ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With what was asked for, or with a refusal.
    Answer,
    /// With the kernel's verdict, or the end of a dump.
    Verdict,
}

/// What has come so far in answer to one question.
#[derive(Debug)]
struct Answer {
    sequence: u32,
    /// The messages themselves, one behind the other, each from a multiple of four.
    bytes: Vec<u8>,
    complete: bool,
    interrupted: bool,
}

impl Answer {
    fn to(sequence: u32) -> Answer {
        Answer { sequence, bytes: Vec::new(), complete: false, interrupted: false }
    }

    /// Take what is ours of a datagram. The verdict, where it is in there, completes the answer.
    fn take(&mut self, datagram: &[u8]) -> io::Result<Option<wire::Verdict>> {
        for message in wire::messages(datagram) {
            let message = message?;
            if message.sequence != self.sequence {
                continue;
            }
            self.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.verdict()? {
                Some(verdict) => {
                    self.complete = true;
                    return Ok(Some(verdict));
                }
                // Below NLMSG_MIN_TYPE are netlink's own: NLMSG_NOOP and the like carry nothing (netlink(7)).
                None if c_int::from(message.kind) < libc::NLMSG_MIN_TYPE => {}
                None => {
                    self.bytes.extend_from_slice(message.bytes());
                    self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
                }
            }
        }
        Ok(None)
    }
}

/// What the kernel said when it refused: inside the [`io::Error`], where [`refusal`] finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The errno.
    pub errno: i32,
    /// The kernel's own sentence, where it has one (`NLMSGERR_ATTR_MSG`, Linux 4.12).
    pub said: Option<String>,
    /// Which of several messages it was for, from 0; none where the whole send was refused, or where there was only one.
    pub message: Option<usize>,
    /// The other messages that failed, all behind that one.
    pub failed: Vec<usize>,
    /// Where in that message the attribute stands that the kernel did not like, in bytes from the header on
    /// (`NLMSGERR_ATTR_OFFS`, Linux 4.12).
    pub offset: Option<u32>,
    /// That attribute's kind, and before it the kinds of the nests around it. Empty where the kernel named none.
    pub attribute: Vec<u16>,
    /// The kind of the attribute that should have been there (`NLMSGERR_ATTR_MISS_TYPE`, Linux 6.1).
    pub missing: Option<u32>,
}

impl Refusal {
    fn new(errno: i32, message: Option<usize>) -> Refusal {
        let (said, failed, offset, attribute, missing) = (None, Vec::new(), None, Vec::new(), None);
        Refusal { errno, said, message, failed, offset, attribute, missing }
    }

    /// The verdict on `bytes`, which begin with the message that was refused.
    fn of(verdict: wire::Verdict, protocol: c_int, bytes: Option<&[u8]>, message: Option<usize>) -> Refusal {
        let bytes = bytes.unwrap_or_default();
        let sent = wire::messages(bytes).next().and_then(Result::ok);
        let path = |offset| {
            let sent = sent?;
            Some(wire::path_to(sent.bytes(), wire::fixed_length(protocol, sent.kind)?, offset as usize))
        };
        Refusal {
            said: verdict.said,
            offset: verdict.offset,
            attribute: verdict.offset.and_then(path).unwrap_or_default(),
            missing: verdict.missing,
            ..Refusal::new(verdict.errno, message)
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}", io::Error::from_raw_os_error(self.errno))?;
        match &self.said {
            Some(said) => write!(f, "; the kernel says: {said}")?,
            None if self.offset.is_some() => write!(f, "; the kernel points")?,
            None => {}
        }
        if let (Some(offset), path) = (self.offset, &self.attribute) {
            let kinds: Vec<String> = path.iter().map(u16::to_string).collect();
            let kinds = if kinds.is_empty() { "?".to_owned() } else { kinds.join(".") };
            write!(f, " (at attribute {kinds}, byte {offset})")?;
        }
        if let Some(missing) = self.missing {
            write!(f, " (attribute {missing} is missing)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        let error = io::Error::from_raw_os_error(refusal.errno);
        // A bare errno stays one: it says the same, and `raw_os_error` works on it.
        let bare = refusal == Refusal::new(refusal.errno, None);
        if bare { error } else { io::Error::new(error.kind(), refusal) }
    }
}

/// The same error, its messages counted from `by` on; what came before that is the send as a whole.
pub(crate) fn moved(error: io::Error, by: usize) -> io::Error {
    match refusal(&error) {
        Some(refusal) => Refusal {
            message: refusal.message.and_then(|message| message.checked_sub(by)),
            failed: refusal.failed.iter().filter_map(|message| message.checked_sub(by)).collect(),
            ..refusal.clone()
        }
        .into(),
        None => error,
    }
}

/// All that the kernel said with an error that this crate returned. `None` where there is nothing beside an errno.
pub fn refusal(error: &io::Error) -> Option<&Refusal> {
    error.get_ref()?.downcast_ref()
}

/// The errno of an error that this crate returned. [`io::Error::raw_os_error`] alone says `None` where the error also
/// carries the kernel's sentence.
pub fn errno(error: &io::Error) -> Option<i32> {
    error.raw_os_error().or_else(|| refusal(error).map(|refusal| refusal.errno))
}

/// Send one finished message to the `NETLINK_ROUTE` of the caller's own network namespace, and return its verdict: what
/// [`transact_all`] does, for one.
pub fn transact(message: &[u8]) -> io::Result<()> {
    transact_all(message).map_err(|(_, error)| error)
}

/// Send finished messages, one or what [`wire::join`] made of several, to the `NETLINK_ROUTE` of the caller's own network
/// namespace. The error comes with the place of the message, from 0, that was refused first; those behind it have been
/// tried all the same.
///
/// For a child between `clone3` and `execve` that shares its parent's memory: it allocates nothing, takes no lock, and
/// cannot panic. Three system calls, `socket`, `sendto`, `recvfrom`, however many messages: the socket is left open for
/// `execve` to close, which costs the child nothing, since it is CLOEXEC. So do not call it where no `execve` follows.
///
/// `NLM_F_ACK` is set in the last message, as every change in [`crate::link`] and its neighbours has it; anything else is
/// EINVAL before the kernel is asked. The kernel's sentence is not read: it would have to be kept somewhere. The wait
/// cannot hang: the kernel has answered before `sendto` returns.
pub fn transact_all(messages: &[u8]) -> Result<(), (u32, io::Error)> {
    let errno = |errno| (0, io::Error::from_raw_os_error(errno));
    let last = wire::wants_ack(messages).ok_or_else(|| errno(EINVAL))?;
    let first = wire::u32_at(messages, 8).ok_or_else(|| errno(EINVAL))?;
    let fd = ManuallyDrop::new(sys::socket(NETLINK_ROUTE).map_err(|error| (0, error))?);
    sys::send(fd.as_fd(), messages).map_err(|error| (0, error))?;
    loop {
        let mut buffer = [0; 64];
        let received = sys::receive(fd.as_fd(), &mut buffer, MSG_DONTWAIT);
        let (length, sender) = received.map_err(|error| (0, error))?;
        if sender != 0 {
            continue;
        }
        // A refusal carries our message back and may not fit; its beginning is all we want.
        let (number, verdict) = wire::acknowledged(buffer.get(..length).unwrap_or(&buffer));
        verdict.map_err(|error| (number.wrapping_sub(first), error))?;
        if number == last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{ACCEPTED, DONE, REFUSED_CAPPED, hex, mangle};
    use libc::{EOPNOTSUPP, ERANGE};

    const BRIDGE: &str = "ip link add br0 type bridge stp_state 0 forward_delay 0 ageing_time 30000 vlan_filtering 1 \
        vlan_default_pvid 1 mcast_snooping 0 nf_call_iptables 0 nf_call_ip6tables 0";

    /// The number that the golden bytes of `ip` carry.
    const OURS: u32 = 0x6b03_5345;

    fn message(kind: u16, flags: c_int, sequence: u32) -> Vec<u8> {
        let mut bytes = Message::new(kind, flags).finish().unwrap();
        wire::stamp(&mut bytes, 0, sequence);
        bytes
    }

    #[test]
    fn an_answer_is_gathered_until_it_is_done() {
        let part = message(libc::RTM_NEWLINK, libc::NLM_F_MULTI, OURS);
        let mut answer = Answer::to(OURS);
        answer.take(&[part.clone(), part.clone()].concat()).unwrap();
        assert!(!answer.complete);
        answer.take(&[part.clone(), hex(DONE)].concat()).unwrap();
        assert!(answer.complete && !answer.interrupted);
        assert_eq!(answer.bytes, part.repeat(3));
    }

    #[test]
    fn answers_to_others_and_idle_messages_are_passed_over() {
        let mut answer = Answer::to(OURS);
        let idle = message(libc::NLMSG_NOOP as u16, 0, OURS);
        answer.take(&[message(libc::RTM_NEWLINK, 0, OURS - 1), hex(REFUSED_CAPPED), idle].concat()).unwrap();
        assert!(!answer.complete && answer.bytes.is_empty());
        answer.take(&hex(ACCEPTED)).unwrap();
        assert!(answer.complete && answer.bytes.is_empty());
    }

    #[test]
    fn a_disturbed_dump_is_noticed() {
        let mut answer = Answer::to(OURS);
        answer.take(&message(libc::RTM_NEWLINK, NLM_F_DUMP_INTR, OURS)).unwrap();
        answer.take(&hex(DONE)).unwrap();
        assert!(answer.complete && answer.interrupted);
    }

    #[test]
    fn a_refusal_keeps_its_number_and_its_words() {
        let mut answer = Answer::to(12);
        let verdict = answer.take(&hex(REFUSED_CAPPED)).unwrap().unwrap();
        let error = io::Error::from(Refusal::of(verdict, NETLINK_ROUTE, None, None));
        assert_eq!(errno(&error), Some(EOPNOTSUPP));
        assert_eq!(error.kind(), io::Error::from_raw_os_error(EOPNOTSUPP).kind());
        let text = error.to_string();
        assert!(text.ends_with("(os error 95); the kernel says: Unknown device type"), "{text}");
        assert_eq!(errno(&io::Error::from_raw_os_error(EBUSY)), Some(EBUSY));
        assert_eq!(errno(&io::Error::other("something else")), None);
    }

    #[test]
    fn no_datagram_makes_it_panic() {
        let part = message(libc::RTM_NEWLINK, 0, OURS);
        mangle(&[part, hex(REFUSED_CAPPED), hex(ACCEPTED), hex(DONE)].concat(), |bytes| {
            let _ = Answer::to(OURS).take(bytes);
        });
    }

    #[test]
    fn a_refusal_names_the_attribute() {
        // ip link add br0 type bridge, with the bridge's options in it.
        let sent = wire::tests::golden(include_str!("../tests/golden/ip.hex"), BRIDGE);
        let verdict = |offset| wire::Verdict { errno: ERANGE, said: None, offset: Some(offset), missing: None };
        let of = |offset| Refusal::of(verdict(offset), NETLINK_ROUTE, Some(&sent), None);
        assert_eq!(of(32).attribute, [libc::IFLA_IFNAME]);
        // IFLA_LINKINFO, IFLA_INFO_DATA, IFLA_BR_STP_STATE
        assert_eq!(of(60).attribute, [18, 2, 5]);
        let text = io::Error::from(of(60)).to_string();
        assert!(text.ends_with("(os error 34); the kernel points (at attribute 18.2.5, byte 60)"), "{text}");
        let odd = Refusal { missing: Some(3), said: Some("no".to_owned()), ..of(61) };
        let text = odd.to_string();
        assert!(text.ends_with("says: no (at attribute ?, byte 61) (attribute 3 is missing)"), "{text}");
    }

    /// Needs a kernel, but no privilege.
    #[test]
    fn several_requests_fail_where_they_fail() {
        let mut socket = Socket::open(NETLINK_ROUTE).unwrap();
        let good = || Message::new(libc::NLMSG_NOOP as u16, 0);
        // No such message.
        let bad = || Message::new(1000, 0);
        socket.requests([]).unwrap();
        socket.requests([good(), good(), good()]).unwrap();
        let error = socket.requests([good(), bad(), good(), bad()]).unwrap_err();
        let refusal = refusal(&error).unwrap();
        assert_eq!((refusal.message, &refusal.failed[..]), (Some(1), &[3][..]));
        assert_eq!(errno(&error), Some(EOPNOTSUPP));
        // What was only told is done all the same.
        Socket::open(NETLINK_ROUTE).unwrap().tell([bad(), good()]).unwrap();
        Socket::open(NETLINK_ROUTE).unwrap().tell([]).unwrap();
        // What is left over does not disturb the next.
        socket.requests([good()]).unwrap();
        socket.request(good()).unwrap();

        let all = |messages: Vec<Message>| transact_all(&wire::join(messages).unwrap()).map_err(|(n, _)| n);
        assert_eq!(all(vec![good(), good()]), Ok(()));
        assert_eq!(all(vec![good(), good(), bad()]), Err(2));
        assert_eq!(all(vec![good(), bad(), good()]), Err(1));
    }

    /// Needs a kernel, but no privilege. 400 KB are more than a send buffer takes by itself.
    #[test]
    fn a_long_send_gets_the_room_it_needs() {
        let mut socket = Socket::open(NETLINK_ROUTE).unwrap();
        let message = || {
            let mut message = Message::new(libc::NLMSG_NOOP as u16, 0);
            message.bytes(1, &[0; 1000]);
            message
        };
        match socket.requests((0..400).map(|_| message())) {
            Ok(()) => {}
            // Without CAP_NET_ADMIN it cannot have it.
            Err(error) => assert_eq!(error.raw_os_error(), Some(EMSGSIZE)),
        }
    }

    /// Needs a kernel, but no privilege.
    #[test]
    fn a_buffer_that_is_too_small_grows() {
        let mut socket = Socket::open(NETLINK_ROUTE).unwrap();
        let mut question = Message::new(libc::RTM_GETLINK, 0);
        question.ifinfo(0);
        let whole = socket.dump(question.clone()).unwrap();
        socket.buffer = vec![0; 64];
        let names =
            |answer: &[u8]| wire::messages(answer).filter(|m| m.as_ref().unwrap().kind == libc::RTM_NEWLINK).count();
        assert_eq!(names(&socket.dump(question.clone()).unwrap()), names(&whole));
        assert!(socket.buffer.len() > 64);
        socket.buffer = vec![0; 64];
        let mut question = Message::new(libc::RTM_GETLINK, 0);
        question.ifinfo(1);
        assert!(socket.get(question).unwrap().len() > 64);
    }

    /// Needs a kernel, but no privilege: only from in here can a dump be left half-way.
    #[test]
    fn a_dump_that_was_left_half_way_does_not_spoil_the_next() {
        let mut socket = Socket::open(NETLINK_ROUTE).unwrap();
        let mut question = Message::new(libc::RTM_GETLINK, 0);
        question.ifinfo(0);
        let mut left = question.clone().finish().unwrap();
        wire::stamp(&mut left, NLM_F_DUMP, 0);
        sys::send(socket.fd.as_fd(), &left).unwrap();
        let answer = socket.dump(question).unwrap();
        assert!(wire::messages(&answer).all(|message| message.unwrap().kind == libc::RTM_NEWLINK));
        assert!(!answer.is_empty());
        // Linux 6.18 says EBUSY to the first, even when there is only lo: it holds back the end of a dump.
        assert!((1..=2).contains(&socket.sequence), "{}", socket.sequence);
    }
}
