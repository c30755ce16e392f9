//! Ports that user space has to serve: what comes to this host's own loopback addresses, which the kernel cannot translate
//! (`::1`) or should not (127.0.0.0/8: that would take `route_localnet`, a door for others); and everything, where there is no
//! nf_tables.
//!
//! One process for each container that needs it, one `epoll(7)` loop. Bytes of a connection go through a pipe in the kernel
//! (`splice(2)`), one for each direction, and are never seen here: a reader that is slow fills the pipe, and then its writer waits. Of
//! datagrams each sender has a socket of his own towards the container, so that answers find back.
//!
//! What the container sees as the source is this host. Answers to datagrams leave with the address that the kernel chooses for the way
//! back: a client that asks a host of several addresses by another than that one does not recognise it. That is so only where
//! nf_tables is missing.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::ports::Protocol;
use crate::sys::{self, Interest};

/// One port that is listened on here and leads into a container.
#[derive(Debug)]
pub struct Listening {
    /// Its protocol: not SCTP.
    pub protocol: Protocol,
    /// Bound, and for TCP listening.
    pub socket: OwnedFd,
    /// Where it leads to.
    pub to: SocketAddr,
}

/// How many clients may wait to be accepted (`net.core.somaxconn` limits it further).
const BACKLOG: i32 = 4096;

/// How many senders of datagrams are remembered at once; the one that was silent for longest makes room.
const FLOWS: usize = 1024;

/// After how many nanoseconds of silence a sender of datagrams is forgotten.
const SILENCE: u64 = 60_000_000_000;

/// How often, in milliseconds, it is looked who was silent for so long.
const LOOK: i32 = 10_000;

/// As much as a pipe takes.
const CHUNK: usize = 64 << 10;

/// After so many turns somebody else's bytes are moved.
const TURNS: u32 = 16;

/// Binds what is to be listened on. EADDRINUSE if somebody else listens there, EADDRNOTAVAIL if this host has no such address.
pub fn listen(protocol: Protocol, at: SocketAddr, to: SocketAddr) -> io::Result<Listening> {
    let stream = protocol == Protocol::Tcp;
    let socket = sys::inet_socket(at.is_ipv6(), stream)?;
    if at.is_ipv6() {
        // The other family's port is another one.
        sys::set_socket_option(socket.as_fd(), libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    if stream {
        // Connections of an earlier container that are just ending do not keep the port.
        sys::set_socket_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    }
    sys::bind_to(socket.as_fd(), at)?;
    if stream {
        sys::listen_for(socket.as_fd(), BACKLOG)?;
    }
    Ok(Listening { protocol, socket, to })
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Way {
    /// The pipe, as long as something is on its way.
    pipe: Option<(OwnedFd, OwnedFd)>,
    /// So many bytes are in it.
    held: usize,
    /// No more will come.
    ended: bool,
    /// And who reads was told so.
    told: bool,
}

#[derive(Debug)]
struct Connection {
    client: OwnedFd,
    target: OwnedFd,
    /// The target has answered.
    connected: bool,
    there: Way,
    back: Way,
}

/// A sender of datagrams.
#[derive(Debug)]
struct Flow {
    listener: usize,
    client: SocketAddr,
    socket: UdpSocket,
    heard: u64,
}

/// Whom an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    End,
    Listener(usize),
    Connection(usize),
    Flow(usize),
}

impl Whom {
    fn number(self) -> u64 {
        let (kind, n) = match self {
            Whom::End => (0, 0),
            Whom::Listener(n) => (1, n),
            Whom::Connection(n) => (2, n),
            Whom::Flow(n) => (3, n),
        };
        (n as u64) << 2 | kind
    }

    fn of(number: u64) -> Whom {
        let n = (number >> 2) as usize;
        match number & 3 {
            0 => Whom::End,
            1 => Whom::Listener(n),
            2 => Whom::Connection(n),
            _ => Whom::Flow(n),
        }
    }
}

/// Things with a number each, which is used again when they are gone.
#[derive(Debug)]
struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Slab<T> {
    fn new() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }

    fn next(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        })
    }

    fn put(&mut self, at: usize, thing: T) {
        if let Some(place) = self.places.get_mut(at) {
            *place = Some(thing);
        }
    }

    fn get(&mut self, at: usize) -> Option<&mut T> {
        self.places.get_mut(at)?.as_mut()
    }

    fn take(&mut self, at: usize) -> Option<T> {
        let thing = self.places.get_mut(at)?.take();
        if thing.is_some() {
            self.free.push(at);
        }
        thing
    }
}

struct Server {
    epoll: OwnedFd,
    listening: Vec<Listening>,
    /// The same sockets, for datagrams.
    datagrams: Vec<Option<UdpSocket>>,
    connections: Slab<Connection>,
    flows: Slab<Flow>,
    /// Who sends datagrams to which listener.
    senders: BTreeMap<(usize, SocketAddr), usize>,
    /// Empty pipes.
    pipes: Vec<(OwnedFd, OwnedFd)>,
    /// Connections that have had their turns and have more to do.
    again: VecDeque<usize>,
    buffer: Box<[u8]>,
}

/// Serves until the process behind `until` has ended. What a client or the container does is never an error of ours.
pub fn serve(listening: Vec<Listening>, until: BorrowedFd) {
    // Each connection takes up to six descriptors.
    if let Ok((_, most)) = sys::limit(libc::RLIMIT_NOFILE as u32) {
        let _ = sys::set_limit(libc::RLIMIT_NOFILE as u32, most, most);
    }
    let Ok(epoll) = sys::epoll() else { return };
    let datagram = |one: &Listening| {
        (one.protocol == Protocol::Udp).then(|| sys::dup(one.socket.as_fd()).ok().map(UdpSocket::from)).flatten()
    };
    let datagrams = listening.iter().map(datagram).collect();
    let mut server = Server {
        epoll,
        listening,
        datagrams,
        connections: Slab::new(),
        flows: Slab::new(),
        senders: BTreeMap::new(),
        pipes: Vec::new(),
        again: VecDeque::new(),
        buffer: vec![0; CHUNK].into_boxed_slice(),
    };
    if sys::epoll_add(server.epoll.as_fd(), until, Interest::Read, Whom::End.number()).is_err() {
        return;
    }
    for (n, one) in server.listening.iter().enumerate() {
        let _ = sys::epoll_add(server.epoll.as_fd(), one.socket.as_fd(), Interest::Read, Whom::Listener(n).number());
    }
    server.run();
}

impl Server {
    fn run(&mut self) {
        let mut events = [0_u64; 128];
        let mut looked = sys::now();
        loop {
            let patience = if self.again.is_empty() { LOOK } else { 0 };
            let found = match sys::epoll_wait(self.epoll.as_fd(), &mut events, patience) {
                Ok(found) => found,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
                Err(_) => return,
            };
            for number in events.iter().take(found) {
                match Whom::of(*number) {
                    Whom::End => return,
                    Whom::Listener(n) => self.arrive(n),
                    Whom::Connection(n) => self.turn(n),
                    Whom::Flow(n) => self.answer(n),
                }
            }
            for _ in 0..self.again.len() {
                if let Some(n) = self.again.pop_front() {
                    self.turn(n);
                }
            }
            let now = sys::now();
            if now.saturating_sub(looked) > LOOK as u64 * 1_000_000 {
                looked = now;
                self.forget_silent(now);
            }
        }
    }

    /// Somebody new, or datagrams.
    fn arrive(&mut self, n: usize) {
        match self.listening.get(n).map(|one| one.protocol) {
            Some(Protocol::Udp) => self.receive(n),
            Some(_) => self.accept(n),
            None => {}
        }
    }

    fn accept(&mut self, n: usize) {
        // Not all of them at once: others have work too.
        for _ in 0..64 {
            let Some(one) = self.listening.get(n) else { return };
            let client = match sys::accept(one.socket.as_fd()) {
                Ok(client) => client,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e)
                    if matches!(
                        e.raw_os_error(),
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
                    ) =>
                {
                    // He waits in the queue until somebody has gone.
                    let _ = sys::poll(&mut [], 10);
                    return;
                }
                // He has gone already, or his network has (accept(2)).
                Err(_) => continue,
            };
            let target = sys::inet_socket(one.to.is_ipv6(), true).and_then(|socket| {
                match sys::connect_with(socket.as_fd(), one.to) {
                    Err(e) if e.raw_os_error() != Some(libc::EINPROGRESS) => Err(e),
                    _ => Ok(socket),
                }
            });
            let Ok(target) = target else {
                reset(&client);
                continue;
            };
            for end in [&client, &target] {
                // What waits for more is for who sends to decide, as if we were not there.
                let _ = sys::set_socket_option(end.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
            }
            let at = self.connections.next();
            let number = Whom::Connection(at).number();
            let added = sys::epoll_add(self.epoll.as_fd(), client.as_fd(), Interest::Changes, number)
                .and_then(|()| sys::epoll_add(self.epoll.as_fd(), target.as_fd(), Interest::Changes, number));
            if added.is_err() {
                reset(&client);
                self.connections.free.push(at);
                continue;
            }
            let (there, back) = (Way::default(), Way::default());
            self.connections.put(at, Connection { client, target, connected: false, there, back });
        }
    }

    /// Moves what can be moved of one connection.
    fn turn(&mut self, n: usize) {
        let Some(connection) = self.connections.get(n) else { return };
        if !connection.connected {
            match sys::socket_error(connection.target.as_fd()) {
                Ok(0) => {}
                _ => return self.end(n, true),
            }
            if sys::is_connected(connection.target.as_fd()) {
                connection.connected = true;
            } else {
                return;
            }
        }
        let Connection { client, target, there, back, .. } = connection;
        let moved = push(there, client, target, &mut self.pipes)
            .and_then(|one| Ok(one | push(back, target, client, &mut self.pipes)?));
        match moved {
            Err(_) => self.end(n, true),
            Ok(_) if there.told && back.told => self.end(n, false),
            // It has had its turns.
            Ok(true) => self.again.push_back(n),
            Ok(false) => {}
        }
    }

    /// A connection is over; `broken`: not as both ends would have it.
    fn end(&mut self, n: usize, broken: bool) {
        let Some(connection) = self.connections.take(n) else { return };
        self.again.retain(|other| *other != n);
        if broken {
            reset(&connection.client);
            reset(&connection.target);
        }
    }

    fn receive(&mut self, n: usize) {
        for _ in 0..64 {
            let Some(Some(socket)) = self.datagrams.get(n) else { return };
            // An error is of an earlier answer that did not arrive.
            let (length, client) = match socket.recv_from(&mut self.buffer) {
                Ok(found) => found,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => continue,
            };
            let at = match self.senders.get(&(n, client)) {
                Some(at) => *at,
                None => match self.begin_flow(n, client) {
                    Some(at) => at,
                    None => continue,
                },
            };
            if let Some(flow) = self.flows.get(at) {
                flow.heard = sys::now();
                // What is refused in there is lost, as datagrams are.
                let _ = flow.socket.send(self.buffer.get(..length).unwrap_or_default());
            }
        }
    }

    fn begin_flow(&mut self, listener: usize, client: SocketAddr) -> Option<usize> {
        if self.senders.len() >= FLOWS {
            let heard = |at: &usize| self.flows.places.get(*at).and_then(Option::as_ref).map_or(0, |flow| flow.heard);
            let oldest = self.senders.values().copied().min_by_key(heard)?;
            self.end_flow(oldest);
        }
        let to = self.listening.get(listener)?.to;
        let socket = sys::inet_socket(to.is_ipv6(), false).ok()?;
        sys::connect_with(socket.as_fd(), to).ok()?;
        let at = self.flows.next();
        if sys::epoll_add(self.epoll.as_fd(), socket.as_fd(), Interest::Read, Whom::Flow(at).number()).is_err() {
            self.flows.free.push(at);
            return None;
        }
        self.flows.put(at, Flow { listener, client, socket: socket.into(), heard: sys::now() });
        self.senders.insert((listener, client), at);
        Some(at)
    }

    fn end_flow(&mut self, at: usize) {
        if let Some(flow) = self.flows.take(at) {
            self.senders.remove(&(flow.listener, flow.client));
        }
    }

    /// The container answers.
    fn answer(&mut self, n: usize) {
        for _ in 0..64 {
            let Some(flow) = self.flows.get(n) else { return };
            let length = match flow.socket.recv(&mut self.buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // Nobody listens in there now (ECONNREFUSED): somebody may with the next one.
                Err(_) => return,
            };
            flow.heard = sys::now();
            if let Some(Some(socket)) = self.datagrams.get(flow.listener) {
                let _ = socket.send_to(self.buffer.get(..length).unwrap_or_default(), flow.client);
            }
        }
    }

    fn forget_silent(&mut self, now: u64) {
        let silent = |at: &usize| {
            let flow = self.flows.places.get(*at).and_then(Option::as_ref);
            flow.is_none_or(|flow| now.saturating_sub(flow.heard) > SILENCE)
        };
        let gone: Vec<usize> = self.senders.values().copied().filter(silent).collect();
        gone.into_iter().for_each(|at| self.end_flow(at));
    }
}

/// The other end shall see that this was no orderly end.
fn reset(socket: &OwnedFd) {
    let _ = sys::set_linger(socket.as_fd(), 0);
}

/// Moves bytes one way, until there are none, or no room for them, or it was enough for one turn (then true). An error is the
/// connection's end.
fn push(way: &mut Way, from: &OwnedFd, to: &OwnedFd, pipes: &mut Vec<(OwnedFd, OwnedFd)>) -> io::Result<bool> {
    for _ in 0..TURNS {
        let mut moved = false;
        if !way.ended && way.held < CHUNK {
            if way.pipe.is_none() {
                way.pipe = Some(pipes.pop().map_or_else(sys::pipe, Ok)?);
            }
            let Some((_, entry)) = &way.pipe else { return Ok(false) };
            match sys::splice(from.as_fd(), entry.as_fd(), CHUNK - way.held) {
                Ok(0) => (way.ended, moved) = (true, true),
                Ok(n) => (way.held, moved) = (way.held + n, true),
                Err(e) if again(&e) => {}
                Err(e) => return Err(e),
            }
        }
        if let Some((exit, _)) = way.pipe.as_ref().filter(|_| way.held > 0) {
            match sys::splice(exit.as_fd(), to.as_fd(), way.held) {
                Ok(n) => {
                    way.held = way.held.saturating_sub(n);
                    moved |= n > 0;
                }
                Err(e) if again(&e) => {}
                Err(e) => return Err(e),
            }
        }
        if way.held == 0 {
            // Nothing is on its way: who needs a pipe may have it. A few are kept for the next.
            if let Some(pipe) = way.pipe.take() {
                if pipes.len() < 64 {
                    pipes.push(pipe);
                }
            }
            if way.ended && !way.told {
                way.told = true;
                match sys::shutdown(to.as_fd()) {
                    // He has gone altogether.
                    Err(e) if e.raw_os_error() != Some(libc::ENOTCONN) => return Err(e),
                    _ => {}
                }
            }
        }
        if !moved {
            return Ok(false);
        }
    }
    Ok(true)
}

fn again(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
    use std::thread;
    use std::time::Duration;

    use super::*;

    const WAIT: Option<Duration> = Some(Duration::from_secs(20));

    fn here(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// A forwarder to there; where it listens, and what ends it when it is closed.
    fn forwarder(protocol: Protocol, to: SocketAddr) -> (SocketAddr, OwnedFd, thread::JoinHandle<()>) {
        let one = listen(protocol, here(0), to).unwrap();
        let at = if protocol == Protocol::Udp {
            UdpSocket::from(sys::dup(one.socket.as_fd()).unwrap()).local_addr().unwrap()
        } else {
            TcpListener::from(sys::dup(one.socket.as_fd()).unwrap()).local_addr().unwrap()
        };
        let (read, write) = sys::pipe().unwrap();
        let thread = thread::spawn(move || serve(vec![one], read.as_fd()));
        (at, write, thread)
    }

    fn connect(at: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(WAIT).unwrap();
        stream.set_write_timeout(WAIT).unwrap();
        stream
    }

    #[test]
    fn bytes_pass_both_ways_at_once_and_ends_one_by_one() {
        let server = TcpListener::bind(here(0)).unwrap();
        let (at, end, thread) = forwarder(Protocol::Tcp, server.local_addr().unwrap());
        let size = 3 << 20;
        let echo = thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut out = stream.try_clone().unwrap();
            let sender =
                thread::spawn(move || out.write_all(&vec![7; size]).and_then(|()| out.shutdown(Shutdown::Write)));
            let mut all = Vec::new();
            stream.read_to_end(&mut all).unwrap();
            sender.join().unwrap().unwrap();
            all
        });
        let mut stream = connect(at);
        let mut out = stream.try_clone().unwrap();
        let sender = thread::spawn(move || out.write_all(&vec![9; size]));
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        sender.join().unwrap().unwrap();
        assert!(all.len() == size && all.iter().all(|byte| *byte == 7));
        // The other direction is open still.
        stream.write_all(b"tail").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let got = echo.join().unwrap();
        assert!(got.len() == size + 4 && got.ends_with(b"tail"));
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn who_is_refused_inside_is_refused_outside() {
        let free = TcpListener::bind(here(0)).unwrap().local_addr().unwrap();
        let (at, end, thread) = forwarder(Protocol::Tcp, free);
        let mut byte = [0];
        assert!(connect(at).read(&mut byte).is_err());
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn many_clients_at_once() {
        let server = TcpListener::bind(here(0)).unwrap();
        let (at, end, thread) = forwarder(Protocol::Tcp, server.local_addr().unwrap());
        let echo = thread::spawn(move || {
            for _ in 0..200 {
                let (mut stream, _) = server.accept().unwrap();
                let mut four = [0; 4];
                stream.read_exact(&mut four).unwrap();
                stream.write_all(&four).unwrap();
            }
        });
        let all: Vec<TcpStream> = (0..200).map(|_| connect(at)).collect();
        for (n, mut stream) in (0_u32..).zip(&all) {
            stream.write_all(&n.to_ne_bytes()).unwrap();
        }
        for (n, mut stream) in (0_u32..).zip(&all) {
            let mut four = [0; 4];
            stream.read_exact(&mut four).unwrap();
            assert_eq!(u32::from_ne_bytes(four), n);
        }
        echo.join().unwrap();
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn answers_to_datagrams_find_their_way_back() {
        let server = UdpSocket::bind(here(0)).unwrap();
        server.set_read_timeout(WAIT).unwrap();
        let (at, end, thread) = forwarder(Protocol::Udp, server.local_addr().unwrap());
        let clients: Vec<UdpSocket> = (0..2).map(|_| UdpSocket::bind(here(0)).unwrap()).collect();
        let mut buffer = [0; 100];
        for (n, client) in (0_u8..).zip(&clients) {
            client.set_read_timeout(WAIT).unwrap();
            client.send_to(&[n; 3], at).unwrap();
        }
        for _ in 0..2 {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
        }
        for (n, client) in (0_u8..).zip(&clients) {
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (&[n; 3][..], at));
        }
        drop(end);
        thread.join().unwrap();
    }
}
