//! Changes that are made together or not at all.

use std::io;

use libc::{
    NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_NFTABLES, NFT_MSG_DELCHAIN, NFT_MSG_DELRULE,
    NFT_MSG_DELSET, NFT_MSG_DELSETELEM, NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWSET,
    NFT_MSG_NEWSETELEM, NFT_MSG_NEWTABLE, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL,
};

#[allow(clippy::wildcard_imports, reason = "the kernel's own names, in a file that has nothing else")]
use super::numbers::*;
use super::{COMMENT, Chain, Element, Family, Hook, Rule, Set, Table, kind, userdata};
use crate::socket::{Socket, moved};
use crate::wire::{self, Message};

/// Attribute of `NFNL_MSG_BATCH_BEGIN`: the generation that the batch was made for, Linux 4.10.
const NFNL_BATCH_GENID: u16 = libc::NFNL_BATCH_GENID as u16;

/// A list of elements is an attribute, and must be shorter than 64 KiB.
const ELEMENTS: usize = 60_000;

/// Changes to the ruleset that are made together or not at all: nobody, and no packet, sees a part of them.
///
/// When one of them is refused, [`crate::refusal`] tells which, from 0 in the order of the calls (a call that adds many
/// elements can be several messages).
#[derive(Debug, Clone, Default)]
#[must_use = "a batch does nothing until it is sent"]
pub struct Batch {
    generation: Option<u32>,
    messages: Vec<Message>,
    /// The number of the last set in it.
    set: u32,
}

impl Batch {
    /// One that is done whatever others did in the meantime.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// One that is refused with ERESTART when anything was changed since this generation ([`super::Ruleset::generation`]),
    /// by anybody in this network namespace. Linux 4.10; before that it is done in any case.
    pub fn at(generation: u32) -> Batch {
        Batch { generation: Some(generation), ..Batch::default() }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// `nft add table inet web`. One that is there stays as it is.
    pub fn add_table(&mut self, table: &Table) -> &mut Batch {
        self.message(NFT_MSG_NEWTABLE, 0, table.family, |m| {
            m.name(NFTA_TABLE_NAME, &table.name).be32(NFTA_TABLE_FLAGS, table.flags);
            words(m, NFTA_TABLE_USERDATA, table.comment.as_deref());
        })
    }

    /// `nft create table inet web`: EEXIST when it is there.
    pub fn create_table(&mut self, table: &Table) -> &mut Batch {
        self.message(NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, table.family, |m| {
            m.name(NFTA_TABLE_NAME, &table.name).be32(NFTA_TABLE_FLAGS, table.flags);
            words(m, NFTA_TABLE_USERDATA, table.comment.as_deref());
        })
    }

    /// `nft delete table inet web`, with all that is in it. ENOENT when it is not there; to delete it in any case, add it
    /// first in the same batch.
    pub fn delete_table(&mut self, family: Family, name: &str) -> &mut Batch {
        self.message(NFT_MSG_DELTABLE, 0, family, |m| {
            m.name(NFTA_TABLE_NAME, name);
        })
    }

    /// `nft flush table inet web`: all rules of all its chains go; chains, sets and elements stay.
    pub fn flush_table(&mut self, family: Family, name: &str) -> &mut Batch {
        self.message(NFT_MSG_DELRULE, 0, family, |m| {
            m.name(NFTA_RULE_TABLE, name);
        })
    }

    /// `nft add chain inet web forward { type filter hook forward priority 0; policy accept; }`. One that is there stays;
    /// its policy is changed, its hook cannot be.
    pub fn add_chain(&mut self, chain: &Chain) -> &mut Batch {
        self.message(NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain.family, |m| {
            m.name(NFTA_CHAIN_TABLE, &chain.table).name(NFTA_CHAIN_NAME, &chain.name);
            if let Some(Hook { number, priority, links }) = &chain.hook {
                chain.kind.as_ref().map(|kind| m.name(NFTA_CHAIN_TYPE, kind));
                chain.drops.map(|drops| m.be32(NFTA_CHAIN_POLICY, u32::from(!drops)));
                m.nest(NFTA_CHAIN_HOOK, |m| {
                    m.be32(NFTA_HOOK_HOOKNUM, *number).be32(NFTA_HOOK_PRIORITY, *priority as u32);
                    match &links[..] {
                        [] => {}
                        [one] => {
                            m.name(NFTA_HOOK_DEV, one);
                        }
                        several => {
                            m.nest(NFTA_HOOK_DEVS, |m| {
                                for link in several {
                                    m.name(NFTA_DEVICE_NAME, link);
                                }
                            });
                        }
                    }
                });
            }
            words(m, NFTA_CHAIN_USERDATA, chain.comment.as_deref());
        })
    }

    /// `nft delete chain inet web forward`. EBUSY while it has rules, or is jumped to.
    pub fn delete_chain(&mut self, family: Family, table: &str, name: &str) -> &mut Batch {
        self.message(NFT_MSG_DELCHAIN, 0, family, |m| {
            m.name(NFTA_CHAIN_TABLE, table).name(NFTA_CHAIN_NAME, name);
        })
    }

    /// `nft flush chain inet web forward`: all its rules go.
    pub fn flush_chain(&mut self, family: Family, table: &str, name: &str) -> &mut Batch {
        self.message(NFT_MSG_DELRULE, 0, family, |m| {
            m.name(NFTA_RULE_TABLE, table).name(NFTA_RULE_CHAIN, name);
        })
    }

    /// `nft add rule inet web forward ...`: as the last of its chain.
    pub fn add_rule(&mut self, rule: &Rule) -> &mut Batch {
        self.rule(rule, NLM_F_CREATE | NLM_F_APPEND)
    }

    /// `nft insert rule inet web forward ...`: as the first of its chain.
    pub fn insert_rule(&mut self, rule: &Rule) -> &mut Batch {
        self.rule(rule, NLM_F_CREATE)
    }

    fn rule(&mut self, rule: &Rule, flags: libc::c_int) -> &mut Batch {
        self.message(NFT_MSG_NEWRULE, flags, rule.family, |m| {
            m.name(NFTA_RULE_TABLE, &rule.table).name(NFTA_RULE_CHAIN, &rule.chain);
            m.list(NFTA_RULE_EXPRESSIONS, NFTA_LIST_ELEM, &rule.expressions, |m, expression| expression.write(m));
            words(m, NFTA_RULE_USERDATA, rule.comment.as_deref());
        })
    }

    /// `nft delete rule inet web forward handle 4`.
    pub fn delete_rule(&mut self, rule: &Rule) -> &mut Batch {
        self.message(NFT_MSG_DELRULE, 0, rule.family, |m| {
            m.name(NFTA_RULE_TABLE, &rule.table).name(NFTA_RULE_CHAIN, &rule.chain);
            m.be64(NFTA_RULE_HANDLE, rule.handle);
        })
    }

    /// `nft add set inet web ports { type inet_service; }`, or `nft add map`. One that is there stays; EEXIST when that is
    /// of another kind. Its elements are added by [`Batch::add_elements`].
    pub fn add_set(&mut self, set: &Set) -> &mut Batch {
        self.set += 1;
        let id = self.set;
        self.message(NFT_MSG_NEWSET, NLM_F_CREATE, set.family, |m| set.write(m, id))
    }

    /// `tcp dport { 22, 23 }`: a set for one rule, which goes when the rule goes, with the elements that it has. Returns the
    /// name and the number for the [`super::Expr::Lookup`] of a rule in the same batch; EINVAL where no rule uses it.
    pub fn add_anonymous(&mut self, set: &Set) -> (String, u32) {
        let set = set.clone().anonymous();
        self.add_set(&set);
        let id = self.set;
        self.elements(NFT_MSG_NEWSETELEM, (set.family, &set.table, &set.name), Some(id), &set.elements);
        (set.name, id)
    }

    /// `nft delete set inet web ports`. EBUSY while a rule uses it.
    pub fn delete_set(&mut self, family: Family, table: &str, name: &str) -> &mut Batch {
        self.message(NFT_MSG_DELSET, 0, family, |m| {
            m.name(NFTA_SET_TABLE, table).name(NFTA_SET_NAME, name);
        })
    }

    /// `nft flush set inet web ports`: all its elements go.
    pub fn flush_set(&mut self, family: Family, table: &str, name: &str) -> &mut Batch {
        self.message(NFT_MSG_DELSETELEM, 0, family, |m| {
            m.name(NFTA_SET_ELEM_LIST_TABLE, table).name(NFTA_SET_ELEM_LIST_SET, name);
        })
    }

    /// `nft add element inet web maps { tcp . 8080 : 10.0.0.2 . 80 }`. One that is there stays; EEXIST when that has another
    /// value.
    pub fn add_elements(&mut self, family: Family, table: &str, set: &str, elements: &[Element]) -> &mut Batch {
        self.elements(NFT_MSG_NEWSETELEM, (family, table, set), None, elements)
    }

    /// `nft delete element inet web maps { tcp . 8080 }`. ENOENT when it is not there.
    pub fn delete_elements(&mut self, family: Family, table: &str, set: &str, elements: &[Element]) -> &mut Batch {
        self.elements(NFT_MSG_DELSETELEM, (family, table, set), None, elements)
    }

    fn elements(
        &mut self,
        message: libc::c_int,
        (family, table, set): (Family, &str, &str),
        id: Option<u32>,
        mut elements: &[Element],
    ) -> &mut Batch {
        // As many messages as it takes; an interval's two ends may be in two of them. Deleting none would be deleting all.
        let flags = if message == NFT_MSG_NEWSETELEM { NLM_F_CREATE } else { 0 };
        while !elements.is_empty() {
            let mut room = ELEMENTS;
            let fits = |element: &&Element| {
                let left = room.checked_sub(element.room());
                room = left.unwrap_or(0);
                left.is_some()
            };
            let few = elements.iter().take_while(fits).count().max(1);
            let (these, rest) = elements.split_at(few);
            elements = rest;
            self.message(message, flags, family, |m| {
                m.name(NFTA_SET_ELEM_LIST_TABLE, table).name(NFTA_SET_ELEM_LIST_SET, set);
                id.map(|id| m.be32(NFTA_SET_ELEM_LIST_SET_ID, id));
                // `nft` numbers the items; the kernel looks at no number here.
                m.list(NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_LIST_ELEM, these, |m, element| element.write(m));
            });
        }
        self
    }

    fn message(
        &mut self,
        message: libc::c_int,
        flags: libc::c_int,
        family: Family,
        inside: impl FnOnce(&mut Message),
    ) -> &mut Batch {
        let mut message = Message::new(kind(message), flags);
        inside(message.nfgen(family.0, 0));
        self.messages.push(message);
        self
    }

    /// Do all of it, or nothing. `socket` is one of `NETLINK_NETFILTER`. An empty batch is done at once.
    pub fn send(self, socket: &mut Socket) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let count = self.messages.len() as u32;
        let first = socket.next_sequence();
        let (bytes, starts) = self.bytes(first)?;
        // The last message before the end is the one that is acknowledged: the end itself is so only since Linux 6.10.
        socket.deliver(&bytes, &starts, first, first.wrapping_add(count)).map_err(|error| moved(error, 1))
    }

    /// The whole send, numbered from `first`, and where each message begins.
    fn bytes(self, first: u32) -> io::Result<(Vec<u8>, Vec<usize>)> {
        let border = |message: libc::c_int| {
            let mut border = Message::new(message as u16, 0);
            border.nfgen(0, NFNL_SUBSYS_NFTABLES as u16);
            border
        };
        let mut begin = border(NFNL_MSG_BATCH_BEGIN);
        self.generation.map(|generation| begin.be32(NFNL_BATCH_GENID, generation));
        let count = self.messages.len() as u32;
        let messages = std::iter::once(begin).chain(self.messages);
        let (mut bytes, mut starts) = wire::numbered(messages, first)?;
        let end = wire::numbered([border(NFNL_MSG_BATCH_END)], first.wrapping_add(count + 1))?.0;
        starts.push(bytes.len());
        // Without the acknowledgement that numbered() has asked for.
        bytes.extend(end.get(..6).unwrap_or_default());
        bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend(end.get(8..).unwrap_or_default());
        Ok((bytes, starts))
    }

    #[cfg(test)]
    pub(super) fn sent(&self) -> Vec<u8> {
        self.clone().bytes(0).unwrap().0
    }

    #[cfg(test)]
    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }
}

fn words(m: &mut Message, kind: u16, comment: Option<&str>) {
    if let Some(comment) = comment {
        let bytes = userdata(COMMENT, comment, m);
        m.bytes(kind, &bytes);
    }
}
