//! How many connections may come in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// The counts of one door.
#[derive(Debug, Default)]
pub(super) struct Gate {
    connections: Mutex<Connections>,
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
}
