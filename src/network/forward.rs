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

/// After how many milliseconds those are tried again for whom there was no room.
const REST: i32 = 50;

/// How many descriptors a connection takes at most: two sockets, and a pipe for each direction.
const EACH: u64 = 6;

/// libc has it in another type with each C library.
const NOFILE: u32 = linux_raw_sys::general::RLIMIT_NOFILE;

/// How many are kept for what is no connection: epoll, what a library opens.
const OTHERS: u64 = 16;

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
    /// It is in [`Server::again`], where it must not be twice: events and turns would add to each other without end.
    waits: bool,
    there: Way,
    back: Way,
}

/// The socket of a port that is listened on.
#[derive(Debug)]
enum Gate {
    Stream(OwnedFd),
    Datagrams(UdpSocket),
}

#[derive(Debug)]
struct Door {
    gate: Gate,
    to: SocketAddr,
    /// It is in [`Server::again`] or [`Server::later`].
    waits: bool,
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

    fn count(&self) -> usize {
        self.places.len() - self.free.len()
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
    doors: Vec<Door>,
    connections: Slab<Connection>,
    /// So many connections there may be. More wait to be accepted: no descriptor is left when those that are here want pipes.
    room: usize,
    flows: Slab<Flow>,
    /// Who sends datagrams to which listener.
    senders: BTreeMap<(usize, SocketAddr), usize>,
    /// Empty pipes.
    pipes: Vec<(OwnedFd, OwnedFd)>,
    /// Who has had his turns and has more to do, each once.
    again: VecDeque<Whom>,
    /// Doors that somebody waits at for whom there is no room.
    later: Vec<usize>,
    buffer: Box<[u8]>,
}

/// Serves until the process behind `until` has ended. What a client or the container does is never an error of ours.
pub fn serve(listening: Vec<Listening>, until: BorrowedFd) {
    let most = match sys::limit(NOFILE) {
        Ok((_, hard)) if sys::set_limit(NOFILE, hard, hard).is_ok() => hard,
        Ok((soft, _)) => soft,
        Err(_) => 1024,
    };
    let Ok(epoll) = sys::epoll() else { return };
    let doors = listening.into_iter().map(|one| {
        let datagrams = one.protocol == Protocol::Udp;
        let gate = if datagrams { Gate::Datagrams(one.socket.into()) } else { Gate::Stream(one.socket) };
        Door { gate, to: one.to, waits: false }
    });
    let doors: Vec<Door> = doors.collect();
    let flows = if doors.iter().any(|door| matches!(door.gate, Gate::Datagrams(_))) { FLOWS as u64 } else { 0 };
    let left = most.saturating_sub(OTHERS + doors.len() as u64);
    let room = ((left - flows.min(left / 2)) / EACH).max(1) as usize;
    let mut server = Server {
        epoll,
        doors,
        connections: Slab::new(),
        room,
        flows: Slab::new(),
        senders: BTreeMap::new(),
        pipes: Vec::new(),
        again: VecDeque::new(),
        later: Vec::new(),
        buffer: vec![0; CHUNK].into_boxed_slice(),
    };
    if sys::epoll_add(server.epoll.as_fd(), until, Interest::Read, Whom::End.number()).is_err() {
        return;
    }
    for (n, door) in server.doors.iter().enumerate() {
        // Of who is left waiting for a moment nothing more is told until the next one comes.
        let (socket, interest) = match &door.gate {
            Gate::Stream(socket) => (socket.as_fd(), Interest::Changes),
            Gate::Datagrams(socket) => (socket.as_fd(), Interest::Read),
        };
        let _ = sys::epoll_add(server.epoll.as_fd(), socket, interest, Whom::Listener(n).number());
    }
    server.run();
}

impl Server {
    fn run(&mut self) {
        let mut events = [0_u64; 128];
        let (mut looked, mut tried) = (sys::now(), 0);
        loop {
            let patience = match (self.again.is_empty(), self.later.is_empty(), self.senders.is_empty()) {
                (false, ..) => 0,
                (_, false, _) => REST,
                (.., false) => LOOK,
                // Nobody has to be forgotten.
                _ => -1,
            };
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
                match self.again.pop_front() {
                    Some(Whom::Listener(n)) => {
                        self.doors.get_mut(n).into_iter().for_each(|door| door.waits = false);
                        self.accept(n);
                    }
                    Some(Whom::Connection(n)) => {
                        self.connections.get(n).into_iter().for_each(|connection| connection.waits = false);
                        self.turn(n);
                    }
                    _ => {}
                }
            }
            let now = sys::now();
            if !self.later.is_empty() && now.saturating_sub(tried) >= REST as u64 * 1_000_000 {
                tried = now;
                self.again.extend(self.later.drain(..).map(Whom::Listener));
            }
            if now.saturating_sub(looked) > LOOK as u64 * 1_000_000 {
                looked = now;
                self.forget_silent(now);
            }
        }
    }

    /// Somebody new, or datagrams.
    fn arrive(&mut self, n: usize) {
        match self.doors.get(n).map(|door| &door.gate) {
            Some(Gate::Datagrams(_)) => self.receive(n),
            Some(Gate::Stream(_)) => self.accept(n),
            None => {}
        }
    }

    fn accept(&mut self, n: usize) {
        let Some(Door { gate: Gate::Stream(socket), to, waits }) = self.doors.get_mut(n) else { return };
        // Not all of them at once: others have work too.
        for _ in 0..64 {
            let found = if self.connections.count() < self.room {
                sys::accept(socket.as_fd())
            } else {
                Err(io::Error::from_raw_os_error(libc::EMFILE))
            };
            let client = match found {
                Ok(client) => client,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                // He has gone already.
                Err(e) if e.raw_os_error() == Some(libc::ECONNABORTED) => continue,
                Err(_) => {
                    // He waits in the queue, and we go on with those who are here: somebody will have gone soon.
                    if !std::mem::replace(waits, true) {
                        self.later.push(n);
                    }
                    return;
                }
            };
            let target = sys::inet_socket(to.is_ipv6(), true).and_then(|socket| {
                match sys::connect_with(socket.as_fd(), *to) {
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
                // Who has vanished without a word is not waited for for ever.
                let _ = sys::set_socket_option(end.as_fd(), libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
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
            self.connections.put(at, Connection { client, target, connected: false, waits: false, there, back });
        }
        if !std::mem::replace(waits, true) {
            self.again.push_back(Whom::Listener(n));
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
        let Connection { client, target, there, back, waits, .. } = connection;
        // Both, whatever becomes of the first: what somebody said before he broke off still arrives.
        let moved = [push(there, client, target, &mut self.pipes), push(back, target, client, &mut self.pipes)];
        // From where nothing is read any more an error would be noticed only when something is sent there.
        let gone = |way: &Way, from: &OwnedFd| way.ended && !matches!(sys::socket_error(from.as_fd()), Ok(0));
        if moved.iter().any(io::Result::is_err) {
            self.end(n, true);
        } else if there.told && back.told {
            self.end(n, false);
        } else if gone(there, client) || gone(back, target) {
            self.end(n, true);
        } else if moved.iter().any(|one| matches!(one, Ok(true))) && !std::mem::replace(waits, true) {
            // It has had its turns.
            self.again.push_back(Whom::Connection(n));
        }
    }

    /// A connection is over; `broken`: not as both ends would have it.
    fn end(&mut self, n: usize, broken: bool) {
        let Some(connection) = self.connections.take(n) else { return };
        if connection.waits {
            self.again.retain(|other| *other != Whom::Connection(n));
        }
        if broken {
            reset(&connection.target);
            // Who was told of an end has all that came before it, or will: a reset would take that away from him.
            if !connection.back.told {
                reset(&connection.client);
            }
        }
    }

    fn receive(&mut self, n: usize) {
        for _ in 0..64 {
            let Some(Door { gate: Gate::Datagrams(socket), .. }) = self.doors.get(n) else { return };
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
                let datagram = self.buffer.get(..length).unwrap_or_default();
                // The first may only tell that an earlier one was refused. What is refused in there is lost, as datagrams are.
                let _ = flow.socket.send(datagram).or_else(|_| flow.socket.send(datagram));
            }
        }
    }

    fn begin_flow(&mut self, listener: usize, client: SocketAddr) -> Option<usize> {
        if self.senders.len() >= FLOWS {
            let heard = |at: &usize| self.flows.places.get(*at).and_then(Option::as_ref).map_or(0, |flow| flow.heard);
            let oldest = self.senders.values().copied().min_by_key(heard)?;
            self.end_flow(oldest);
        }
        let to = self.doors.get(listener)?.to;
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
            if let Some(Door { gate: Gate::Datagrams(socket), .. }) = self.doors.get(flow.listener) {
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
        for at in gone {
            self.end_flow(at);
        }
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
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};
    use std::thread;
    use std::time::Duration;

    use super::*;

    const WAIT: Option<Duration> = Some(Duration::from_secs(20));

    fn here(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn address(one: &Listening) -> SocketAddr {
        // Any kind of socket will do for getsockname(2).
        UdpSocket::from(sys::dup(one.socket.as_fd()).unwrap()).local_addr().unwrap()
    }

    /// A forwarder to there; where it listens, and what ends it when it is closed.
    fn forwarder(protocol: Protocol, to: SocketAddr) -> (SocketAddr, OwnedFd, thread::JoinHandle<()>) {
        let one = listen(protocol, here(0), to).unwrap();
        let at = address(&one);
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
        // As many may wait there: std's own listener drops the handshakes of all but 128.
        let server = TcpListener::from(listen(Protocol::Tcp, here(0), here(0)).unwrap().socket);
        server.set_nonblocking(false).unwrap();
        let (at, end, thread) = forwarder(Protocol::Tcp, server.local_addr().unwrap());
        let echo = thread::spawn(move || {
            for _ in 0..500 {
                let (mut stream, _) = server.accept().unwrap();
                let mut four = [0; 4];
                stream.read_exact(&mut four).unwrap();
                stream.write_all(&four).unwrap();
            }
        });
        let all: Vec<TcpStream> = (0..500).map(|_| connect(at)).collect();
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

    /// A forwarder in a process of its own, which may have so few descriptors.
    #[test]
    fn with_few_descriptors_everybody_has_his_turn() {
        const CLIENTS: u8 = 60;
        const TO: &str = "CTR_TEST_FORWARD_TO";
        if let Ok(to) = std::env::var(TO) {
            sys::set_limit(NOFILE, 40, 40).unwrap();
            let one = listen(Protocol::Tcp, here(0), to.parse().unwrap()).unwrap();
            println!("\nlistening at {}", address(&one));
            serve(vec![one], sys::borrow(0));
            return;
        }
        let server = TcpListener::bind(here(0)).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "network::forward::tests::with_few_descriptors_everybody_has_his_turn"])
            .env(TO, server.local_addr().unwrap().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let at = lines.find_map(|line| line.unwrap().strip_prefix("listening at ")?.parse().ok()).unwrap();
        let echo = thread::spawn(move || {
            for _ in 0..CLIENTS {
                let (mut stream, _) = server.accept().unwrap();
                thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
            }
        });
        let mut all: Vec<TcpStream> = (0..CLIENTS).map(|_| connect(at)).collect();
        for (n, stream) in (0..).zip(&mut all) {
            stream.write_all(&[n; 5000]).unwrap();
        }
        // Who comes late has his turn when others have gone.
        for (n, mut stream) in (0..).zip(all) {
            let mut bytes = [0; 5000];
            stream.read_exact(&mut bytes).unwrap_or_else(|e| panic!("client {n}: {e}"));
            assert_eq!(bytes, [n; 5000]);
        }
        echo.join().unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn a_slow_reader_makes_the_writer_wait() {
        let server = TcpListener::bind(here(0)).unwrap();
        let (at, end, thread) = forwarder(Protocol::Tcp, server.local_addr().unwrap());
        let mut stream = connect(at);
        let (mut inside, _) = server.accept().unwrap();
        inside.set_read_timeout(WAIT).unwrap();
        // Until nothing moves any more: what the sockets and the pipe hold, and no more than that.
        stream.set_nonblocking(true).unwrap();
        let (piece, mut sent, mut idle) = (vec![5; 1 << 16], 0, 0);
        while idle < 20 {
            match stream.write(&piece) {
                Ok(n) => (sent, idle) = (sent + n, 0),
                Err(e) => {
                    assert_eq!(e.kind(), io::ErrorKind::WouldBlock);
                    idle += 1;
                    thread::sleep(Duration::from_millis(10));
                }
            }
            assert!(sent < 256 << 20);
        }
        // The other direction is not held up by that.
        inside.write_all(b"hello").unwrap();
        stream.set_nonblocking(false).unwrap();
        let mut five = [0; 5];
        stream.read_exact(&mut five).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(std::io::copy(&mut inside, &mut std::io::sink()).unwrap(), sent as u64);
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn an_answer_arrives_also_if_the_question_was_not_read() {
        let server = TcpListener::bind(here(0)).unwrap();
        let (at, end, thread) = forwarder(Protocol::Tcp, server.local_addr().unwrap());
        let question = vec![1; 100_000];
        for _ in 0..50 {
            let mut stream = connect(at);
            let (mut inside, _) = server.accept().unwrap();
            stream.write_all(&question).unwrap();
            inside.read_exact(&mut [0]).unwrap();
            inside.write_all(&[2; 10_000]).unwrap();
            // With bytes unread: that is a reset.
            drop(inside);
            let _ = stream.write_all(&question);
            stream.read_exact(&mut [0; 10_000]).unwrap();
            assert!(!matches!(stream.read(&mut [0]), Ok(1)));
        }
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn a_reset_is_passed_on_after_an_end_too() {
        let server = TcpListener::bind(here(0)).unwrap();
        let (at, end, thread) = forwarder(Protocol::Tcp, server.local_addr().unwrap());
        let stream = connect(at);
        let (mut inside, _) = server.accept().unwrap();
        inside.set_read_timeout(WAIT).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(inside.read(&mut [0]).unwrap(), 0);
        sys::set_linger(stream.as_fd(), 0).unwrap();
        drop(stream);
        let mut waits = [sys::PollFd { fd: inside.as_raw_fd(), events: 0, revents: 0 }];
        assert_eq!(sys::poll(&mut waits, 5000).unwrap(), 1);
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn who_is_not_there_yet_may_come_later() {
        let (probe, client) = (UdpSocket::bind(here(0)).unwrap(), UdpSocket::bind(here(0)).unwrap());
        let to = probe.local_addr().unwrap();
        drop(probe);
        let (at, end, thread) = forwarder(Protocol::Udp, to);
        for _ in 0..100 {
            // Each is answered by "port unreachable".
            client.send_to(b"early", at).unwrap();
        }
        // What is on its way still must not be taken for what comes next.
        thread::sleep(Duration::from_millis(100));
        let server = UdpSocket::bind(to).unwrap();
        server.set_read_timeout(WAIT).unwrap();
        client.send_to(b"late", at).unwrap();
        let mut buffer = [0; 10];
        let (length, _) = server.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"late");
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn of_many_senders_the_silent_make_room() {
        let server = UdpSocket::bind(here(0)).unwrap();
        server.set_read_timeout(WAIT).unwrap();
        let (at, end, thread) = forwarder(Protocol::Udp, server.local_addr().unwrap());
        let mut buffer = [0; 10];
        for n in 0..FLOWS + 100 {
            let client = UdpSocket::bind(here(0)).unwrap();
            client.set_read_timeout(WAIT).unwrap();
            client.send_to(&n.to_ne_bytes(), at).unwrap();
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&buffer[..length], from).unwrap();
            assert_eq!(client.recv(&mut buffer).unwrap(), length);
            assert_eq!(buffer[..length], n.to_ne_bytes());
        }
        drop(end);
        thread.join().unwrap();
    }

    #[test]
    fn a_port_can_be_listened_at_once_and_of_each_family() {
        let to = here(9);
        let one = listen(Protocol::Tcp, here(0), to).unwrap();
        let taken = listen(Protocol::Tcp, address(&one), to).unwrap_err();
        assert_eq!(taken.raw_os_error(), Some(libc::EADDRINUSE));
        let both = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), address(&one).port());
        // A host without IPv6 has no such address.
        match listen(Protocol::Tcp, both, to) {
            Ok(six) => assert_eq!(address(&six).port(), address(&one).port()),
            Err(e) => assert!(matches!(e.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::EAFNOSUPPORT)), "{e}"),
        }
    }
}
