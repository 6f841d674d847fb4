//! Names in the type sections of a module that are not of our interface.
//!
//! The encoder joins these sections into one set of packages and follows what depends on what. Packages
//! that depend on each other in a circle – damage to a name is enough – would lead it round for ever, on
//! a stack that ends, which nothing catches. So only names of our own package reach it.

use wasmparser::{
    ComponentExternName, ComponentType, ComponentTypeDeclaration, InstanceTypeDeclaration, Parser,
    Payload,
};

use super::module::{API, PACKAGE};

/// The first name in the type section that belongs to another package, or to another version of ours.
pub(super) fn foreign_name(section: &[u8]) -> wasmparser::Result<Option<String>> {
    let mut found = None;
    for payload in Parser::new(0).parse_all(section) {
        match payload? {
            Payload::ComponentTypeSection(types) => {
                for kind in types {
                    look_in(&kind?, &mut found);
                }
            }
            Payload::ComponentImportSection(imports) => {
                for import in imports {
                    look_at(&import?.name, &mut found);
                }
            }
            Payload::ComponentExportSection(exports) => {
                for export in exports {
                    look_at(&export?.name, &mut found);
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// How deep types nest is bounded by the parser.
fn look_in(kind: &ComponentType<'_>, found: &mut Option<String>) {
    match kind {
        ComponentType::Component(declarations) => {
            for declaration in declarations {
                match declaration {
                    ComponentTypeDeclaration::Type(kind) => look_in(kind, found),
                    ComponentTypeDeclaration::Export { name, .. } => look_at(name, found),
                    ComponentTypeDeclaration::Import(import) => look_at(&import.name, found),
                    ComponentTypeDeclaration::CoreType(_) | ComponentTypeDeclaration::Alias(_) => {}
                }
            }
        }
        ComponentType::Instance(declarations) => {
            for declaration in declarations {
                match declaration {
                    InstanceTypeDeclaration::Type(kind) => look_in(kind, found),
                    InstanceTypeDeclaration::Export { name, .. } => look_at(name, found),
                    InstanceTypeDeclaration::CoreType(_) | InstanceTypeDeclaration::Alias(_) => {}
                }
            }
        }
        ComponentType::Defined(_) | ComponentType::Func(_) | ComponentType::Resource { .. } => {}
    }
}

fn look_at(name: &ComponentExternName<'_>, found: &mut Option<String>) {
    let names = [Some(name.name), name.implements, name.external_id];
    let foreign = names.into_iter().flatten().find(|name| !is_ours(name));
    if let Some(foreign) = foreign {
        found.get_or_insert_with(|| foreign.to_owned());
    }
}

/// Names of types have no package; names of interfaces and worlds have ours, in this version.
fn is_ours(name: &str) -> bool {
    if !name.contains([':', '/', '@']) {
        return true;
    }
    let inside = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@'));
    inside.is_some_and(|(_, version)| version == API)
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_our_package_in_this_version_is_ours() {
        for ours in ["address", "wirepost:plugin/types@0.9.0", "[method]message.text"] {
            assert!(is_ours(ours), "{ours}");
        }
        for foreign in [
            "wirepost:plugjn/types@0.9.0",
            "wirepost:plugin/types@0.9.1",
            "wirepost:plugin/types",
            "wasi:clocks/wall-clock@0.2.0",
            "wirepost/plugin",
        ] {
            assert!(!is_ours(foreign), "{foreign}");
        }
    }
}
