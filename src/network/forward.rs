//! stub
use super::ports::Protocol;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
#[derive(Debug)]
pub struct Listening {
    pub protocol: Protocol,
    pub socket: OwnedFd,
    pub to: SocketAddr,
}
pub fn listen(protocol: Protocol, at: SocketAddr, to: SocketAddr) -> io::Result<Listening> {
    let socket = match protocol {
        Protocol::Udp => std::net::UdpSocket::bind(at)?.into(),
        _ => std::net::TcpListener::bind(at)?.into(),
    };
    Ok(Listening { protocol, socket, to })
}
pub fn serve(_l: Vec<Listening>, _u: BorrowedFd) {}
