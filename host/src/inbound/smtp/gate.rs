//! How many may come in, and how much memory their messages may take.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Memory for messages that are coming in through one door; beyond it DATA is answered 452.
const DRAFT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What a message is taken to need before it says more.
const DRAFT_BYTES_MIN: usize = 64 * 1024;

/// The counts of one door.
#[derive(Debug, Default)]
pub(super) struct Gate {
    connections: Mutex<Connections>,
    draft_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Connections {
    count: u32,
    by_ip: HashMap<IpAddr, u32>,
}

/// A connection that was let in, until it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    ip: IpAddr,
}

impl Gate {
    /// Lets a connection in, unless there are too many.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr, max: u32, per_ip_max: u32) -> Option<Pass> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let of_ip = connections.by_ip.get(&ip).copied().unwrap_or(0);
        if connections.count >= max || of_ip >= per_ip_max {
            return None;
        }
        connections.count += 1;
        connections.by_ip.insert(ip, of_ip + 1);
        drop(connections);
        Some(Pass { gate: Arc::clone(self), ip })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut connections = self.gate.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.count = connections.count.saturating_sub(1);
        if let Some(of_ip) = connections.by_ip.get_mut(&self.ip) {
            *of_ip -= 1;
            if *of_ip == 0 {
                connections.by_ip.remove(&self.ip);
            }
        }
    }
}

/// Memory set aside for a message, until it is dropped.
#[derive(Debug)]
pub(super) struct DraftBytes {
    gate: Arc<Gate>,
    bytes: usize,
}

impl DraftBytes {
    /// Sets memory aside for a message of the announced size; none if there is no room.
    pub(super) fn reserve(gate: &Arc<Gate>, announced: u64) -> Option<Self> {
        let mut reserved = Self { gate: Arc::clone(gate), bytes: 0 };
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        reserved.grow_to(announced.max(DRAFT_BYTES_MIN)).then_some(reserved)
    }

    /// Makes it this much; false if there is no room.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let fits = |used: usize| used.checked_add(more).filter(|used| *used <= DRAFT_BYTES_MAX);
        let used = &self.gate.draft_bytes;
        let grown =
            more == 0 || used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if grown {
            self.bytes = self.bytes.max(bytes);
        }
        grown
    }
}

impl Drop for DraftBytes {
    fn drop(&mut self) {
        self.gate.draft_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_by_address_and_in_all() {
        let gate = Arc::new(Gate::default());
        let (a, b) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let first = gate.enter(a, 3, 2).unwrap();
        let _second = gate.enter(a, 3, 2).unwrap();
        assert!(gate.enter(a, 3, 2).is_none());
        let _third = gate.enter(b, 3, 2).unwrap();
        assert!(gate.enter(b, 3, 2).is_none());
        drop(first);
        assert!(gate.enter(a, 3, 2).is_some());
    }

    #[test]
    fn memory_for_messages_has_a_bound_and_comes_back() {
        let gate = Arc::new(Gate::default());
        let half = u64::try_from(DRAFT_BYTES_MAX / 2).unwrap();
        let first = DraftBytes::reserve(&gate, half).unwrap();
        let mut second = DraftBytes::reserve(&gate, 1).unwrap();
        assert!(!second.grow_to(DRAFT_BYTES_MAX));
        drop(first);
        assert!(second.grow_to(DRAFT_BYTES_MAX));
        drop(second);
        assert_eq!(gate.draft_bytes.load(Ordering::Relaxed), 0);
    }
}
