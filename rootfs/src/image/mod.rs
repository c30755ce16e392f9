//! Images: what the world ships, in layers.
//!
//! [`reference`](mod@reference) is what people call one; [`document`] what it says about itself; [`digest`] names bytes by their
//! content; [`compress`] unpacks a stream; [`layer`] makes a directory of a layer's archive, as overlayfs wants it, and [`recipe`] the
//! archive again. The [`store`] is where all of it is kept; [`archive`]
//! what others write of theirs and read of ours.

pub mod archive;
pub mod compress;
pub mod digest;
pub mod document;
pub mod layer;
pub mod recipe;
pub mod reference;
pub mod store;
#[cfg(test)]
mod tests;
