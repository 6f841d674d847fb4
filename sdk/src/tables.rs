//! Look-up tables that the operator names in the YAML; the host loads and swaps them.

use crate::backend;

/// The value of a key.
#[must_use]
pub fn lookup(table: &str, key: &str) -> Option<String> {
    backend::table_lookup(table, key)
}

/// The longest prefix of `key` that the table knows, and its value.
#[must_use]
pub fn lookup_prefix(table: &str, key: &str) -> Option<(String, String)> {
    backend::table_lookup_prefix(table, key)
}

/// The value of the smallest network that holds this IP address.
#[must_use]
pub fn lookup_ip(table: &str, ip: &str) -> Option<String> {
    backend::table_lookup_ip(table, ip)
}
