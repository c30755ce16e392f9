//! Tar archives from a file tree, and into one.
//!
//! The `tar` crate knows the format: what stands where in a header, octal and binary numbers, checksums. It is not asked to
//! touch a file (its own unpacking follows links: CVE-2026-70622), nor to follow an archive from header to header (it would
//! keep whatever a long name claims to be in memory). Trees are read by [`Walk`](crate::walk::Walk) and written by
//! [`put`](crate::put), as when they are copied.
//!
//! [`read`] goes from entry to entry; [`write`](mod@write) makes an archive, [`extract`](mod@extract) a tree.

pub mod extract;
pub mod read;
pub mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use extract::extract;
pub use write::write;

/// Everything in an archive comes in blocks of this size.
pub const BLOCK: usize = 512;

/// What is missing to whole blocks.
pub fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
