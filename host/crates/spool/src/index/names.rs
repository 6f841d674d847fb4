//! Names of targets as small numbers. They come from configuration, so they are few and are kept.

use std::collections::HashMap;
use std::sync::Arc;

/// Every name ever seen, in the order of its first appearance.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_number: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
}

impl Names {
    pub(super) fn intern(&mut self, name: &Arc<str>) -> u32 {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let number = u32::try_from(self.by_number.len()).unwrap_or(u32::MAX);
        self.by_number.push(Arc::clone(name));
        self.by_name.insert(Arc::clone(name), number);
        number
    }

    pub(super) fn find(&self, name: &Arc<str>) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn name(&self, number: u32) -> Option<&Arc<str>> {
        self.by_number.get(usize::try_from(number).ok()?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_number.iter()
    }

    pub(super) fn all(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.by_number.len()).unwrap_or(u32::MAX)
    }
}
