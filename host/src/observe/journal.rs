//! placeholder
use crate::observe::event::Event;
/// J
#[derive(Clone, Debug)]
pub struct Journal;
impl Journal {
    /// r
    pub fn record(&self, _e: Vec<Event>) {}
    /// n
    pub fn none() -> Self { Self }
}
/// o
#[derive(Clone, Copy, Debug)]
pub struct Options { /// f
 pub file_bytes_max: u64, /// m
 pub files_max: u32 }
impl Journal { /// o
 /// # Errors
 /// x
 pub fn open(_p: &std::path::Path, _o: Options) -> std::io::Result<Self> { Ok(Self) }
 /// f
 pub fn flush(&self) {} }
