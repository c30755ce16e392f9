//! nf_tables, the kernel's packet filter (include/uapi/linux/netfilter/nf_tables.h).
//!
//! It is a tenant of nfnetlink: a message's type is the subsystem in the high byte and the message in the low one, an
//! `nfgenmsg` follows the header, and integers in attributes are big-endian. All of it, reading too, needs CAP_NET_ADMIN
//! over the network namespace's owner. The `NFTA_*` numbers live here: neither libc nor linux-raw-sys has them.

use std::io;

use libc::{AF_UNSPEC, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN, NFT_MSG_NEWGEN};

use crate::socket::Socket;
use crate::wire::{self, Message};

/// The rule set's generation: `enum nft_gen_attributes`.
const NFTA_GEN_ID: u16 = 1;

/// `sizeof(struct nfgenmsg)`.
const NFGENMSG: usize = 4;

/// The generation of the rule set, which grows with every change: what `nft list ruleset` asks first, and the smallest
/// question that only nf_tables answers. `socket` is one of `NETLINK_NETFILTER`.
///
/// A kernel without nf_tables says EINVAL, one without nfnetlink has already refused the socket with EPROTONOSUPPORT.
/// EPERM says nothing about nf_tables: nfnetlink looks at our capability before it looks for the tenant.
pub fn generation(socket: &mut Socket) -> io::Result<u32> {
    read(&socket.get(question())?)
}

fn read(answer: &[u8]) -> io::Result<u32> {
    for message in wire::messages(answer) {
        let message = message?;
        if message.kind != kind(NFT_MSG_NEWGEN) {
            continue;
        }
        for attribute in message.attributes(NFGENMSG) {
            let attribute = attribute?;
            if attribute.kind == NFTA_GEN_ID {
                return attribute.be32();
            }
        }
    }
    Err(wire::malformed())
}

fn question() -> Message {
    let mut message = Message::new(kind(NFT_MSG_GETGEN), 0);
    message.nfgen(AF_UNSPEC as u8, 0);
    message
}

fn kind(message: libc::c_int) -> u16 {
    (NFNL_SUBSYS_NFTABLES << 8 | message) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::tests::{hex, mangle};

    #[test]
    fn the_question_for_the_generation_is_what_nft_sends() {
        // The first message of `nft list ruleset`, nftables 1.0.6. The acknowledgement is asked for by Socket::get.
        let golden = hex("14 00 00 00 10 0a 01 00  00 00 00 00 00 00 00 00  00 00 00 00");
        assert_eq!(question().finish().unwrap(), golden);
    }

    #[test]
    fn the_generation_is_read() {
        // Linux 6.18's answer to it, in a fresh network namespace.
        let answer = hex("2c 00 00 00 0f 0a 00 00  00 00 00 00 eb 79 00 00
                          00 00 00 01 08 00 01 00  00 00 00 01 08 00 02 00
                          00 00 79 eb 08 00 03 00  6e 66 74 00");
        assert_eq!(read(&answer).unwrap(), 1);
        mangle(&answer, |bytes| drop(read(bytes)));
    }
}
