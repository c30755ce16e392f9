//! Images: what the world ships, in layers.
//!
//! [`digest`] names bytes by their content; [`compress`] unpacks a stream; [`layer`] makes a directory of a layer's archive, as
//! overlayfs wants it, and [`recipe`] the archive again.

pub mod compress;
pub mod digest;
pub mod layer;
pub mod recipe;
#[cfg(test)]
mod tests;
