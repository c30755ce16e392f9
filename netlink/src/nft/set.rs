//! Sets and maps: a rule looks a packet up in one in the same time, however many elements it has.

use std::io;

use libc::{
    NFT_DATA_VERDICT, NFT_SET_ANONYMOUS, NFT_SET_CONSTANT, NFT_SET_ELEM_INTERVAL_END, NFT_SET_INTERVAL, NFT_SET_MAP,
};

use super::expr::{Data, Found};
#[allow(clippy::wildcard_imports, reason = "the kernel's own names, in a file that has nothing else")]
use super::numbers::*;
use super::{COMMENT, Family, NFGENMSG, SET_COMMENT, comment, family_of, userdata};
use crate::wire::{self, Attribute, Message, Reply};

/// `NFT_SET_CONCAT`: intervals over several fields, Linux 5.7. libc does not have it.
const NFT_SET_CONCAT: u32 = 0x80;
/// Kinds of a set's userdata, which tell `nft` how to print: the byte orders of key and of value.
const KEY_ORDER: u8 = 0;
const DATA_ORDER: u8 = 1;

/// What a key or a value is: a number by which `nft` knows how to print it, and a length. The kernel itself looks at the
/// length alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Type {
    /// `nft`'s number.
    pub number: u32,
    /// In bytes.
    pub length: u32,
    /// 1 the host's byte order, 2 the network's, 0 neither.
    order: u32,
}

impl Type {
    /// `ipv4_addr`
    pub const IPV4: Type = Type { number: 7, length: 4, order: 2 };
    /// `ipv6_addr`
    pub const IPV6: Type = Type { number: 8, length: 16, order: 2 };
    /// `ether_addr`
    pub const ETHER: Type = Type { number: 9, length: 6, order: 2 };
    /// `inet_proto`
    pub const PROTOCOL: Type = Type { number: 12, length: 1, order: 2 };
    /// `inet_service`: a port
    pub const SERVICE: Type = Type { number: 13, length: 2, order: 2 };
    /// `mark`
    pub const MARK: Type = Type { number: 19, length: 4, order: 1 };
    /// `ct_state`
    pub const STATE: Type = Type { number: 26, length: 4, order: 1 };
    /// `ifname`
    pub const IFNAME: Type = Type { number: 41, length: 16, order: 1 };

    /// The number of several, one behind the other: six bits each.
    fn numbers(types: &[Type]) -> u32 {
        types.iter().fold(0, |number, each| number << 6 | each.number)
    }

    /// Their length, each up to a multiple of four when there are several.
    fn lengths(types: &[Type]) -> u32 {
        match types {
            [one] => one.length,
            several => several.iter().map(|each| each.length.next_multiple_of(4)).sum(),
        }
    }

    fn order(types: &[Type]) -> u32 {
        if let [one] = types { one.order } else { 0 }
    }
}

/// A set, or a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its table's family.
    pub family: Family,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `NFT_SET_*`: 1 anonymous, 2 constant, 4 intervals, 8 a map, 16 elements time out, 32 rules add to it, 128 intervals
    /// over several fields.
    pub flags: u32,
    /// The number of the key's type, six bits for each field.
    pub key_type: u32,
    /// The key's length in bytes.
    pub key_length: u32,
    /// The number of the values' type; `0xffffff00` for verdicts.
    pub data_type: Option<u32>,
    /// The values' length in bytes, 0 for verdicts.
    pub data_length: u32,
    /// The lengths of the key's fields, where intervals go over several.
    pub fields: Vec<u32>,
    /// Its number. Read, and not written.
    pub handle: u64,
    /// Words for people, at most 128 bytes.
    pub comment: Option<String>,
    /// What is in it: filled by [`super::ruleset`], and added by [`super::Batch::add_anonymous`] alone.
    pub elements: Vec<Element>,
    /// How `nft` is to print it: the byte orders of key and value.
    order: Option<(u32, u32)>,
}

/// An element of a set or of a map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// The key; without one it stands for whatever is not there (`*`), which only a newer `nft` makes.
    pub key: Vec<u8>,
    /// The last key of an interval, in a set of intervals over several fields.
    pub key_end: Option<Vec<u8>>,
    /// What a map says for it.
    pub data: Option<Data>,
    /// `NFT_SET_ELEM_*`: 1 this is the first key that is not in the interval before it.
    pub flags: u32,
    /// Words for people.
    pub comment: Option<String>,
}

impl Element {
    /// An element of a set.
    pub fn new(key: impl Into<Vec<u8>>) -> Element {
        Element { key: key.into(), ..Element::default() }
    }

    /// An element of a map.
    pub fn with(key: impl Into<Vec<u8>>, data: Data) -> Element {
        Element { data: Some(data), ..Element::new(key) }
    }

    /// From this key to that one, both of them inside, for a set of intervals over one field.
    pub fn range(from: &[u8], to: &[u8]) -> Vec<Element> {
        let mut end = to.to_vec();
        // The end is the first key that is outside; there is none behind the last key of all.
        let overflow = !end.iter_mut().rev().any(|byte| {
            *byte = byte.wrapping_add(1);
            *byte != 0
        });
        let last = Element { flags: NFT_SET_ELEM_INTERVAL_END as u32, ..Element::new(end) };
        if overflow { vec![Element::new(from)] } else { vec![Element::new(from), last] }
    }

    /// From this key to that one, both of them inside in every field, for a set of intervals over several fields.
    #[must_use]
    pub fn up_to(self, key_end: impl Into<Vec<u8>>) -> Element {
        Element { key_end: Some(key_end.into()), ..self }
    }

    fn is_end(&self) -> bool {
        self.flags & NFT_SET_ELEM_INTERVAL_END as u32 != 0
    }

    /// No more than this when written.
    pub(super) fn room(&self) -> usize {
        let data = self.data.as_ref().map_or(0, |data| match data {
            Data::Value(value) => value.len() + 16,
            Data::Verdict(_) => 300,
        });
        64 + self.key.len()
            + self.key_end.as_ref().map_or(0, Vec::len)
            + data
            + self.comment.as_ref().map_or(0, String::len)
    }

    pub(super) fn write(&self, m: &mut Message) {
        let value = |m: &mut Message, kind, value: &[u8]| {
            m.nest(kind, |m| {
                m.bytes(NFTA_DATA_VALUE, value);
            });
        };
        if self.flags != 0 {
            m.be32(NFTA_SET_ELEM_FLAGS, self.flags);
        }
        if !self.key.is_empty() {
            value(m, NFTA_SET_ELEM_KEY, &self.key);
        }
        if let Some(end) = &self.key_end {
            value(m, NFTA_SET_ELEM_KEY_END, end);
        }
        if let Some(data) = &self.data {
            data.write(m, NFTA_SET_ELEM_DATA);
        }
        if let Some(words) = &self.comment {
            let bytes = userdata(COMMENT, words, m);
            m.bytes(NFTA_SET_ELEM_USERDATA, &bytes);
        }
    }

    fn read(item: &Attribute) -> io::Result<Element> {
        let found = Found::in_nest(item)?;
        Ok(Element {
            key: found.get(NFTA_SET_ELEM_KEY).map(|key| Data::value(&key)).transpose()?.unwrap_or_default(),
            key_end: found.get(NFTA_SET_ELEM_KEY_END).map(|key| Data::value(&key)).transpose()?,
            data: found.get(NFTA_SET_ELEM_DATA).map(|data| Data::read(&data)).transpose()?,
            flags: found.be32(NFTA_SET_ELEM_FLAGS)?.unwrap_or(0),
            comment: comment(found.get(NFTA_SET_ELEM_USERDATA), COMMENT),
        })
    }
}

impl Set {
    /// A set of these: of one type, or of several, one behind the other ([`concat()`]).
    pub fn new(family: Family, table: &str, name: &str, key: &[Type]) -> Set {
        Set {
            family,
            table: table.to_owned(),
            name: name.to_owned(),
            flags: 0,
            key_type: Type::numbers(key),
            key_length: Type::lengths(key),
            data_type: None,
            data_length: 0,
            fields: key.iter().map(|each| each.length).collect(),
            handle: 0,
            comment: None,
            elements: Vec::new(),
            order: Some((Type::order(key), 0)),
        }
    }

    /// As a map, whose values are of this type, or of several, one behind the other.
    #[must_use]
    pub fn to(self, data: &[Type]) -> Set {
        let order = Some((self.order.map_or(0, |(key, _)| key), Type::order(data)));
        let flags = self.flags | NFT_SET_MAP as u32;
        Set { flags, data_type: Some(Type::numbers(data)), data_length: Type::lengths(data), order, ..self }
    }

    /// As a map of verdicts.
    #[must_use]
    pub fn to_verdicts(self) -> Set {
        let flags = self.flags | NFT_SET_MAP as u32;
        Set { flags, data_type: Some(NFT_DATA_VERDICT), data_length: 0, ..self }
    }

    /// As one whose keys are intervals: [`Element::range`] for one field, [`Element::up_to`] for several (Linux 5.7).
    #[must_use]
    pub fn with_intervals(self) -> Set {
        let concat = if self.fields.len() > 1 { NFT_SET_CONCAT } else { 0 };
        Set { flags: self.flags | NFT_SET_INTERVAL as u32 | concat, ..self }
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(self, words: &str) -> Set {
        Set { comment: Some(words.to_owned()), ..self }
    }

    /// A set that belongs to one rule.
    pub(super) fn anonymous(mut self) -> Set {
        self.name.clear();
        self.name.push_str(if self.data_type.is_some() { "__map%d" } else { "__set%d" });
        self.flags |= (NFT_SET_ANONYMOUS | NFT_SET_CONSTANT) as u32;
        self
    }

    /// Whether this key is in it, or in an interval of it: the element.
    pub fn find(&self, key: &[u8]) -> Option<&Element> {
        if self.fields.len() > 1 && self.flags & NFT_SET_CONCAT != 0 {
            return self.elements.iter().find(|element| self.spans(element, key));
        }
        if self.flags & NFT_SET_INTERVAL as u32 == 0 {
            return self.elements.iter().find(|element| element.key == key);
        }
        // The nearest boundary that is not above it decides: a beginning is in, an end is out. Where one interval ends and
        // another begins, both stand at the same key.
        let below = self.elements.iter().filter(|element| element.key.as_slice() <= key);
        below.max_by_key(|element| (&element.key, !element.is_end())).filter(|element| !element.is_end())
    }

    fn spans(&self, element: &Element, key: &[u8]) -> bool {
        let end = element.key_end.as_ref().unwrap_or(&element.key);
        let mut at = 0;
        self.fields.iter().all(|&length| {
            let part = at..at + length as usize;
            at += length.next_multiple_of(4) as usize;
            let of = |bytes: &'_ [u8]| bytes.get(part.clone()).map(<[u8]>::to_vec);
            of(&element.key) <= of(key) && of(key) <= of(end)
        })
    }

    pub(super) fn write(&self, m: &mut Message, id: u32) {
        m.name(NFTA_SET_TABLE, &self.table).name(NFTA_SET_NAME, &self.name);
        m.be32(NFTA_SET_FLAGS, self.flags);
        m.be32(NFTA_SET_KEY_TYPE, self.key_type).be32(NFTA_SET_KEY_LEN, self.key_length);
        if let Some(data_type) = self.data_type {
            m.be32(NFTA_SET_DATA_TYPE, data_type).be32(NFTA_SET_DATA_LEN, self.data_length);
        }
        m.be32(NFTA_SET_ID, id);
        let constant = self.flags & NFT_SET_CONSTANT as u32 != 0;
        if constant || self.flags & NFT_SET_CONCAT != 0 {
            m.nest(NFTA_SET_DESC, |m| {
                if constant {
                    m.be32(NFTA_SET_DESC_SIZE, self.elements.len() as u32);
                }
                if self.flags & NFT_SET_CONCAT != 0 {
                    m.list(NFTA_SET_DESC_CONCAT, NFTA_LIST_ELEM, &self.fields, |m, length| {
                        m.be32(NFTA_SET_FIELD_LEN, *length);
                    });
                }
            });
        }
        let mut bytes = Vec::new();
        if let Some((key, data)) = self.order {
            bytes.extend([KEY_ORDER, 4]);
            bytes.extend(key.to_ne_bytes());
            if self.data_type.is_some() {
                bytes.extend([DATA_ORDER, 4]);
                bytes.extend(data.to_ne_bytes());
            }
        }
        if let Some(words) = &self.comment {
            bytes.extend(userdata(SET_COMMENT, words, m));
        }
        if !bytes.is_empty() {
            m.bytes(NFTA_SET_USERDATA, &bytes);
        }
    }
}

/// Values one behind the other, each with a gap up to the next multiple of four: the key of a set of several types, or a
/// map's value of several.
///
/// ```
/// // tcp . 8080
/// let key = netlink::nft::concat(&[&[6], &8080_u16.to_be_bytes()]);
/// assert_eq!(key, [6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
/// ```
pub fn concat(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// A link's name as nf_tables compares it: sixteen bytes, zeros behind it. Of a longer name, which no link has, the end is
/// left out.
pub fn ifname(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}

/// A set of a dump.
pub(super) fn read(message: &Reply) -> io::Result<Set> {
    let found = Found::of(message.attributes(NFGENMSG))?;
    let key_length = found.be32(NFTA_SET_KEY_LEN)?.ok_or_else(wire::malformed)?;
    let mut fields = Vec::new();
    if let Some(desc) = found.get(NFTA_SET_DESC) {
        let concat = Found::in_nest(&desc)?.get(NFTA_SET_DESC_CONCAT);
        for field in concat.iter().flat_map(Attribute::nested) {
            fields.extend(Found::in_nest(&field?)?.be32(NFTA_SET_FIELD_LEN)?);
        }
    }
    Ok(Set {
        family: family_of(message)?,
        table: found.text(NFTA_SET_TABLE).ok_or_else(wire::malformed)?,
        name: found.text(NFTA_SET_NAME).ok_or_else(wire::malformed)?,
        flags: found.be32(NFTA_SET_FLAGS)?.unwrap_or(0),
        key_type: found.be32(NFTA_SET_KEY_TYPE)?.unwrap_or(0),
        key_length,
        data_type: found.be32(NFTA_SET_DATA_TYPE)?,
        data_length: found.be32(NFTA_SET_DATA_LEN)?.unwrap_or(0),
        fields: if fields.is_empty() { vec![key_length] } else { fields },
        handle: found.be64(NFTA_SET_HANDLE)?.unwrap_or(0),
        comment: comment(found.get(NFTA_SET_USERDATA), SET_COMMENT),
        elements: Vec::new(),
        order: None,
    })
}

/// The elements in one message of a dump.
pub(super) fn read_elements(message: &Reply) -> io::Result<Vec<Element>> {
    let found = Found::of(message.attributes(NFGENMSG))?;
    let list = found.get(NFTA_SET_ELEM_LIST_ELEMENTS);
    list.iter().flat_map(Attribute::nested).map(|item| Element::read(&item?)).collect()
}
