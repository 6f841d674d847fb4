//! What an author implements, and the macros that make a module of it.

use serde::de::DeserializeOwned;

use crate::{Message, Verdict};

/// What a plugin may fail with: any error, or a text by `.into()`.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The result of a plugin's functions.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// A plugin with a configuration and a state.
///
/// The host keeps several instances and replaces them now and then (and all of them when the module or its
/// configuration changes), so a state is a cache. What must survive goes into [`crate::kv`].
pub trait Plugin: Sized {
    /// The plugin's block `config:` in the YAML.
    type Config: DeserializeOwned;

    /// Builds one instance. An error refuses the module: what ran before goes on.
    ///
    /// # Errors
    /// Whatever makes the configuration unusable, in words for the operator.
    fn new(config: Self::Config) -> Result<Self>;

    /// Decides about one message. Edits and `kv` writes count only if this returns `Ok`.
    ///
    /// # Errors
    /// A failure of the plugin, not of the message: the operator's `on_error` decides what happens.
    fn process(&mut self, message: &mut Message<'_>) -> Result<Verdict>;
}

/// What a filter function may return.
pub trait IntoVerdict {
    /// The verdict, or the failure.
    ///
    /// # Errors
    /// The failure that the function returned.
    fn into_verdict(self) -> Result<Verdict>;
}

impl IntoVerdict for Verdict {
    fn into_verdict(self) -> Result<Verdict> {
        Ok(self)
    }
}

impl IntoVerdict for Result<Verdict> {
    fn into_verdict(self) -> Result<Verdict> {
        self
    }
}

/// The configuration of a filter function: none.
#[derive(Debug, Default)]
pub struct NoConfig;

impl<'de> serde::Deserialize<'de> for NoConfig {
    fn deserialize<D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        Option::<Nothing>::deserialize(deserializer).map(|_| Self)
    }
}

/// Reads the JSON that the host hands to `init`. No configuration at all is an empty object.
///
/// # Errors
/// What serde says, with line and column.
pub fn parse_config<C: DeserializeOwned>(json: &str) -> std::result::Result<C, String> {
    let json = if matches!(json.trim(), "" | "null") { "{}" } else { json };
    match serde_json::from_str(json) {
        Ok(config) => Ok(config),
        // A unit configuration is `null` to serde, an empty block to an operator.
        Err(error) => (json == "{}")
            .then(|| serde_json::from_str("null").ok())
            .flatten()
            .ok_or_else(|| error.to_string()),
    }
}

/// Makes a module of a type that implements [`Plugin`](trait@crate::Plugin). Hooks that it has besides are
/// named after it: `plugin!(Type, on_lookup)` for [`OnLookup`](crate::lookup::OnLookup), `on_receipt` for
/// [`OnReceipt`](crate::receipt::OnReceipt).
///
/// ```
/// use wirepost_sdk::prelude::*;
///
/// struct Brand(String);
/// plugin!(Brand);
///
/// impl Plugin for Brand {
///     type Config = String;
///     fn new(sender: String) -> Result<Self> {
///         Ok(Self(sender))
///     }
///     fn process(&mut self, m: &mut Message) -> Result<Verdict> {
///         m.set_source(&Address::alphanumeric(&self.0))?;
///         Ok(next())
///     }
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! plugin {
    ($plugin:ty $(, $hook:ident)* $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static PLUGIN: ::std::cell::RefCell<::std::option::Option<$plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Module;

            impl $crate::guest::Lifecycle for Module {
                fn init(
                    config: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::guest::init(&PLUGIN, &config)
                }
            }

            impl $crate::guest::OnMessage for Module {
                fn process(
                    message: &$crate::guest::HostMessage,
                    envelope: $crate::guest::HostEnvelope,
                ) -> ::std::result::Result<$crate::guest::HostVerdict, ::std::string::String>
                {
                    $crate::guest::process(&PLUGIN, message, envelope)
                }
            }

    $crate::bindings::export_plugin!(Module with_types_in $crate::bindings);
            $($crate::export_hook!($hook, Module, PLUGIN);)*

            const PARTS: &[&str] = &$crate::manifest_parts!($($hook),*);

            #[used]
            #[unsafe(link_section = "wirepost:manifest")]
            static MANIFEST: [u8; $crate::manifest::len(PARTS)] = $crate::manifest::join(PARTS);
        };
    };
}

/// Exports a hook that not every plugin has.
#[doc(hidden)]
#[macro_export]
macro_rules! export_hook {
    (on_lookup, $module:ident, $slot:ident) => {
        impl $crate::guest::OnLookup for $module {
            fn resume(
                message: &$crate::guest::HostMessage,
                envelope: $crate::guest::HostEnvelope,
                state: ::std::vec::Vec<u8>,
                answers: ::std::vec::Vec<
                    ::std::result::Result<::std::string::String, $crate::guest::HostError>,
                >,
            ) -> ::std::result::Result<$crate::guest::HostVerdict, ::std::string::String> {
                $crate::guest::resume(&$slot, message, envelope, &state, answers)
            }
        }

    $crate::bindings::on_lookup::export_on_lookup!($module with_types_in $crate::bindings::on_lookup);
    };
    (on_receipt, $module:ident, $slot:ident) => {
        impl $crate::guest::OnReceipt for $module {
            fn process(
                receipt: &$crate::guest::HostReceipt,
            ) -> ::std::result::Result<u16, ::std::string::String> {
                $crate::guest::receipt(&$slot, receipt)
            }
        }

    $crate::bindings::on_receipt::export_on_receipt!($module with_types_in $crate::bindings::on_receipt);
    };
}

/// Puts cases for `wirepost plugin test` into the module: a JSON file beside the crate's `Cargo.toml`. Each
/// is an object with a `name`, a message (`from`, `to`, `subject`, `text`), the plugin's `config`, `targets`
/// and `answers` (`LOOKUP:KEY=TEXT`) around it, and what to `expect`: a `verdict`, and of `reason`, `route`,
/// `from`, `to`, `text`, `meta`, `forks` what matters.
#[macro_export]
macro_rules! cases {
    ($file:literal) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            const FILE: &[u8] = ::core::include_bytes!(::core::concat!(
                ::core::env!("CARGO_MANIFEST_DIR"),
                "/",
                $file
            ));

            #[used]
            #[unsafe(link_section = "wirepost:cases")]
            static CASES: [u8; FILE.len()] = *::core::include_bytes!(::core::concat!(
                ::core::env!("CARGO_MANIFEST_DIR"),
                "/",
                $file
            ));
        };
    };
}

/// Makes a module of a function: `fn(&mut Message) -> Verdict` or `-> Result<Verdict>`.
///
/// It declares a type `Filter`, which tests hand to the harness: `Harness::<Filter>::new(json!({}))`.
#[macro_export]
macro_rules! filter {
    ($function:path) => {
        /// The plugin that calls the filter function.
        #[derive(Debug)]
        pub struct Filter;

        impl $crate::Plugin for Filter {
            type Config = $crate::NoConfig;

            fn new(_: $crate::NoConfig) -> $crate::Result<Self> {
                ::std::result::Result::Ok(Self)
            }

            fn process(
                &mut self,
                message: &mut $crate::Message<'_>,
            ) -> $crate::Result<$crate::Verdict> {
                $crate::IntoVerdict::into_verdict($function(message))
            }
        }

        $crate::plugin!(Filter);
    };
}
