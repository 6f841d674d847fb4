//! `wirepost status`: what runs, what waits, what is wrong.

use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::control::{Place, field, say, say_json, table};

/// Shows the state of the running router.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    place: Place,
}

/// Asks and prints.
pub async fn run(args: StatusArgs) -> ExitCode {
    match args.place.get("/status").await {
        Ok(status) if args.place.json => say_json(&status),
        Ok(status) => say(&for_people(&status)),
        Err(error) => return error.complained(),
    }
    ExitCode::SUCCESS
}

fn for_people(status: &Value) -> String {
    let f = |name: &str| field(status, name);
    let mut text = format!(
        "wirepost {} on {}, generation {}, started {}\n",
        f("version"),
        f("hostname"),
        f("generation"),
        f("started"),
    );
    if status.get("accepting") == Some(&Value::Bool(false)) {
        text.push_str(&format!("NOTHING IS ACCEPTED: {}\n", f("not_accepting_because")));
    }
    text.push_str(&health(status));
    text.push_str(&compiling(status));
    if let Some(reload) = status.get("reload").filter(|reload| !reload.is_null()) {
        text.push_str(&super::reload::describe(reload));
    }
    let columns = ["name", "protocol", "addresses", "connections", "crowded"];
    let mut listeners = rows(status, "listeners", &columns);
    for row in &mut listeners {
        if let Some(crowded) = row.get_mut(4) {
            *crowded = if crowded == "true" { "crowded".to_owned() } else { String::new() };
        }
    }
    let head = ["listener", "protocol", "addresses", "connections", ""];
    text.push_str(&section(&head, &listeners));
    let columns = [
        "name",
        "kind",
        "up",
        "queued",
        "scheduled",
        "in_flight",
        "delivered",
        "deferred",
        "failed",
        "waiting",
    ];
    let mut targets = rows(status, "targets", &columns);
    for row in &mut targets {
        if let Some(up) = row.get_mut(2) {
            *up = if up == "true" { "up".to_owned() } else { "down".to_owned() };
        }
    }
    let head = [
        "target",
        "kind",
        "state",
        "queued",
        "scheduled",
        "in flight",
        "delivered",
        "deferred",
        "failed",
        "waits for",
    ];
    text.push_str(&section(&head, &targets));
    let empty = Vec::new();
    let plugins = status.get("plugins").and_then(Value::as_array).unwrap_or(&empty);
    for plugin in plugins.iter().filter_map(Value::as_str) {
        text.push_str(&format!("\nplugin {plugin}"));
    }
    text.push_str(if plugins.is_empty() { "" } else { "\n" });
    text.push_str(&super::reload::unused(status, "plugins_unused"));
    text.push_str(&spool(status));
    text
}

/// A plugin that is not ready yet.
fn compiling(status: &Value) -> String {
    let Some(it) = status.get("plugin_compiling").filter(|it| it.is_object()) else {
        return String::new();
    };
    let seconds = |key: &str| {
        let ms = it.get(key).and_then(Value::as_u64);
        ms.map_or_else(|| "any time".to_owned(), |ms| format!("{} s", ms.div_ceil(1000)))
    };
    let (plugin, since) = (field(it, "plugin"), field(it, "since"));
    let (cpu, time) = (seconds("cpu_ms"), seconds("time_ms"));
    format!(
        "plugin {plugin} is compiled since {since}; it may take {cpu} of processor time, {time} in all\n"
    )
}

/// What does not run as the files say.
fn health(status: &Value) -> String {
    let mut text = String::new();
    if let Some(why) = status.get("config_stale").and_then(Value::as_str) {
        text.push_str(&format!("THE CONFIGURATION ON DISK IS NOT USED: {why}\n"));
    }
    if let Some(why) = status.get("plugin_folder_stale").and_then(Value::as_str) {
        text.push_str(&format!("WHAT WAS DROPPED INTO THE PLUGIN FOLDER GOES ON: {why}\n"));
    }
    for (list, what) in [
        ("plugins_stale", "RUNS WITH ITS LAST GOOD BYTES"),
        ("plugins_refused", "WAS REFUSED AND DOES NOT RUN"),
        ("plugins_paused", "IS PAUSED"),
    ] {
        let entries = status.get(list).and_then(Value::as_object).into_iter().flatten();
        for (name, why) in entries {
            text.push_str(&format!("PLUGIN {name} {what}: {}\n", why.as_str().unwrap_or_default()));
        }
    }
    text
}

fn spool(status: &Value) -> String {
    let null = Value::Null;
    let spool = status.get("spool").unwrap_or(&null);
    let s = |name: &str| field(spool, name);
    let mebibytes = |name: &str| spool.get(name).and_then(Value::as_u64).unwrap_or(0) >> 20;
    let mut text = format!(
        "\nspool: {} deliveries ({} held, {} undecided), {} MiB, {} MiB free\n",
        s("entries"),
        s("held"),
        s("undecided"),
        mebibytes("disk_bytes"),
        mebibytes("free_bytes"),
    );
    text.push_str(&format!(
        "       {} commits in {} batches, sync p50 {} µs, p99 {} µs, max {} µs\n",
        s("commits"),
        s("groups"),
        s("sync_p50_us"),
        s("sync_p99_us"),
        s("sync_max_us"),
    ));
    if spool.get("corrupt").and_then(Value::as_u64).unwrap_or(0) > 0 {
        text.push_str(&format!("       {} RECORDS ARE DAMAGED and set aside\n", s("corrupt")));
    }
    let lost = status.get("journal").map_or_else(String::new, |journal| field(journal, "lost"));
    if lost != "0" && !lost.is_empty() {
        text.push_str(&format!("journal: {lost} events were not written\n"));
    }
    text
}

fn rows(status: &Value, list: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let empty = Vec::new();
    let items = status.get(list).and_then(Value::as_array).unwrap_or(&empty);
    items.iter().map(|item| columns.iter().map(|name| field(item, name)).collect()).collect()
}

fn section(head: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() { String::new() } else { format!("\n{}", table(head, rows)) }
}
