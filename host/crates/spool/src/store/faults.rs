//! Faults on request, for the store in memory.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::StoreError;
use super::memory::{Images, Memory};
use crate::error::OpenError;
use crate::options::Options;
use crate::spool::Spool;

#[derive(Debug)]
struct Wanted {
    syncs_until_failure: Option<u64>,
    held: bool,
    waiting: bool,
    refuse_full: bool,
    free_bytes: u64,
    dead: bool,
}

/// The handle by which a test makes a spool in memory fail.
#[derive(Debug, Clone)]
pub struct Faults {
    images: Arc<Mutex<Images>>,
    wanted: Arc<(Mutex<Wanted>, Condvar)>,
}

impl Faults {
    pub(super) fn new(images: Arc<Mutex<Images>>) -> Self {
        let wanted = Wanted {
            syncs_until_failure: None,
            held: false,
            waiting: false,
            refuse_full: false,
            free_bytes: u64::MAX,
            dead: false,
        };
        Self { images, wanted: Arc::new((Mutex::new(wanted), Condvar::new())) }
    }

    /// The next sync fails, as a disk does.
    pub fn fail_next_sync(&self) {
        self.fail_sync_after(0);
    }

    /// The sync after `syncs` good ones fails.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.change(|wanted| wanted.syncs_until_failure = Some(syncs));
    }

    /// Holds every write back until [`Self::release`].
    pub fn hold(&self) {
        self.change(|wanted| wanted.held = true);
    }

    /// Lets writes go on.
    pub fn release(&self) {
        self.change(|wanted| wanted.held = false);
    }

    /// Blocks until a write is held back, so that whatever is committed next waits behind it.
    pub fn wait_until_held(&self) {
        let mut wanted = self.wanted();
        while !(wanted.held && wanted.waiting) {
            wanted = self.wanted.1.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next write finds no room, nothing of it is kept, and the one after finds some again.
    pub fn refuse_next_write(&self) {
        self.change(|wanted| wanted.refuse_full = true);
    }

    /// What the pretended file system has left.
    pub fn set_free_bytes(&self, free_bytes: u64) {
        self.change(|wanted| wanted.free_bytes = free_bytes);
    }

    /// Stops the machine: opens a spool with what was synced, and fails the old one.
    ///
    /// # Errors
    /// As [`Spool::open_memory`].
    pub fn crash(&self, options: Options) -> Result<(Spool, Self), OpenError> {
        self.crash_keeping(0, options)
    }

    /// As [`Self::crash`], when the first `unsynced` of the unsynced groups had reached the disk
    /// anyway.
    ///
    /// # Errors
    /// As [`Spool::open_memory`].
    pub fn crash_keeping(
        &self,
        unsynced: usize,
        options: Options,
    ) -> Result<(Spool, Self), OpenError> {
        self.change(|wanted| wanted.dead = true);
        let images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let (memory, faults) = Memory::from_image(images.after_crash(unsynced));
        Ok((Spool::in_memory(memory, options)?, faults))
    }

    pub(super) fn before_write(&self) -> Result<(), StoreError> {
        let mut wanted = self.wanted();
        while wanted.held && !wanted.dead {
            wanted.waiting = true;
            self.wanted.1.notify_all();
            wanted = self.wanted.1.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
        wanted.waiting = false;
        if wanted.dead {
            return Err(StoreError::Broken("the machine stopped".to_owned()));
        }
        if std::mem::take(&mut wanted.refuse_full) { Err(StoreError::Full) } else { Ok(()) }
    }

    pub(super) fn before_sync(&self) -> Result<(), StoreError> {
        let mut wanted = self.wanted();
        if wanted.dead {
            return Err(StoreError::Broken("the machine stopped".to_owned()));
        }
        match &mut wanted.syncs_until_failure {
            Some(0) => Err(StoreError::Broken("injected: Input/output error".to_owned())),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.wanted().free_bytes
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.wanted());
        self.wanted.1.notify_all();
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
