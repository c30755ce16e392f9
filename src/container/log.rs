//! stub
use crate::clock::Time;
use std::os::fd::BorrowedFd;
#[derive(Clone, Copy)]
pub enum Stream {
    Stdout,
    Stderr,
}
pub struct Limits {
    pub max_size: u64,
    pub max_files: u32,
}
impl Default for Limits {
    fn default() -> Limits {
        Limits { max_size: 10 << 20, max_files: 3 }
    }
}
pub struct Writer;
impl Writer {
    pub fn open(_d: BorrowedFd, _l: Limits) -> Writer {
        Writer
    }
    pub fn append(&mut self, _d: BorrowedFd, _s: Stream, _b: &[u8], _t: Time) {}
    pub fn finish(&mut self, _d: BorrowedFd, _t: Time) {}
    pub fn attend(&mut self, _d: BorrowedFd) {}
    pub fn wants_attention(&self) -> bool {
        false
    }
    pub fn dropped(&self) -> (u64, u64) {
        (0, 0)
    }
}
