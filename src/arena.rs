//! Memory: a fixed piece that is handed out once, then the C library's allocator.
//!
//! ctr allocates a few dozen KiB and ends, or goes to sleep. musl's allocator asks the kernel for memory in small pieces
//! and gives each back: two dozen system calls that a run need not make. So the first [`SIZE`] bytes come from a piece
//! of the binary's own zeroed memory (which costs pages only when touched) and are never given back; of what is freed of it, the
//! last piece and the largest other one ([`HOLE`]) are used again. A process that needs more, or lives long, gets the rest from libc.
//! Whoever goes to sleep gives back the pages in which nothing is in use any more ([`forget`]).
//!
//! In the `fault` build it also proves the child's first rule: whoever allocates on a child's stack ends at once.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering};

/// How much there is before libc is asked.
const SIZE: usize = 160 * 1024;

#[repr(align(4096))] // PAGE
struct Piece(UnsafeCell<[u8; SIZE]>);

// SAFETY: every byte is handed out at most once, by an atomic counter.
unsafe impl Sync for Piece {}

static PIECE: Piece = Piece(UnsafeCell::new([0; SIZE]));
static USED: AtomicUsize = AtomicUsize::new(0);

/// What the kernel hands out and takes back.
const PAGE: usize = 4096;

/// How many of the pieces in use touch each page.
static IN_USE: [AtomicU16; SIZE / PAGE] = [const { AtomicU16::new(0) }; SIZE / PAGE];

/// The pages that a place touches.
fn pages(start: usize, length: usize) -> &'static [AtomicU16] {
    IN_USE.get(start / PAGE..(start + length).div_ceil(PAGE)).unwrap_or(&[])
}

/// A place is in use from here on.
fn used(start: usize, length: usize) {
    for page in pages(start, length) {
        page.fetch_add(1, Ordering::Relaxed);
    }
}

/// A place is not in use any more.
fn unused(start: usize, length: usize) {
    for page in pages(start, length) {
        page.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives the kernel back every page in which nothing is in use; whoever is handed it later finds zeroes.
///
/// For a process with one thread: between a look at a page and its end nobody else may be handed a place in it.
pub fn forget() {
    let free = |page: &usize| IN_USE[*page].load(Ordering::Relaxed) == 0;
    let mut page = 0;
    let last = USED.load(Ordering::Relaxed).div_ceil(PAGE);
    while page < last {
        let length = (page..last).take_while(free).count();
        if length > 0 {
            // SAFETY: whole pages of the piece, which nothing in use touches.
            let unused = unsafe {
                std::slice::from_raw_parts_mut(piece().add(page * PAGE).cast::<MaybeUninit<u8>>(), length * PAGE)
            };
            crate::sys::forget_content(unused);
        }
        page += length + 1;
    }
}

/// One free place below [`USED`]: where it begins and, in the upper half, how long it is. Whoever uses it takes it out first.
static HOLE: AtomicU64 = AtomicU64::new(0);

fn split(hole: u64) -> (usize, usize) {
    ((hole & u64::from(u32::MAX)) as usize, (hole >> 32) as usize)
}

/// Remembers a free place, if it is larger than the one that is known.
fn leave(start: usize, length: usize) {
    let hole = HOLE.load(Ordering::Relaxed);
    if length > split(hole).1 {
        let _ =
            HOLE.compare_exchange(hole, (length as u64) << 32 | start as u64, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// A place in the hole.
fn from_hole(layout: Layout) -> Option<usize> {
    let hole = HOLE.load(Ordering::Relaxed);
    let (start, length) = split(hole);
    let place = start.next_multiple_of(layout.align());
    let rest = length.checked_sub(place - start)?.checked_sub(layout.size())?;
    let after = (rest as u64) << 32 | (place + layout.size()) as u64;
    HOLE.compare_exchange(hole, after, Ordering::Relaxed, Ordering::Relaxed).is_ok().then_some(place)
}

/// The allocator of this program.
struct Arena;

#[global_allocator]
static ARENA: Arena = Arena;

fn piece() -> *mut u8 {
    PIECE.0.get().cast()
}

/// Without memory there is nothing left to do; Rust's own answer would be abort(), a signal and perhaps a core.
fn memory_or_end(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        let _ = crate::sys::write(crate::sys::borrow(2), b"ctr: out of memory\n");
        crate::sys::exit(i32::from(crate::error::exit::CTR));
    }
    memory
}

fn is_ours(memory: *mut u8) -> bool {
    (piece() as usize..piece() as usize + SIZE).contains(&(memory as usize))
}

// SAFETY: memory from the piece is aligned as asked, inside the piece, and never handed out twice (`fetch_update`);
// everything else is System's, which keeps the contract itself.
unsafe impl GlobalAlloc for Arena {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        #[cfg(feature = "fault")]
        child::forbid();
        if let Some(start) = from_hole(layout) {
            used(start, layout.size());
            // SAFETY: a hole is inside of the piece, and whoever has taken a part of it out has it alone.
            return unsafe { piece().add(start) };
        }
        let place = |end: usize| {
            let start = end.next_multiple_of(layout.align());
            start.checked_add(layout.size()).filter(|end| *end <= SIZE).map(|end| (start, end))
        };
        // Layouts beyond a page's alignment do not occur; System would take them.
        let taken = if layout.align() > PAGE {
            None
        } else {
            USED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |end| place(end).map(|(_, end)| end)).ok()
        };
        match taken.and_then(place) {
            Some((start, _)) => {
                used(start, layout.size());
                // SAFETY: `start` is inside the piece.
                unsafe { piece().add(start) }
            }
            // SAFETY: the caller's contract, passed on.
            None => memory_or_end(unsafe { System.alloc(layout) }),
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if !is_ours(memory) {
            // SAFETY: what is not ours came from System.
            unsafe { System.dealloc(memory, layout) };
            return;
        }
        // The last one can be taken back, which makes growing vectors cheap.
        let start = memory as usize - piece() as usize;
        unused(start, layout.size());
        if USED.compare_exchange(start + layout.size(), start, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            leave(start, layout.size());
        }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_ours(memory) {
            // SAFETY: what is not ours came from System.
            return memory_or_end(unsafe { System.realloc(memory, layout, size) });
        }
        let start = memory as usize - piece() as usize;
        if size <= layout.size() {
            unused(start, layout.size());
            used(start, size);
            return memory;
        }
        // The last one can grow in place.
        let grown = start.checked_add(size).is_some_and(|end| {
            end <= SIZE
                && USED.compare_exchange(start + layout.size(), end, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        });
        if grown {
            unused(start, layout.size());
            used(start, size);
            return memory;
        }
        // SAFETY: a layout with the same alignment and a size that the caller vouches for; the copy stays within both.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(memory, new, layout.size());
            }
            unused(start, layout.size());
            leave(start, layout.size());
            new
        }
    }
}

/// Which part of memory is a child's stack at the moment.
#[cfg(feature = "fault")]
pub mod child {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static FROM: AtomicUsize = AtomicUsize::new(0);
    static TO: AtomicUsize = AtomicUsize::new(0);

    /// From now on whoever allocates with a stack pointer in this range is a child that breaks the rule.
    pub fn stack(from: usize, to: usize) {
        FROM.store(from, Ordering::SeqCst);
        TO.store(to, Ordering::SeqCst);
    }

    /// Ends the process if it is such a child.
    pub fn forbid() {
        let here = 0u8;
        let place = std::ptr::from_ref(&here) as usize;
        if (FROM.load(Ordering::SeqCst)..TO.load(Ordering::SeqCst)).contains(&place) {
            let _ = crate::sys::write(
                crate::sys::borrow(2),
                b"ctr: the child allocated memory between clone3 and execve\n",
            );
            crate::sys::exit(99);
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_was_freed_is_used_again_once() {
        for length in [5000usize, 300, 70] {
            let (large, after) = (vec![1u8; length], vec![2u8; 10]);
            drop(large);
            let all: Vec<Vec<u8>> = (0..20u8).map(|n| vec![n; length / 10]).collect();
            for (n, one) in (0u8..).zip(&all) {
                assert!(one.iter().all(|byte| *byte == n) && after.iter().all(|byte| *byte == 2));
            }
        }
    }

    #[test]
    fn memory_is_handed_out_once_and_grows() {
        let mut all: Vec<Vec<u8>> = (0..64u8).map(|n| vec![n; 100 + usize::from(n)]).collect();
        for (n, one) in (0u8..).zip(&mut all) {
            one.extend(std::iter::repeat_n(n, 5000));
        }
        for (n, one) in (0u8..).zip(&all) {
            assert!(one.iter().all(|byte| *byte == n) && one.len() == 5100 + usize::from(n));
        }
    }
}
