//! What a plugin may ask beyond its message: the log, keys, metrics, tables, targets, look-ups, clocks.

use super::super::bindings::wirepost::plugin::types::Error;
use super::super::bindings::wirepost::plugin::{
    clock, kv, log, lookup, metrics, random, tables, targets,
};
use super::super::env::{Ask, Metric};
use super::super::kv::{Bucket, Clocks, expiry};
use super::super::limits::ASK_KEY_BYTES_MAX;
use super::super::session::Context;
use super::super::translate::{lift_level, size};

impl log::Host for Context {
    fn enabled(&mut self, level: log::Level) -> bool {
        let level = lift_level(level);
        self.session.as_ref().is_some_and(|session| session.env.log_enabled(level))
    }

    fn write(&mut self, level: log::Level, text: String, fields: Vec<(String, String)>) {
        let named = fields.iter().map(|(name, value)| name.len().saturating_add(value.len()));
        self.copy(named.sum::<usize>().saturating_add(text.len()));
        if let Some(session) = &mut self.session {
            session.log(lift_level(level), &text, fields);
        }
    }
}

impl kv::Host for Context {
    async fn get(&mut self, key: String) -> Result<Option<Vec<u8>>, Error> {
        self.copy(key.len());
        let session = self.session()?;
        let value = session.kv.get(&*session.env, &key).await?;
        self.copy(value.as_ref().map_or(0, Vec::len));
        Ok(value)
    }

    async fn set(&mut self, key: String, value: Vec<u8>, ttl_ms: Option<u64>) -> Result<(), Error> {
        self.copy(key.len().saturating_add(value.len()));
        let session = self.session()?;
        let expires = expiry(session.now(), ttl_ms);
        Ok(session.kv.set(&*session.env, &key, value, expires).await?)
    }

    async fn set_if_absent(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> Result<bool, Error> {
        self.copy(key.len().saturating_add(value.len()));
        let session = self.session()?;
        let expires = expiry(session.now(), ttl_ms);
        Ok(session.kv.set_if_absent(&*session.env, &key, value, expires).await?)
    }

    async fn delete(&mut self, key: String) -> Result<bool, Error> {
        self.copy(key.len());
        let session = self.session()?;
        Ok(session.kv.delete(&*session.env, &key).await?)
    }

    fn add(&mut self, key: String, by: i64, ttl_ms: Option<u64>) -> Result<i64, Error> {
        self.copy(key.len());
        let session = self.session()?;
        let clocks = Clocks { now: session.now(), monotonic: session.env.monotonic() };
        Ok(session.kv.counters().add(&key, by, clocks, expiry(clocks.now, ttl_ms))?)
    }

    fn take(&mut self, key: String, per_second: f64, burst: f64, cost: f64) -> Result<(), u64> {
        self.copy(key.len());
        let Ok(session) = self.session() else { return Err(0) };
        let clocks = Clocks { now: session.now(), monotonic: session.env.monotonic() };
        let taken = session.kv.counters().take(&key, Bucket { per_second, burst, cost }, clocks);
        taken.map_err(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1))
    }
}

impl metrics::Host for Context {
    fn add(&mut self, name: String, by: u64) {
        self.metric(&name, Metric::Add(by));
    }

    fn gauge(&mut self, name: String, value: f64) {
        self.metric(&name, Metric::Gauge(value));
    }

    fn observe(&mut self, name: String, value: f64) {
        self.metric(&name, Metric::Observe(value));
    }
}

impl Context {
    fn metric(&mut self, name: &str, metric: Metric) {
        self.copy(name.len());
        if let Some(session) = &self.session
            && session.shared.told.note(name, metric)
        {
            session.env.metric(&session.shared.config.name, name, metric);
        }
    }
}

impl tables::Host for Context {
    fn lookup(&mut self, table: String, key: String) -> Option<String> {
        self.charge(table.len().saturating_add(key.len()));
        let value = self.session.as_ref()?.env.lookup(&table, &key)?.to_string();
        self.copy(value.len());
        Some(value)
    }

    fn lookup_prefix(&mut self, table: String, key: String) -> Option<(String, String)> {
        self.charge(table.len().saturating_add(key.len()));
        let (prefix, value) = self.session.as_ref()?.env.lookup_prefix(&table, &key)?;
        self.copy(prefix.len().saturating_add(value.len()));
        Some((prefix, value.to_string()))
    }

    fn lookup_ip(&mut self, table: String, ip: String) -> Option<String> {
        self.charge(table.len().saturating_add(ip.len()));
        let address = ip.parse().ok()?;
        let value = self.session.as_ref()?.env.lookup_ip(&table, address)?.to_string();
        self.copy(value.len());
        Some(value)
    }
}

impl targets::Host for Context {
    fn state(&mut self, name: String) -> Option<targets::TargetState> {
        self.copy(name.len());
        let session = self.session.as_ref()?;
        if !session.shared.config.grants.targets.iter().any(|granted| **granted == *name) {
            return None;
        }
        let state = session.env.target(&name)?;
        let (up, queued, per_second) = (state.up, state.queued, state.per_second);
        Some(targets::TargetState { name, up, queued, per_second })
    }
}

impl lookup::Host for Context {
    fn ask(&mut self, name: String, key: String) -> Result<u32, Error> {
        self.copy(name.len().saturating_add(key.len()));
        let session = self.session()?;
        if key.len() > ASK_KEY_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        // A key of dots alone would lead to another place of a path.
        if key.bytes().all(|octet| octet == b'.') || key.chars().any(char::is_control) {
            return Err(Error::Invalid);
        }
        if !session.env.knows_lookup(&name) {
            return Err(Error::NotFound);
        }
        session.ask(Ask { name: name.into(), key: key.into() }).ok_or(Error::Exhausted)
    }
}

impl clock::Host for Context {
    fn now_ms(&mut self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.env.now().as_ms())
    }

    fn monotonic_ns(&mut self) -> u64 {
        let now = self.session.as_ref().map(|session| session.env.monotonic().as_nanos());
        now.map_or(0, |ns| u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

impl random::Host for Context {
    fn next(&mut self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.env.random())
    }

    fn bytes(&mut self, count: u32) -> Vec<u8> {
        const BYTES_MAX: u32 = 1024;
        let count = size(count.min(BYTES_MAX));
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&random::Host::next(self).to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}
