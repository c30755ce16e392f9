//! Netlink's wire format: messages and attributes to bytes and back. Pure: no I/O, and no bytes make it panic.
//!
//! A message is a header (length u32, type u16, flags u16, sequence u32, port u32), then the fixed struct of its type
//! (`ifinfomsg`, `nfgenmsg`), then attributes. An attribute is a length u16 that counts its own four bytes, a kind u16,
//! and the payload: a number, a string, or attributes again. Everything starts at a multiple of four; the gap before is
//! zero and counted by whatever is around it. Integers are the machine's, except where nf_tables wants them big-endian.
//! (netlink(7), include/uapi/linux/netlink.h, Documentation/userspace-api/netlink/intro.rst)
//!
//! Writing: [`Message`] grows in one `Vec`. A nest is a closure, so that its length is always patched. A length that
//! does not fit its u16 must not wrap (CVE-2021-43784 was such an overflow: the attribute's tail was read as attributes
//! of the attacker's choice). So that the calls can be chained, the fault is kept, and [`Message::finish`] reports it.
//!
//! Reading: [`messages`] and [`attributes`] walk a received buffer. Each step checks the length against what is left;
//! the first that does not hold is given as an error, EBADMSG, and ends the walk.

use std::io;
use std::net::IpAddr;

use libc::{
    EBADMSG, NLA_F_NESTED, NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, c_int,
};
use linux_raw_sys::netlink::{NLA_TYPE_MASK, nlmsgerr_attrs};

/// `sizeof(struct nlmsghdr)`.
const HEADER: usize = 16;
/// `sizeof(struct nlattr)`.
const ATTRIBUTE_HEADER: usize = 4;

const MSG: u16 = nlmsgerr_attrs::NLMSGERR_ATTR_MSG as u16;
const OFFS: u16 = nlmsgerr_attrs::NLMSGERR_ATTR_OFFS as u16;
const MISS_TYPE: u16 = nlmsgerr_attrs::NLMSGERR_ATTR_MISS_TYPE as u16;

/// A message being written. Made by this crate's `link::add_bridge` and its like, or by hand:
///
/// ```
/// use netlink::Message;
///
/// // ip link add ctr0 type bridge
/// let mut message = Message::new(libc::RTM_NEWLINK, libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL);
/// message.ifinfo(0).name(libc::IFLA_IFNAME, "ctr0").nest(libc::IFLA_LINKINFO, |m| {
///     m.name(libc::IFLA_INFO_KIND, "bridge");
/// });
/// let bytes = message.finish()?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a message does nothing until it is sent"]
pub struct Message {
    bytes: Vec<u8>,
    /// The first thing that could not be written as it was asked.
    fault: Option<&'static str>,
}

impl Message {
    /// A request of type `kind`: `RTM_NEWLINK`, or a subsystem and its message for nf_tables. `flags` are `NLM_F_*`;
    /// `NLM_F_REQUEST` is always among them, since the kernel passes over anything else in silence.
    pub fn new(kind: u16, flags: c_int) -> Message {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]); // nlmsg_len, by finish()
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&((flags | NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]); // nlmsg_seq, by the socket; nlmsg_pid, by the kernel
        Message { bytes, fault: None }
    }

    /// `struct ifinfomsg` (rtnetlink(7)) of the link with this index; 0 where a name says which, or a new link is made.
    pub fn ifinfo(&mut self, index: u32) -> &mut Message {
        self.ifinfo_flags(index, 0, 0)
    }

    /// `struct ifinfomsg` that also sets those `IFF_*` bits that are in `mask` to what they are in `flags`.
    pub fn ifinfo_flags(&mut self, index: u32, flags: u32, mask: u32) -> &mut Message {
        self.bytes.extend_from_slice(&[0; 4]); // ifi_family AF_UNSPEC, padding, ifi_type
        self.bytes.extend_from_slice(&index.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&mask.to_ne_bytes());
        self
    }

    /// `struct ifaddrmsg` (rtnetlink(7)): an address of this family, with a prefix of so many bits, on this link.
    pub fn ifaddr(&mut self, family: u8, prefix: u8, flags: u8, scope: u8, index: u32) -> &mut Message {
        self.fixed(&[family, prefix, flags, scope]).fixed(&index.to_ne_bytes())
    }

    /// `struct ndmsg` (rtnetlink(7)): a neighbour on this link, its `NUD_*` state and `NTF_*` flags.
    pub fn neighbour(&mut self, family: u8, index: u32, state: u16, flags: u8) -> &mut Message {
        let [low, high] = state.to_ne_bytes();
        self.fixed(&[family, 0, 0, 0]).fixed(&index.to_ne_bytes()).fixed(&[low, high, flags, 0])
    }

    /// `struct nfgenmsg` (include/uapi/linux/netfilter/nfnetlink.h): the address family, and a resource id, which
    /// depends on the message and is mostly 0.
    pub fn nfgen(&mut self, family: u8, resource: u16) -> &mut Message {
        self.bytes.extend_from_slice(&[family, libc::NFNETLINK_V0 as u8]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        self
    }

    /// A string, NUL-terminated (`NLA_NUL_STRING`, and good for `NLA_STRING`). A NUL inside is a fault: the kernel
    /// would stop there, and act on another name than the one that was checked.
    pub fn name(&mut self, kind: u16, value: &str) -> &mut Message {
        if value.as_bytes().contains(&0) {
            self.fault = self.fault.or(Some("a name in a netlink message has a NUL inside"));
        }
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        })
    }

    /// The bytes of a struct that stands before the attributes, where no method of its own writes it: at the beginning of
    /// a message, or of a nest.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Message {
        self.bytes.extend_from_slice(bytes);
        self.align()
    }

    /// A number of one byte (`NLA_U8`).
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Message {
        self.bytes(kind, &[value])
    }

    /// A number in the machine's byte order (`NLA_U16`).
    pub fn u16(&mut self, kind: u16, value: u16) -> &mut Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in the machine's byte order (`NLA_U32`).
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in the machine's byte order (`NLA_U64`).
    pub fn u64(&mut self, kind: u16, value: u64) -> &mut Message {
        self.bytes(kind, &value.to_ne_bytes())
    }

    /// A number in the network's byte order (`NLA_BE16`).
    pub fn be16(&mut self, kind: u16, value: u16) -> &mut Message {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in the network's byte order (`NLA_BE32`), which is what nf_tables and conntrack want.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Message {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// A number in the network's byte order (`NLA_U64` where nf_tables reads it by `be64_to_cpu`).
    pub fn be64(&mut self, kind: u16, value: u64) -> &mut Message {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// Bytes as they are (`NLA_BINARY`).
    pub fn bytes(&mut self, kind: u16, value: &[u8]) -> &mut Message {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value))
    }

    /// An attribute without a payload, which says by being there (`NLA_FLAG`).
    pub fn flag(&mut self, kind: u16) -> &mut Message {
        self.bytes(kind, &[])
    }

    /// An address of either family: four bytes or sixteen, in the network's order. The kernel tells them apart by the
    /// family that the message's struct names.
    pub fn address(&mut self, kind: u16, value: IpAddr) -> &mut Message {
        match value {
            IpAddr::V4(value) => self.bytes(kind, &value.octets()),
            IpAddr::V6(value) => self.bytes(kind, &value.octets()),
        }
    }

    /// An array, as nf_tables writes one: a nest whose attributes are all of kind `each`, one for every item, in order.
    pub fn list<T>(
        &mut self,
        kind: u16,
        each: u16,
        items: impl IntoIterator<Item = T>,
        mut inside: impl FnMut(&mut Message, T),
    ) -> &mut Message {
        self.nest(kind, |m| {
            for item in items {
                m.nest(each, |m| inside(m, item));
            }
        })
    }

    /// An attribute that holds what `inside` writes: attributes, or first a struct like `ifinfomsg` where the kernel
    /// wants one. It is marked `NLA_F_NESTED`, which `ip` leaves out for the oldest kinds, and newer ones insist on.
    pub fn nest(&mut self, kind: u16, inside: impl FnOnce(&mut Message)) -> &mut Message {
        let start = self.begin(kind | NLA_F_NESTED as u16);
        inside(self);
        self.end(start)
    }

    /// The message's type, as [`Message::new`] was given it.
    pub fn kind(&self) -> u16 {
        u16_at(&self.bytes, 4).unwrap_or(0)
    }

    /// Keep the first thing that cannot be written as it was asked, for [`Message::finish`] to report.
    pub(crate) fn fault(&mut self, fault: &'static str) -> &mut Message {
        self.fault = self.fault.or(Some(fault));
        self
    }

    /// The bytes to send, or the first fault that was met while they were written.
    pub fn finish(mut self) -> io::Result<Vec<u8>> {
        if let Some(fault) = self.fault {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, fault));
        }
        let length = u32::try_from(self.bytes.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a netlink message has more than 4 GiB"))?;
        patch(&mut self.bytes, 0, length.to_ne_bytes());
        Ok(self.bytes)
    }

    fn attribute(&mut self, kind: u16, payload: impl FnOnce(&mut Vec<u8>)) -> &mut Message {
        let start = self.begin(kind);
        payload(&mut self.bytes);
        self.end(start)
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]); // nla_len, by end()
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn end(&mut self, start: usize) -> &mut Message {
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => patch(&mut self.bytes, start, length.to_ne_bytes()),
            Err(_) => self.fault = self.fault.or(Some("a netlink attribute has more than 65535 bytes")),
        }
        self.align()
    }

    fn align(&mut self) -> &mut Message {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }
}

/// Several messages for one send, with [`crate::transact_all`]. They are numbered from 0, and only the last one's
/// success is acknowledged: the kernel takes them in order, reports every failure, and so that one answer says that all
/// were done. They need not be of one type, but must be for one protocol.
pub fn join(messages: impl IntoIterator<Item = Message>) -> io::Result<Vec<u8>> {
    numbered(messages, 0).map(|(bytes, _)| bytes)
}

/// The messages one behind the other, numbered from `first`, and where each begins.
pub(crate) fn numbered(messages: impl IntoIterator<Item = Message>, first: u32) -> io::Result<(Vec<u8>, Vec<usize>)> {
    let (mut bytes, mut starts) = (Vec::new(), Vec::new());
    for (message, n) in messages.into_iter().zip(0u32..) {
        let mut message = message.finish()?;
        let flags = u16_at(&message, 6).unwrap_or(0) & !(NLM_F_ACK as u16);
        patch(&mut message, 6, flags.to_ne_bytes());
        patch(&mut message, 8, first.wrapping_add(n).to_ne_bytes());
        starts.push(bytes.len());
        bytes.extend_from_slice(&message);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    if let Some(last) = starts.last().and_then(|&start| bytes.get_mut(start..)) {
        let flags = u16_at(last, 6).unwrap_or(0) | NLM_F_ACK as u16;
        patch(last, 6, flags.to_ne_bytes());
    }
    Ok((bytes, starts))
}

fn patch<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
        *place = value;
    }
}

/// Number a finished message and give it more flags, so that one message can be sent again as another question.
pub(crate) fn stamp(message: &mut [u8], flags: c_int, sequence: u32) {
    let already = u16_at(message, 6).unwrap_or(0);
    patch(message, 6, (already | flags as u16).to_ne_bytes());
    patch(message, 8, sequence.to_ne_bytes());
}

/// The number of the last message in these bytes, if they are whole messages, one behind the other, and the last is one
/// to which the kernel will answer with an acknowledgement. Allocates nothing.
pub(crate) fn wants_ack(bytes: &[u8]) -> Option<u32> {
    let asks = |flags| flags & (NLM_F_REQUEST | NLM_F_ACK) == NLM_F_REQUEST | NLM_F_ACK;
    let mut last = None;
    for message in messages(bytes) {
        last = Some(message.ok()?);
    }
    last.filter(|last| asks(last.flags)).map(|last| last.sequence)
}

/// The acknowledgement in a datagram that may have lost its end: an error carries our request back, which can be longer
/// than the buffer, and only the first twenty bytes matter. The number of the message that is judged, and the verdict.
/// Allocates nothing.
pub(crate) fn acknowledged(datagram: &[u8]) -> (u32, io::Result<()>) {
    let sequence = u32_at(datagram, 8).unwrap_or(0);
    let verdict = match (u16_at(datagram, 4), u32_at(datagram, HEADER)) {
        (Some(kind), Some(0)) if c_int::from(kind) == NLMSG_ERROR => Ok(()),
        (Some(kind), Some(error)) if c_int::from(kind) == NLMSG_ERROR => {
            Err(io::Error::from_raw_os_error((error as i32).saturating_neg()))
        }
        _ => Err(malformed()),
    };
    (sequence, verdict)
}

/// The messages in a received datagram, or in the answer to a dump.
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages(bytes)
}

/// See [`messages`].
#[derive(Debug, Clone)]
pub struct Messages<'a>(&'a [u8]);

/// A message that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// `nlmsg_type`: `RTM_NEWLINK`, `NLMSG_ERROR`, `NLMSG_DONE`, ...
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: c_int,
    /// The number of the request that this answers.
    pub sequence: u32,
    /// All of it, header included, the gap behind it not.
    bytes: &'a [u8],
}

/// How the kernel judged a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// 0 is yes.
    pub errno: i32,
    /// The kernel's own sentence, `NLMSGERR_ATTR_MSG`. A success can have one too: a warning.
    pub said: Option<String>,
    /// Where in our message the attribute begins that it did not like, `NLMSGERR_ATTR_OFFS`, in bytes from the header on.
    pub offset: Option<u32>,
    /// The kind of an attribute that should have been there, `NLMSGERR_ATTR_MISS_TYPE`, Linux 6.1.
    pub missing: Option<u32>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = io::Result<Reply<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = u32_at(self.0, 0).map(|length| length as usize);
        let reply = split(&mut self.0, length, HEADER).and_then(|bytes| {
            Some(Reply {
                kind: u16_at(bytes, 4)?,
                flags: c_int::from(u16_at(bytes, 6)?),
                sequence: u32_at(bytes, 8)?,
                bytes,
            })
        });
        Some(reply.ok_or_else(malformed))
    }
}

impl<'a> Reply<'a> {
    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// The attributes, which follow a struct of `fixed` bytes. [`attributes`] says how they end.
    pub fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes(self.payload().get(fixed..).unwrap_or_default())
    }

    /// The whole message, to be kept.
    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The verdict, if this message is one: an `NLMSG_ERROR`, which also says yes, or the `NLMSG_DONE` of a dump.
    pub fn verdict(&self) -> io::Result<Option<Verdict>> {
        let payload = self.payload();
        let (error, words) = match c_int::from(self.kind) {
            // i32 error, then our request: its header, and the rest of it too unless CAPPED; then the words.
            NLMSG_ERROR => {
                let request = if self.flags & NLM_F_CAPPED == 0 { u32_at(payload, 4) } else { Some(HEADER as u32) };
                let words = request.and_then(|length| (length as usize).checked_next_multiple_of(4)?.checked_add(4));
                (u32_at(payload, 0).ok_or_else(malformed)? as i32, words)
            }
            // i32 error, then the words. Only a negative one is an error here.
            NLMSG_DONE => (u32_at(payload, 0).map_or(0, |error| (error as i32).min(0)), Some(4)),
            _ => return Ok(None),
        };
        let words = words.filter(|_| self.flags & NLM_F_ACK_TLVS != 0).and_then(|at| payload.get(at..));
        // Words that cannot be read are no reason to lose the verdict: the walk ends, and nothing was said.
        let mut verdict = Verdict { errno: error.saturating_neg(), said: None, offset: None, missing: None };
        for attribute in attributes(words.unwrap_or_default()).filter_map(Result::ok) {
            match attribute.kind {
                MSG => verdict.said = Some(attribute.text()),
                OFFS => verdict.offset = attribute.u32().ok(),
                MISS_TYPE => verdict.missing = attribute.u32().ok(),
                _ => {}
            }
        }
        Ok(Some(verdict))
    }
}

/// The length of the struct that stands before the attributes in a message of this kind.
pub(crate) fn fixed_length(protocol: c_int, kind: u16) -> Option<usize> {
    match (protocol, kind) {
        (libc::NETLINK_ROUTE, libc::RTM_NEWLINK..=libc::RTM_SETLINK) => Some(16), // ifinfomsg
        (libc::NETLINK_ROUTE, libc::RTM_NEWADDR..=libc::RTM_GETADDR) => Some(8),  // ifaddrmsg
        (libc::NETLINK_ROUTE, libc::RTM_NEWROUTE..=libc::RTM_GETRULE) => Some(12), // rtmsg, ndmsg, fib_rule_hdr
        (libc::NETLINK_NETFILTER, _) => Some(4),                                  // nfgenmsg
        _ => None,
    }
}

/// Which attribute of `message` begins at `offset`: its kind, and before it the kinds of the nests that it is in. Empty
/// where none does. `fixed` is the length of the struct between the header and the attributes.
pub(crate) fn path_to(message: &[u8], fixed: usize, offset: usize) -> Vec<u16> {
    let (mut path, mut at, mut end) = (Vec::new(), HEADER.saturating_add(fixed), message.len());
    while at <= offset && at < end {
        let (Some(length), Some(kind)) = (u16_at(message, at), u16_at(message, at + 2)) else { break };
        let next = at + usize::from(length).max(ATTRIBUTE_HEADER).next_multiple_of(4);
        if at == offset {
            path.push(kind & NLA_TYPE_MASK as u16);
            return path;
        }
        if offset < next {
            path.push(kind & NLA_TYPE_MASK as u16);
            (at, end) = (at + ATTRIBUTE_HEADER, next.min(end));
        } else {
            at = next;
        }
    }
    Vec::new()
}

/// The attributes in a message's payload or in a nest. Bytes that are not an attribute are given as one EBADMSG, and end
/// the walk.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes(bytes)
}

/// See [`attributes`].
#[derive(Debug, Clone)]
pub struct Attributes<'a>(&'a [u8]);

/// An attribute that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `IFLA_*`, `NFTA_*`, without the two flag bits.
    pub kind: u16,
    /// What it holds.
    pub payload: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = io::Result<Attribute<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = u16_at(self.0, 0).map(usize::from);
        let attribute = split(&mut self.0, length, ATTRIBUTE_HEADER).and_then(|bytes| {
            Some(Attribute {
                kind: u16_at(bytes, 2)? & NLA_TYPE_MASK as u16,
                payload: bytes.get(ATTRIBUTE_HEADER..)?,
            })
        });
        Some(attribute.ok_or_else(malformed))
    }
}

impl<'a> Attribute<'a> {
    /// A number in the machine's byte order.
    pub fn u32(&self) -> io::Result<u32> {
        self.payload.try_into().map(u32::from_ne_bytes).map_err(|_| malformed())
    }

    /// A number of one byte.
    pub fn u8(&self) -> io::Result<u8> {
        self.payload.try_into().map(u8::from_ne_bytes).map_err(|_| malformed())
    }

    /// A number in the machine's byte order.
    pub fn u16(&self) -> io::Result<u16> {
        self.payload.try_into().map(u16::from_ne_bytes).map_err(|_| malformed())
    }

    /// A signed number in the machine's byte order.
    pub fn i32(&self) -> io::Result<i32> {
        self.u32().map(|value| value as i32)
    }

    /// A number in the machine's byte order.
    pub fn u64(&self) -> io::Result<u64> {
        self.payload.try_into().map(u64::from_ne_bytes).map_err(|_| malformed())
    }

    /// A number in the network's byte order.
    pub fn be16(&self) -> io::Result<u16> {
        self.payload.try_into().map(u16::from_be_bytes).map_err(|_| malformed())
    }

    /// A number in the network's byte order, which is what nf_tables writes.
    pub fn be32(&self) -> io::Result<u32> {
        self.payload.try_into().map(u32::from_be_bytes).map_err(|_| malformed())
    }

    /// A number in the network's byte order.
    pub fn be64(&self) -> io::Result<u64> {
        self.payload.try_into().map(u64::from_be_bytes).map_err(|_| malformed())
    }

    /// An address: of IPv4 when there are four bytes, of IPv6 when there are sixteen.
    pub fn address(&self) -> io::Result<IpAddr> {
        address(self.payload).ok_or_else(malformed)
    }

    /// A hardware address of Ethernet's length. `EBADMSG` where the link has a longer or a shorter one.
    pub fn mac(&self) -> io::Result<[u8; 6]> {
        self.payload.try_into().map_err(|_| malformed())
    }

    /// A string up to its NUL, if it has one. A link's name can be any bytes; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        let end = self.payload.iter().position(|&byte| byte == 0).unwrap_or(self.payload.len());
        String::from_utf8_lossy(self.payload.get(..end).unwrap_or_default()).into_owned()
    }

    /// The attributes inside.
    pub fn nested(&self) -> Attributes<'a> {
        attributes(self.payload)
    }
}

/// The address that these four or sixteen bytes are, in the network's order.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Cut the first `length` bytes off `rest`, and the gap up to the next multiple of four. Where that does not work out,
/// nothing is left: the walk is over.
fn split<'a>(rest: &mut &'a [u8], length: Option<usize>, least: usize) -> Option<&'a [u8]> {
    let bytes = std::mem::take(rest);
    let length = length.filter(|&length| length >= least)?;
    let first = bytes.get(..length)?;
    // The last gap may be missing: then nothing is left either.
    *rest = length.checked_next_multiple_of(4).and_then(|next| bytes.get(next..)).unwrap_or_default();
    Some(first)
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_ne_bytes(*chunk))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_ne_bytes(*chunk))
}

/// The kernel's bytes are not what they should be. An errno, so that it is made without allocating.
pub(crate) fn malformed() -> io::Error {
    io::Error::from_raw_os_error(EBADMSG)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use libc::{EOPNOTSUPP, NLM_F_MULTI};

    /// Bytes from strace's columns; a line that starts with # is words.
    pub(crate) fn hex(text: &str) -> Vec<u8> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        lines.flat_map(str::split_whitespace).map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// Replace `theirs`, which must be there, by `ours`: how a golden test names a difference.
    pub(crate) fn differ(golden: &mut Vec<u8>, at: usize, theirs: &str, ours: &str) {
        let theirs = hex(theirs);
        assert_eq!(golden[at..at + theirs.len()], theirs, "at {at:#x}");
        golden.splice(at..at + theirs.len(), hex(ours));
    }

    /// Give `look` every beginning of `golden`, `golden` with each byte set to telling values, and with many bytes
    /// changed at random: what a decoder must survive. The same bytes in every run.
    pub(crate) fn mangle(golden: &[u8], mut look: impl FnMut(&[u8])) {
        for end in 0..=golden.len() {
            look(&golden[..end]);
        }
        for at in 0..golden.len() {
            for value in [0, 1, 3, 4, 0x7f, 0x80, 0xff] {
                let mut bytes = golden.to_vec();
                bytes[at] = value;
                look(&bytes);
            }
        }
        let mut random = Random(golden.len() as u64 + 1);
        for _ in 0..2000 {
            let mut bytes = golden.to_vec();
            for _ in 0..=random.below(8) {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
            look(&bytes);
        }
    }

    /// Compare a message of ours with the bytes that a tool sends for the same. They may differ in what the kernel does not
    /// look at: the order of the attributes, the `NLA_F_NESTED` bit, the NUL behind a string, and the numbers in the header.
    /// `fixed` is the length of the struct behind it.
    pub(crate) fn same(ours: Message, golden: &[u8], fixed: usize) {
        same_but(&ours.finish().unwrap(), golden, fixed, &[]);
    }

    /// The same, but for the attributes at these paths of kinds. A path that ends with 0 is of a list whose items' numbers
    /// do not count.
    pub(crate) fn same_but(ours: &[u8], golden: &[u8], fixed: usize, but: &[&[u16]]) {
        let start = HEADER + fixed;
        assert_eq!(u16_at(ours, 4), u16_at(golden, 4), "the type");
        assert_eq!(u16_at(ours, 6), u16_at(golden, 6), "the flags");
        assert_eq!(ours[HEADER..start], golden[HEADER..start], "the struct");
        if let Err(what) = alike(&ours[start..], &golden[start..], &[], but) {
            panic!("{what}\nours {ours:02x?}\ntool {golden:02x?}");
        }
    }

    fn alike(ours: &[u8], golden: &[u8], path: &[u16], but: &[&[u16]]) -> Result<(), String> {
        let deeper = |kind| [path, &[kind]].concat();
        let sorted = |bytes| {
            let mut all: Vec<Attribute> = attributes(bytes).collect::<Result<_, _>>().map_err(|e| e.to_string())?;
            all.retain(|attribute| !but.contains(&&deeper(attribute.kind)[..]));
            if but.contains(&&deeper(0)[..]) {
                for attribute in &mut all {
                    attribute.kind = 1;
                }
            }
            all.sort_by_key(|attribute| attribute.kind);
            Ok::<_, String>(all)
        };
        let (ours, golden) = (sorted(ours)?, sorted(golden)?);
        let kinds = |all: &[Attribute]| all.iter().map(|attribute| attribute.kind).collect::<Vec<_>>();
        if kinds(&ours) != kinds(&golden) {
            return Err(format!("at {path:?} ours has {:?}, the tool's {:?}", kinds(&ours), kinds(&golden)));
        }
        for (ours, golden) in ours.iter().zip(&golden) {
            let (a, b, path) = (ours.payload, golden.payload, deeper(ours.kind));
            let inside = || match (a.len().min(b.len()) >= 16, alike(a, b, &path, but)) {
                // A veth's peer: an ifinfomsg, then attributes.
                (true, Err(_)) if a[..16] == b[..16] => alike(&a[16..], &b[16..], &path, but),
                (_, verdict) => verdict,
            };
            if a != b && a.strip_suffix(&[0]) != Some(b) {
                inside().map_err(|what| format!("in attribute {}: {what}: {a:02x?} or {b:02x?}", ours.kind))?;
            }
        }
        Ok(())
    }

    /// The message under `# line` in a file of golden bytes.
    pub(crate) fn golden(file: &str, line: &str) -> Vec<u8> {
        goldens(file, line).remove(0)
    }

    /// The messages under `# line` in a file of golden bytes.
    pub(crate) fn goldens(file: &str, line: &str) -> Vec<Vec<u8>> {
        let lines = file.lines().skip_while(|found| found.strip_prefix("# ") != Some(line)).skip(1);
        let all: Vec<_> = lines.take_while(|line| !line.starts_with('#')).map(hex).collect();
        assert!(!all.is_empty(), "no golden bytes for `{line}`");
        all
    }

    /// Marsaglia's xorshift: enough to disturb bytes with, and no dependency.
    struct Random(u64);

    impl Random {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 % end.max(1) as u64) as usize
        }
    }

    /// Read everything that can be read in these bytes. Each step must take some of them.
    fn walk(bytes: &[u8]) {
        let _ = acknowledged(bytes);
        let _ = wants_ack(bytes);
        let mut steps = 0;
        for message in messages(bytes) {
            steps += 1;
            let Ok(message) = message else { continue };
            let _ = message.verdict();
            for fixed in [0, 4, 16, usize::MAX] {
                walk_attributes(message.attributes(fixed), 8);
            }
        }
        assert!(steps <= bytes.len() / HEADER + 1);
        walk_attributes(attributes(bytes), 8);
    }

    fn walk_attributes(attributes: Attributes, depth: usize) {
        let most = attributes.0.len() / ATTRIBUTE_HEADER + 1;
        let mut steps = 0;
        for attribute in attributes {
            steps += 1;
            let Ok(attribute) = attribute else { continue };
            let _ = (attribute.u8(), attribute.u16(), attribute.u32(), attribute.u64(), attribute.i32());
            let _ = (attribute.be16(), attribute.be32(), attribute.be64());
            let _ = (attribute.text(), attribute.address(), attribute.mac());
            if depth > 0 {
                walk_attributes(attribute.nested(), depth - 1);
            }
        }
        assert!(steps <= most);
    }

    /// Linux 6.18 to `ip link add dummy0 type dummy`, without the driver. iproute2 does not ask for NETLINK_CAP_ACK, so
    /// our request is in it.
    const REFUSED: &str = "
        68 00 00 00 02 00 00 02  45 53 03 6b 75 23 00 00
        a1 ff ff ff 3c 00 00 00  10 00 05 06 45 53 03 6b
        00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
        00 00 00 00 0b 00 03 00  64 75 6d 6d 79 30 00 00
        10 00 12 00 09 00 01 00  64 75 6d 6d 79 00 00 00
        18 00 01 00 55 6e 6b 6e  6f 77 6e 20 64 65 76 69
        63 65 20 74 79 70 65 00";

    /// The same to this crate, which does ask for it.
    pub(crate) const REFUSED_CAPPED: &str = "
        3c 00 00 00 02 00 00 03  0c 00 00 00 f1 74 00 00
        a1 ff ff ff 3c 00 00 00  10 00 05 06 0c 00 00 00
        00 00 00 00 18 00 01 00  55 6e 6b 6e 6f 77 6e 20
        64 65 76 69 63 65 20 74  79 70 65 00";

    /// To `ip link set dev lo up`.
    pub(crate) const ACCEPTED: &str = "
        24 00 00 00 02 00 00 01  45 53 03 6b 63 23 00 00
        00 00 00 00 20 00 00 00  10 00 05 00 45 53 03 6b
        00 00 00 00";

    /// The end of `ip link show`.
    pub(crate) const DONE: &str = "
        14 00 00 00 03 00 02 00  45 53 03 6b a8 23 00 00
        00 00 00 00";

    /// No kernel at hand ends a dump with an error, so this one is put together from netlink_dump_done() in
    /// net/netlink/af_netlink.c: the error, then the words.
    const DONE_WITH_ERROR: &str = "
        20 00 00 00 03 00 02 02  45 53 03 6b a8 23 00 00
        a1 ff ff ff 0b 00 01 00  62 61 64 20 64 61 79 00";

    fn accepted() -> Verdict {
        Verdict { errno: 0, said: None, offset: None, missing: None }
    }

    fn verdict(text: &str) -> Verdict {
        let bytes = hex(text);
        let mut all = messages(&bytes);
        let verdict = all.next().unwrap().unwrap().verdict().unwrap().unwrap();
        assert!(all.next().is_none());
        verdict
    }

    #[test]
    fn verdicts_are_read_with_the_kernels_words() {
        let unknown = Verdict { errno: EOPNOTSUPP, said: Some("Unknown device type".to_owned()), ..accepted() };
        assert_eq!(verdict(REFUSED), unknown);
        assert_eq!(verdict(REFUSED_CAPPED), unknown);
        assert_eq!(verdict(ACCEPTED), accepted());
        assert_eq!(verdict(DONE), accepted());
        let bad_day = Verdict { errno: EOPNOTSUPP, said: Some("bad day".to_owned()), ..accepted() };
        assert_eq!(verdict(DONE_WITH_ERROR), bad_day);
    }

    #[test]
    fn a_verdict_outlives_words_that_cannot_be_read() {
        let mut bytes = hex(REFUSED_CAPPED);
        bytes[0x24] = 0xff; // the sentence's length
        let reply = messages(&bytes).next().unwrap().unwrap();
        assert_eq!(reply.verdict().unwrap(), Some(Verdict { errno: EOPNOTSUPP, ..accepted() }));
    }

    #[test]
    fn an_acknowledgement_needs_only_its_beginning() {
        let (number, verdict) = acknowledged(&hex(ACCEPTED));
        assert!(number == 0x6b03_5345 && verdict.is_ok());
        let refused = hex(REFUSED);
        for end in 20..=refused.len() {
            assert_eq!(acknowledged(&refused[..end]).1.unwrap_err().raw_os_error(), Some(EOPNOTSUPP));
        }
        for bytes in [&refused[..19], &hex(DONE), &[]] {
            assert_eq!(acknowledged(bytes).1.unwrap_err().raw_os_error(), Some(EBADMSG));
        }
    }

    #[test]
    fn other_messages_are_no_verdict() {
        let bytes = hex("14 00 00 00 10 00 02 00  01 00 00 00 00 00 00 00  00 00 00 00");
        let reply = messages(&bytes).next().unwrap().unwrap();
        assert_eq!((reply.kind, reply.flags, reply.sequence), (libc::RTM_NEWLINK, NLM_F_MULTI, 1));
        assert_eq!(reply.verdict().unwrap(), None);
        assert_eq!(reply.payload(), [0; 4]);
    }

    #[test]
    fn no_bytes_make_the_reader_panic() {
        for golden in [REFUSED, REFUSED_CAPPED, ACCEPTED, DONE, DONE_WITH_ERROR] {
            mangle(&hex(golden), walk);
        }
        mangle(&[hex(ACCEPTED), hex(REFUSED), hex(DONE)].concat(), walk);
        let mut random = Random(7);
        for _ in 0..20_000 {
            let length = random.below(200);
            let bytes: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
            walk(&bytes);
        }
    }

    #[test]
    fn a_bad_length_is_one_error_and_the_end() {
        // Longer than what is there, shorter than a header, and a beginning of a header.
        for bytes in ["14 00 00 00 10 00 02 00 01 00 00 00 00 00 00 00 00", &"00 ".repeat(16), "10 00"] {
            let bytes = hex(bytes);
            let mut all = messages(&bytes);
            assert_eq!(all.next().unwrap().unwrap_err().raw_os_error(), Some(EBADMSG));
            assert!(all.next().is_none());
        }
        for bytes in ["05 00 01 00", "03 00 01 00", "00 00 00 00", "04 00"] {
            let bytes = hex(bytes);
            let mut all = attributes(&bytes);
            assert_eq!(all.next().unwrap().unwrap_err().raw_os_error(), Some(EBADMSG));
            assert!(all.next().is_none());
        }
    }

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut message = Message::new(libc::RTM_NEWLINK, 0);
        message.ifinfo(7).u32(4, 1500).nest(18, |m| {
            m.name(1, "veth").nest(2, |_| {});
        });
        let bytes = message.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let reply = messages(&bytes).next().unwrap().unwrap();
        let all: Vec<Attribute> = reply.attributes(16).map(Result::unwrap).collect();
        assert_eq!((all.len(), all[0].kind, all[0].u32().unwrap()), (2, 4, 1500));
        assert_eq!(all[0].be32().unwrap(), 1500_u32.swap_bytes());
        assert_eq!((all[1].kind, all[1].u32().is_err()), (18, true));
        let inner: Vec<Attribute> = all[1].nested().map(Result::unwrap).collect();
        assert_eq!((inner[0].kind, inner[0].text()), (1, "veth".to_owned()));
        assert_eq!((inner[1].kind, inner[1].payload), (2, &[][..]));
    }

    #[test]
    fn text_ends_at_its_nul_or_its_end_and_is_always_text() {
        let text = |payload| Attribute { kind: 0, payload }.text();
        assert_eq!(text(b"lo\0\0junk"), "lo");
        assert_eq!(text(b"lo"), "lo");
        assert_eq!(text(b""), "");
        assert_eq!(text(b"l\xff"), "l\u{fffd}");
    }

    /// CVE-2021-43784: a length of 65536 and more wrapped, and the tail was read as attributes.
    #[test]
    fn a_length_that_does_not_fit_is_an_error() {
        fn xs(length: usize) -> String {
            "x".repeat(length)
        }
        fn nest(m: &mut Message) -> &mut Message {
            m.nest(1, |m| {
                m.name(1, &xs(40_000)).name(2, &xs(40_000));
            })
        }
        fn written(write: fn(&mut Message) -> &mut Message) -> Result<usize, String> {
            let mut message = Message::new(libc::RTM_NEWLINK, 0);
            write(&mut message);
            message.finish().map(|bytes| bytes.len()).map_err(|error| error.to_string())
        }
        let too_long = Err("a netlink attribute has more than 65535 bytes".to_owned());
        // 4 bytes of header and a NUL: the longest that fits, and one more.
        assert_eq!(written(|m| m.name(1, &xs(65530))), Ok(16 + 65536));
        assert_eq!(written(|m| m.name(1, &xs(65531))), too_long);
        // Each of the two fits, their nest does not; nor does a nest around it.
        assert_eq!(written(nest), too_long);
        assert_eq!(
            written(|m| m.nest(3, |m| {
                nest(m);
            })),
            too_long
        );
        // A message is no attribute: two of them side by side are fine.
        assert_eq!(written(|m| m.name(1, &xs(40_000)).name(2, &xs(40_000))), Ok(16 + 2 * 40_008));
    }

    #[test]
    fn a_nul_inside_a_name_is_an_error() {
        let mut message = Message::new(libc::RTM_DELLINK, 0);
        message.ifinfo(0).name(libc::IFLA_IFNAME, "eth0\0-of-web");
        assert_eq!(message.finish().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_message_is_stamped_again_for_each_question() {
        let mut bytes = Message::new(libc::RTM_GETLINK, 0).finish().unwrap();
        assert_eq!(wants_ack(&bytes), None);
        stamp(&mut bytes, NLM_F_ACK, 0x0102_0304);
        assert_eq!(wants_ack(&bytes), Some(0x0102_0304));
        assert_eq!(bytes, hex("10 00 00 00 12 00 05 00  04 03 02 01 00 00 00 00"));
        assert_eq!(wants_ack(&bytes[..15]), None);
        assert_eq!(wants_ack(&[bytes, vec![0]].concat()), None);
        assert_eq!(wants_ack(&[]), None);
    }

    #[test]
    fn joined_messages_are_numbered_and_only_the_last_is_acknowledged() {
        let message = |kind| Message::new(kind, NLM_F_ACK);
        let bytes = join([message(16), message(20), message(24)]).unwrap();
        let all: Vec<_> = messages(&bytes).map(Result::unwrap).map(|m| (m.kind, m.sequence, m.flags)).collect();
        assert_eq!(all, [(16, 0, NLM_F_REQUEST), (20, 1, NLM_F_REQUEST), (24, 2, NLM_F_REQUEST | NLM_F_ACK)]);
        assert_eq!(wants_ack(&bytes), Some(2));
        assert!(join([]).unwrap().is_empty());
    }

    #[test]
    fn an_offset_leads_to_its_attribute() {
        let mut message = Message::new(libc::RTM_NEWLINK, 0);
        message.ifinfo(7).u32(4, 1500).nest(18, |m| {
            m.name(1, "veth").nest(2, |m| {
                m.u8(9, 1);
            });
        });
        let bytes = message.finish().unwrap();
        // Header 16, ifinfomsg 16, mtu 8; then the nest at 40, its name at 44, the nest in it at 56, the number at 60.
        for (offset, path) in [(32, &[4][..]), (40, &[18]), (44, &[18, 1]), (56, &[18, 2]), (60, &[18, 2, 9])] {
            assert_eq!(path_to(&bytes, 16, offset), path, "{offset}");
        }
        for offset in [0, 16, 33, 46, 68, 4000] {
            assert_eq!(path_to(&bytes, 16, offset), [0; 0], "{offset}");
        }
        mangle(&bytes, |bytes| (0..bytes.len() + 2).for_each(|offset| drop(path_to(bytes, 16, offset))));
    }

    #[derive(Debug, PartialEq)]
    enum Tree {
        Leaf(u16, Vec<u8>),
        Nest(u16, Vec<Tree>),
    }

    fn grow(random: &mut Random, depth: usize) -> Vec<Tree> {
        let one = |random: &mut Random| {
            let kind = random.below(0x3fff) as u16;
            match random.below(3) {
                0 if depth > 0 => Tree::Nest(kind, grow(random, depth - 1)),
                _ => Tree::Leaf(kind, (0..random.below(20)).map(|_| random.below(256) as u8).collect()),
            }
        };
        (0..random.below(6)).map(|_| one(random)).collect()
    }

    fn plant(m: &mut Message, trees: &[Tree]) {
        for tree in trees {
            match tree {
                Tree::Leaf(kind, value) => m.bytes(*kind, value),
                Tree::Nest(kind, inside) => m.nest(*kind, |m| plant(m, inside)),
            };
        }
    }

    fn harvest(attributes: Attributes, like: &[Tree]) -> Vec<Tree> {
        let read = |(attribute, like): (io::Result<Attribute>, &Tree)| {
            let attribute = attribute.unwrap();
            match like {
                Tree::Leaf(..) => Tree::Leaf(attribute.kind, attribute.payload.to_vec()),
                Tree::Nest(_, inside) => Tree::Nest(attribute.kind, harvest(attribute.nested(), inside)),
            }
        };
        assert_eq!(attributes.clone().count(), like.len());
        attributes.zip(like).map(read).collect()
    }

    /// Whatever is written is what is read, at any depth and length.
    #[test]
    fn any_tree_is_read_as_it_was_written() {
        let mut random = Random(11);
        for _ in 0..3000 {
            let trees = grow(&mut random, 4);
            let mut message = Message::new(1, 0);
            plant(message.ifinfo(1), &trees);
            let bytes = message.finish().unwrap();
            let reply = messages(&bytes).next().unwrap().unwrap();
            assert_eq!(harvest(reply.attributes(16), &trees), trees);
        }
    }

    /// Every writer has the reader that undoes it, and no other length is taken for it.
    #[test]
    fn each_writer_has_its_reader() {
        let (v4, v6): (IpAddr, IpAddr) = ("10.1.2.3".parse().unwrap(), "fd00::1".parse().unwrap());
        let mut message = Message::new(1, 0);
        message.u8(1, 200).u16(2, 0x1234).u32(3, 0x1234_5678).u64(4, 0x0123_4567_89ab_cdef);
        message.be16(5, 0x1234).be32(6, 0x1234_5678).be64(7, 0x0123_4567_89ab_cdef);
        message.address(8, v4).address(9, v6).bytes(10, &[2, 0, 0, 0, 0, 9]).flag(11).name(12, "x");
        message.list(13, 1, [7u8, 8], |m, n| {
            m.u8(2, n);
        });
        let bytes = message.finish().unwrap();
        let reply = messages(&bytes).next().unwrap().unwrap();
        let all: Vec<_> = reply.attributes(0).map(Result::unwrap).collect();
        assert_eq!((all[0].u8().unwrap(), all[1].u16().unwrap()), (200, 0x1234));
        assert_eq!((all[2].u32().unwrap(), all[3].u64().unwrap()), (0x1234_5678, 0x0123_4567_89ab_cdef));
        assert_eq!((all[4].be16().unwrap(), all[4].payload), (0x1234, &[0x12, 0x34][..]));
        assert_eq!((all[5].be32().unwrap(), all[5].payload), (0x1234_5678, &[0x12, 0x34, 0x56, 0x78][..]));
        assert_eq!((all[6].be64().unwrap(), all[6].payload[0]), (0x0123_4567_89ab_cdef, 1));
        assert_eq!((all[7].address().unwrap(), all[8].address().unwrap()), (v4, v6));
        assert_eq!((all[9].mac().unwrap(), all[10].payload), ([2, 0, 0, 0, 0, 9], &[][..]));
        let items: Vec<_> =
            all[12].nested().map(|item| item.unwrap().nested().next().unwrap().unwrap().u8()).collect();
        assert_eq!(items.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [7, 8]);
        for (n, attribute) in all.iter().enumerate() {
            assert_eq!(attribute.u8().is_ok(), attribute.payload.len() == 1, "{n}");
            assert_eq!(attribute.be16().is_ok(), attribute.payload.len() == 2, "{n}");
            assert_eq!(attribute.be64().is_ok(), attribute.payload.len() == 8, "{n}");
            assert_eq!(attribute.mac().is_ok(), attribute.payload.len() == 6, "{n}");
            assert_eq!(attribute.address().is_ok(), matches!(attribute.payload.len(), 4 | 16), "{n}");
        }
    }
}
