//! `wirepost spool`: the real program on the spool of a router that was stopped.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use wirepost_tests::crash::binary;
use wirepost_tests::mailer::mail;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config};
use wirepost_tests::{Relay, Smsc, World};

/// Runs `wirepost spool` and expects this exit code.
#[track_caller]
fn spool(arguments: &[&str], folder: &Path, code: i32) -> Output {
    let mut command = Command::new(binary().unwrap());
    let done = command.arg("spool").args(arguments).current_dir(folder).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr);
    let said = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(code), "{arguments:?}: {told}{said}");
    done
}

fn told(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

fn lines(done: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&done.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn json(done: &Output) -> Value {
    serde_json::from_slice(&done.stdout).unwrap()
}

/// A router whose relay takes nothing, with six deliveries that wait: three mails to two people.
async fn stuck() -> World {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    relay.refuse("@example.com", "451 4.7.1 not now", 1_000_000);
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    for n in 0..3 {
        // The last one is long enough for a file of its own.
        let text = "x".repeat(if n == 2 { 400_000 } else { 10 });
        let recipients = ["ann@example.com", "bob@example.com"];
        world.mailer().await.send("alice@example.org", &recipients, &mail("Hello", &text)).await;
    }
    until("six deliveries", || (world.queued(Some("relay")) == 6).then_some(())).await;
    world
}

#[tokio::test]
async fn a_spool_that_a_router_has_is_left_alone() {
    let world = stuck().await;
    for command in [&["verify"][..], &["dump"], &["export", "-o", "out"]] {
        let done = spool(command, world.folder.path(), 75);
        assert!(told(&done).contains("in use by process"), "{}", told(&done));
    }
    let folder = world.stop().await;
    spool(&["verify"], folder.path(), 0);
    spool(&["verify", "nothing-here"], folder.path(), 66);
    assert!(!folder.path().join("nothing-here").exists(), "it was not made");
}

#[tokio::test]
async fn a_dump_shows_addresses_and_content_only_if_asked() {
    let folder = stuck().await.stop().await;
    let shy = spool(&["dump", "spool"], folder.path(), 0);
    assert_eq!(lines(&shy).len(), 6);
    for line in lines(&shy) {
        assert_eq!((&line["state"], &line["target"]), (&"scheduled".into(), &"relay".into()));
        assert_eq!(line["status"], "4.7.1");
    }
    let text = String::from_utf8(shy.stdout).unwrap();
    assert!(
        !text.contains("ann@") && !text.contains("alice@") && !text.contains("Hello"),
        "{text}"
    );
    let open = spool(&["dump", "spool", "--content", "--target", "relay"], folder.path(), 0);
    let open = lines(&open);
    assert_eq!(open[0]["from"], "alice@example.org");
    assert!(open[0]["content"]["mail"].as_str().unwrap().contains("Subject: Hello"));
    let message = open[0]["message"].as_str().unwrap();
    let one = spool(&["dump", "spool", "--id", message], folder.path(), 0);
    assert_eq!(lines(&one).len(), 2, "both deliveries of the message");
    assert_eq!(lines(&spool(&["dump", "spool", "--target", "smsc"], folder.path(), 0)).len(), 0);
    assert_eq!(lines(&spool(&["dump", "spool", "--aside"], folder.path(), 0)).len(), 0);
}

#[tokio::test]
async fn what_was_exported_is_delivered_by_the_router_that_imports_it() {
    let folder = stuck().await.stop().await;
    let place = folder.path();
    let done = json(&spool(&["export", "spool", "-o", "all", "--json"], place, 0));
    assert_eq!((&done["entries"], &done["bodies"]), (&6.into(), &3.into()));
    let twice = spool(&["export", "spool", "-o", "all"], place, 74);
    assert!(told(&twice).contains("all"), "{}", told(&twice));
    spool(&["import", "all", "new"], place, 0);
    spool(&["verify", "new"], place, 0);

    let again = spool(&["import", "all", "new"], place, 65);
    assert!(told(&again).contains("nothing was added"), "{}", told(&again));
    spool(&["import", "all", "new", "--replace"], place, 0);
    let verified = json(&spool(&["verify", "new", "--json"], place, 0));
    assert_eq!((&verified["entries"], &verified["bodies"]), (&6.into(), &3.into()));
    assert_eq!(verified["body_files"], 1);

    let mut damaged = fs::read(place.join("all")).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(place.join("damaged"), &damaged).unwrap();
    fs::write(place.join("cut"), &damaged[..middle]).unwrap();
    for file in ["damaged", "cut", "wirepost.yaml"] {
        let done = spool(&["import", file, "never"], place, 65);
        assert!(told(&done).contains(file), "{}", told(&done));
        assert!(!place.join("never").exists(), "nothing is made for {file}");
    }
    spool(&["import", "no-such-file", "never"], place, 66);

    fs::rename(place.join("spool"), place.join("old")).unwrap();
    fs::rename(place.join("new"), place.join("spool")).unwrap();
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    fs::write(place.join("wirepost.yaml"), config(relay.address, smsc.address, ROUTES)).unwrap();
    let world = World::start_in(folder).await;
    world.wait_empty().await;
    let ledger = world.app().router.ledger();
    assert!(ledger.is_balanced(), "{ledger:?}");
    let mails = relay.mails();
    let reached: usize = mails.iter().map(|mail| mail.recipients.len()).sum();
    assert_eq!(reached, 6);
    assert!(mails.iter().any(|mail| mail.text().len() > 400_000));
}

#[tokio::test]
async fn a_choice_is_exported_without_the_rest() {
    let folder = stuck().await.stop().await;
    let place = folder.path();
    let all = lines(&spool(&["dump"], place, 0));
    let (id, message) = (all[1]["id"].as_str().unwrap(), all[5]["message"].as_str().unwrap());
    let arguments = ["export", "--id", id, "--id", message, "-o", "some", "--json"];
    let done = json(&spool(&arguments, place, 0));
    assert_eq!((&done["entries"], &done["bodies"]), (&3.into(), &2.into()));
    assert_eq!(done["keys"], 0);
    spool(&["import", "some", "new"], place, 0);
    assert_eq!(lines(&spool(&["dump", "new"], place, 0)).len(), 3);
    let mark = lines(&spool(&["dump", "new"], place, 0));
    assert!(mark.iter().all(|line| line["damaged"].is_null()), "{mark:?}");
}

#[tokio::test]
async fn damage_is_listed_with_its_file_and_what_to_do() {
    let folder = stuck().await.stop().await;
    let place = folder.path();
    let bodies: Vec<_> = fs::read_dir(place.join("spool/bodies")).unwrap().collect();
    let file = bodies[0].as_ref().unwrap().path();
    let mut content = fs::read(&file).unwrap();
    content[5] ^= 1;
    fs::write(&file, content).unwrap();
    let found = json(&spool(&["verify", "--json"], place, 65));
    assert_eq!(found["findings_total"], 1);
    let finding = &found["findings"][0];
    let what = finding["what"].as_str().unwrap();
    assert!(what.ends_with(file.file_name().unwrap().to_str().unwrap()), "{what}");
    assert_eq!(finding["reason"], "the checksum of its file does not match");
    assert!(finding["remedy"].as_str().unwrap().contains("wirepost queue delete"));

    let done = spool(&["export", "-o", "rest"], place, 65);
    assert!(told(&done).contains("left out"), "{}", told(&done));
    spool(&["import", "rest", "new"], place, 0);
    assert_eq!(lines(&spool(&["dump", "new"], place, 0)).len(), 4);
    spool(&["verify", "new"], place, 0);

    fs::write(place.join("spool/db/version"), b"FJL\x04").unwrap();
    let found = spool(&["verify"], place, 65);
    let text = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(text.contains("db/version") && text.contains("backup"), "{text}");
    let refused = spool(&["dump"], place, 65);
    assert!(told(&refused).contains("nothing was changed"), "{}", told(&refused));
}
