//! Questions to the kernel and its answers.
//!
//! Every question gets a number of its own, and answers are recognised by it, so that what is left over from a question
//! that went wrong is passed over. An answer ends with an acknowledgement (`NLMSG_ERROR`, where 0 means yes) or, for a
//! dump, which comes in many messages, with `NLMSG_DONE`. The kernel does its work inside our `send`: when that returns,
//! the verdict is already queued, and waiting for it cannot hang.
//!
//! A refusal can come with a sentence ("extended ack": `Unknown device type`), often the only thing that tells why. It is
//! kept in the error's text; [`errno`] finds the number again.
//!
//! A dump is not a snapshot. When the list changed while the kernel was walking it, it says so (`NLM_F_DUMP_INTR`), and
//! entries can be missing or doubled: we ask again. When it had no memory for the next part (`ENOBUFS`) it leaves the
//! dump hanging half-way, and answers the next one with `EBUSY` until somebody has read on: we read on, and ask again.
//! Both a bounded number of times. We never open another socket for it: that one would speak to the network namespace
//! that the caller is in by then.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};

use libc::{
    EAGAIN, EBUSY, EINTR, EINVAL, EMSGSIZE, ENOBUFS, MSG_DONTWAIT, NETLINK_ROUTE, NLM_F_ACK, NLM_F_DUMP,
    NLM_F_DUMP_INTR, c_int,
};

use crate::sys;
use crate::wire::{self, Message};

/// The kernel fills up to 32 KiB per read of a dump when it sees a buffer that large, and no more than that
/// (Documentation/userspace-api/netlink/intro.rst). No single message that we ask for comes near it.
const BUFFER: usize = 32 * 1024;

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
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for `NETLINK_ROUTE` or `NETLINK_NETFILTER`. `EPROTONOSUPPORT`: the kernel has no such family.
    pub fn open(protocol: c_int) -> io::Result<Socket> {
        let fd = sys::socket(protocol)?;
        // These make the kernel say more and look closer. Where one is missing we know less about a refusal, but every
        // question and every answer stays what it is.
        let _ = sys::set_extended_ack(fd.as_fd());
        let _ = sys::set_capped_ack(fd.as_fd());
        let _ = sys::set_strict_check(fd.as_fd());
        Ok(Socket { fd, sequence: 0, buffer: vec![0; BUFFER] })
    }

    /// Have something done. Returns when it is done, or with the kernel's reason why not.
    pub fn request(&mut self, message: Message) -> io::Result<()> {
        self.get(message).map(drop)
    }

    /// Ask for one thing. The answer is read with [`wire::messages`].
    pub fn get(&mut self, message: Message) -> io::Result<Vec<u8>> {
        self.exchange(&mut message.finish()?, NLM_F_ACK).map(|answer| answer.bytes)
    }

    /// Ask for all of a kind. The answer is read with [`wire::messages`], and is one consistent walk of the list.
    pub fn dump(&mut self, message: Message) -> io::Result<Vec<u8>> {
        let mut question = message.finish()?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.exchange(&mut question, NLM_F_DUMP) {
                Ok(answer) if !answer.interrupted => return Ok(answer.bytes),
                Ok(_) if attempts < ATTEMPTS => {}
                Ok(_) => {
                    let words = format!("the kernel's list was read {ATTEMPTS} times and changed each time");
                    return Err(io::Error::new(io::ErrorKind::ResourceBusy, words));
                }
                Err(error) if attempts < ATTEMPTS && matches!(errno(&error), Some(ENOBUFS | EBUSY)) => {
                    self.read_on()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn exchange(&mut self, question: &mut [u8], flags: c_int) -> io::Result<Answer> {
        self.sequence = self.sequence.wrapping_add(1);
        wire::stamp(question, flags, self.sequence);
        sys::send(self.fd.as_fd(), question)?;
        let mut answer = Answer::to(self.sequence);
        while !answer.complete {
            answer.take(self.receive(0)?)?;
        }
        Ok(answer)
    }

    /// Read whatever is still coming, until nothing is. Reading is also what makes the kernel go on with a dump.
    fn read_on(&mut self) -> io::Result<()> {
        for _ in 0..LEFTOVERS {
            match self.receive(MSG_DONTWAIT).map(drop) {
                Err(error) if error.raw_os_error() == Some(EAGAIN) => return Ok(()),
                Err(error) if matches!(error.raw_os_error(), Some(ENOBUFS | EMSGSIZE)) => {}
                other => other?,
            }
        }
        Err(io::Error::from_raw_os_error(ENOBUFS))
    }

    /// One datagram from the kernel. Any process may send to our port (netlink(7)), so others are passed over.
    fn receive(&mut self, flags: c_int) -> io::Result<&[u8]> {
        loop {
            match sys::receive(self.fd.as_fd(), &mut self.buffer, flags) {
                Ok((_, sender)) if sender != 0 => {}
                Ok((length, _)) => {
                    return self.buffer.get(..length).ok_or_else(|| io::Error::from_raw_os_error(EMSGSIZE));
                }
                Err(error) if error.raw_os_error() == Some(EINTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
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

    fn take(&mut self, datagram: &[u8]) -> io::Result<()> {
        for message in wire::messages(datagram) {
            let message = message?;
            if message.sequence != self.sequence {
                continue;
            }
            self.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
            match message.verdict()? {
                Some(verdict) if verdict.errno == 0 => self.complete = true,
                Some(verdict) => return Err(refused(verdict)),
                // Below NLMSG_MIN_TYPE are netlink's own: NLMSG_NOOP and the like carry nothing (netlink(7)).
                None if c_int::from(message.kind) < libc::NLMSG_MIN_TYPE => {}
                None => {
                    self.bytes.extend_from_slice(message.bytes());
                    self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
                }
            }
        }
        Ok(())
    }
}

/// A refusal and the kernel's sentence about it, inside an [`io::Error`].
#[derive(Debug)]
struct Refused {
    errno: i32,
    said: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}; the kernel says: {}", io::Error::from_raw_os_error(self.errno), self.said)
    }
}

impl std::error::Error for Refused {}

fn refused(verdict: wire::Verdict) -> io::Error {
    let error = io::Error::from_raw_os_error(verdict.errno);
    match verdict.said {
        Some(said) => io::Error::new(error.kind(), Refused { errno: verdict.errno, said }),
        None => error,
    }
}

/// The errno of an error that this crate returned. [`io::Error::raw_os_error`] alone says `None` where the error also
/// carries the kernel's sentence.
pub fn errno(error: &io::Error) -> Option<i32> {
    let refused = || error.get_ref()?.downcast_ref::<Refused>();
    error.raw_os_error().or_else(|| refused().map(|refused| refused.errno))
}

/// Send one finished message to the `NETLINK_ROUTE` of the caller's own network namespace, and return its verdict.
///
/// For a child between `clone3` and `execve` that shares its parent's memory: it allocates nothing, takes no lock, and
/// cannot panic. Three system calls, `socket`, `sendto`, `recvfrom`: the socket is left open for `execve` to close, which
/// costs the child nothing, since it is CLOEXEC. So do not call it where no `execve` follows.
///
/// `message` is what [`Message::finish`] returned, with `NLM_F_ACK` set, as every change in [`crate::link`] has it;
/// anything else is EINVAL before the kernel is asked. The kernel's sentence is not read: it would have to be kept
/// somewhere. The wait cannot hang: the kernel has answered before `sendto` returns.
pub fn transact(message: &[u8]) -> io::Result<()> {
    if wire::wants_ack(message).is_none() {
        return Err(io::Error::from_raw_os_error(EINVAL));
    }
    let fd = ManuallyDrop::new(sys::socket(NETLINK_ROUTE)?);
    sys::send(fd.as_fd(), message)?;
    let mut buffer = [0; 64];
    let (length, _) = sys::receive(fd.as_fd(), &mut buffer, MSG_DONTWAIT)?;
    // A refusal carries our message back and may not fit; its beginning is all we want.
    wire::acknowledged(buffer.get(..length).unwrap_or(&buffer)).1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{ACCEPTED, DONE, REFUSED_CAPPED, hex, mangle};
    use libc::EOPNOTSUPP;

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
        let error = answer.take(&hex(REFUSED_CAPPED)).unwrap_err();
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
