//! Every configuration in the tree says the same to serde_yaml as to the parser that we use.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn configurations() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = vec![root.join("tests/interop/wirepost.yaml")];
    for example in std::fs::read_dir(root.join("examples")).unwrap() {
        let file = example.unwrap().path().join("wirepost.yaml");
        if file.is_file() {
            found.push(file);
        }
    }
    found.sort();
    found
}

#[test]
fn examples_say_the_same_to_serde_yaml_and_to_serde_saphyr() {
    let configurations = configurations();
    assert!(configurations.len() > 1, "the examples are not where they were");
    for file in configurations {
        let text = std::fs::read_to_string(&file).unwrap();
        let theirs: Value = serde_yaml::from_str(&text).unwrap();
        let ours: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(theirs, ours, "{}", file.display());
    }
}

#[test]
fn a_key_that_is_there_twice_is_a_mistake_to_serde_saphyr() {
    type Map = std::collections::BTreeMap<String, u32>;
    let text = "to: 1\nto: 2\n";
    assert!(serde_yaml::from_str::<Map>(text).is_ok(), "serde_yaml keeps the last one");
    assert!(serde_saphyr::from_str::<Map>(text).is_err());
}
