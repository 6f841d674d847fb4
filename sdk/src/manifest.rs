//! The module's manifest: a JSON text in the custom section `wirepost:manifest`, which the host reads before
//! any code runs.

/// The version of the interface that this SDK is built for.
pub const API: &str = "0.9.0";

/// The version of this SDK.
pub const SDK: &str = env!("CARGO_PKG_VERSION");

/// The texts that make up the manifest of the crate that expands this.
#[doc(hidden)]
#[macro_export]
macro_rules! manifest_parts {
    ($($hook:ident),*) => {
        [
            "{\"api\":\"",
            $crate::manifest::API,
            "\",\"name\":\"",
            ::core::env!("CARGO_PKG_NAME"),
            "\",\"version\":\"",
            ::core::env!("CARGO_PKG_VERSION"),
            "\",\"sdk\":\"",
            $crate::manifest::SDK,
            "\",\"hooks\":[\"on-message\"",
            $($crate::hook_name!($hook),)*
            "]}",
        ]
    };
}

/// How the manifest names a hook.
#[doc(hidden)]
#[macro_export]
macro_rules! hook_name {
    (on_lookup) => {
        ",\"on-lookup\""
    };
    (on_receipt) => {
        ",\"on-receipt\""
    };
}

/// Octets of the joined parts.
#[must_use]
pub const fn len(parts: &[&str]) -> usize {
    let (mut total, mut part) = (0, 0);
    while part < parts.len() {
        total += parts[part].len();
        part += 1;
    }
    total
}

/// The joined parts; `N` is their [`len`].
#[must_use]
pub const fn join<const N: usize>(parts: &[&str]) -> [u8; N] {
    let mut joined = [0; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let bytes = parts[part].as_bytes();
        let mut byte = 0;
        while byte < bytes.len() {
            joined[at] = bytes[byte];
            at += 1;
            byte += 1;
        }
        part += 1;
    }
    joined
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_manifest_is_json_with_the_name_of_the_crate() {
        const PARTS: &[&str] = &crate::manifest_parts!();
        const BYTES: [u8; super::len(PARTS)] = super::join(PARTS);
        let manifest: serde_json::Value = serde_json::from_slice(&BYTES).unwrap();
        assert_eq!(manifest["name"], "wirepost-sdk");
        assert_eq!(manifest["hooks"][0], "on-message");
        const MORE: &[&str] = &crate::manifest_parts!(on_lookup, on_receipt);
        const LONGER: [u8; super::len(MORE)] = super::join(MORE);
        let manifest: serde_json::Value = serde_json::from_slice(&LONGER).unwrap();
        assert_eq!(manifest["hooks"][2], "on-receipt");
    }
}
