//! Who gets a slot.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use super::{Slot, Slots, Tenancy, Waiting};

/// The instances of a plugin that wait.
#[derive(Default)]
struct Idle(Mutex<Vec<Slot>>);

impl Waiting for Idle {
    fn give_back(&self) -> bool {
        let slot = self.0.lock().unwrap().pop();
        slot.is_some()
    }

    fn shrink(&self) {}
}

struct Plugin {
    idle: Arc<Idle>,
    tenancy: Tenancy,
}

fn join(slots: &Arc<Slots>, most: usize) -> Plugin {
    let idle: Arc<Idle> = Arc::default();
    let weak: Weak<Idle> = Arc::downgrade(&idle);
    Plugin { tenancy: slots.join(most, weak), idle }
}

impl Plugin {
    /// Everything that it can get at once.
    fn take_all(&self) -> Vec<Slot> {
        std::iter::from_fn(|| self.tenancy.take_now()).collect()
    }

    fn idles(&self) -> usize {
        self.idle.0.lock().unwrap().len()
    }

    fn let_wait(&self, slots: Vec<Slot>) {
        self.idle.0.lock().unwrap().extend(slots);
    }
}

fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn a_plugin_alone_may_have_all_slots() {
    let slots = Slots::new(8);
    assert_eq!(join(&slots, 64).take_all().len(), 8);
    assert_eq!(join(&slots, 3).take_all().len(), 8);
}

#[test]
fn what_is_promised_to_others_is_not_lent() {
    let slots = Slots::new(8);
    let (busy, quiet) = (join(&slots, 64), join(&slots, 64));
    let taken = busy.take_all();
    assert_eq!(taken.len(), 6);
    let quiet = quiet.take_all();
    assert_eq!(quiet.len(), 2);
    // A third is promised something only once it is there.
    let third = join(&slots, 64);
    assert_eq!(third.take_all().len(), 0);
    drop(taken);
    assert_eq!(third.take_all().len(), 5);
}

#[test]
fn a_small_plugin_is_promised_no_more_than_it_may_use() {
    let slots = Slots::new(8);
    let (small, large) = (join(&slots, 1), join(&slots, 64));
    let large = large.take_all();
    assert_eq!(large.len(), 7);
    assert_eq!(small.take_all().len(), 1);
}

#[test]
fn instances_that_wait_go_for_those_that_have_work() {
    let slots = Slots::new(16);
    let first = join(&slots, 64);
    let all = first.take_all();
    assert_eq!(all.len(), 16);
    first.let_wait(all);
    let second = join(&slots, 64);
    let taken = second.take_all();
    // What the first is promised stays with it: a half, shared by two.
    assert_eq!((taken.len(), first.idles()), (12, 4));
}

#[test]
fn a_plugin_without_an_instance_gets_one_though_there_are_more_plugins_than_slots() {
    let slots = Slots::new(2);
    let plugins: Vec<_> = (0..5).map(|_| join(&slots, 64)).collect();
    for plugin in &plugins {
        let slot = plugin.tenancy.take_now().unwrap();
        plugin.let_wait(vec![slot]);
    }
    assert_eq!(plugins.iter().map(Plugin::idles).sum::<usize>(), 2);
}

#[test]
fn a_call_waits_and_those_within_their_share_come_first() {
    let slots = Slots::new(4);
    let greedy = join(&slots, 64);
    let mut taken = greedy.take_all();
    let mut more = pin!(greedy.tenancy.take());
    assert!(poll(more.as_mut()).is_none());
    let modest = join(&slots, 64);
    let mut first = pin!(modest.tenancy.take());
    assert!(poll(first.as_mut()).is_none());
    assert!(greedy.tenancy.is_missed_elsewhere() && !modest.tenancy.is_missed_elsewhere());
    drop(taken.pop());
    assert!(poll(more.as_mut()).is_none());
    let slot = poll(first.as_mut()).unwrap();
    assert!(slot.is_some());
    drop(taken.pop());
    assert!(poll(more.as_mut()).unwrap().is_some());
    assert!(!greedy.tenancy.is_missed_elsewhere());
}

#[test]
fn a_turn_that_is_given_up_is_the_next_ones() {
    let slots = Slots::new(2);
    let plugin = join(&slots, 64);
    let mut taken = plugin.take_all();
    {
        let mut given_up = pin!(plugin.tenancy.take());
        assert!(poll(given_up.as_mut()).is_none());
        // It has its slot already when it goes.
        drop(taken.pop());
    }
    let mut next = pin!(plugin.tenancy.take());
    assert!(poll(next.as_mut()).unwrap().is_some());
    for _ in 0..3 {
        let mut given_up = pin!(plugin.tenancy.take());
        assert!(poll(given_up.as_mut()).is_none() || taken.len() < 2);
    }
    drop(taken);
    assert_eq!(plugin.take_all().len(), 2);
}

#[test]
fn a_plugin_that_goes_leaves_its_share_to_those_that_wait() {
    let slots = Slots::new(4);
    let (stays, goes) = (join(&slots, 64), join(&slots, 64));
    let taken = stays.take_all();
    assert_eq!(taken.len(), 3);
    let mut waits = pin!(stays.tenancy.take());
    assert!(poll(waits.as_mut()).is_none());
    drop(goes);
    assert!(poll(waits.as_mut()).unwrap().is_some());
}

#[test]
fn loading_has_slots_of_its_own() {
    let slots = Slots::new(1);
    let plugin = join(&slots, 64);
    let _all = plugin.take_all();
    assert!(poll(pin!(slots.for_loading())).unwrap().is_some());
}
