//! Postfix as a relay: smtpd, its queue on disk, smtp to our sink.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::root::{POSTDROP_ID, POSTFIX_ID, Root};
use super::table::Row;
use super::{COUNT_EVERY, Load, SYNCED, Service, Shape, fresh, mail, shape};
use super::{syncs_per_1000, wait_count};
use crate::bench::running::{Built, load, ours, per_second};
use crate::bench::scenario::load_smtp;
use crate::bench::{RELAY, processes};
use crate::process::{now, ports_are_free};

const PORT: u16 = 2728;
const UP_WITHIN: Duration = Duration::from_secs(30);
/// The folders of its queue, and their modes.
const QUEUE: [(&str, u32); 14] = [
    ("active", 0o700),
    ("bounce", 0o700),
    ("corrupt", 0o700),
    ("defer", 0o700),
    ("deferred", 0o700),
    ("flush", 0o700),
    ("hold", 0o700),
    ("incoming", 0o700),
    ("private", 0o700),
    ("saved", 0o700),
    ("trace", 0o700),
    ("pid", 0o755),
    ("public", 0o710),
    ("maildrop", 0o730),
];

/// Postfix between our generator and our sink, one row for each number of sessions.
pub(super) fn measure(built: &Built, root: &Root, shapes: &[Shape]) -> Result<Vec<Row>> {
    ports_are_free(&[PORT, RELAY])?;
    let work = fresh("postfix")?;
    configure(root, &work)?;
    let master = root.command("/usr/lib/postfix/sbin/master", &["-c", text(&work.join("etc"))?]);
    let mut postfix = Service::start("postfix", &master, &work)?;
    postfix.wait_port(PORT, UP_WITHIN).with_context(|| log(&work))?;
    let send =
        |shape: Shape| -> Result<Load> { load(&mut ours(built, &work, &load_smtp(PORT, shape))) };
    let mut rows = Vec::new();
    for &shape in shapes {
        let sink = sink(built, &work)?;
        let (cpu, started) = (processes::family_us(postfix.pid())?, now());
        let load = send(shape)?;
        wait_count(&sink, shape.count).with_context(|| log(&work))?;
        let delivered_per_second = per_second(shape.count, now() - started);
        let cpu_us = (processes::family_us(postfix.pid())? - cpu) / shape.count;
        rows.push(Row {
            who: "Postfix",
            what: mail(shape),
            shape,
            accepted_per_second: Some(load.per_second),
            delivered_per_second,
            cpu_us,
            latency: Some(load),
            syncs_per_1000: None,
        });
    }
    let sink = sink(built, &work)?;
    let pids = processes::family(postfix.pid())?;
    let syncs = syncs_per_1000(&pids, &work, || {
        send(shape(20, 1, SYNCED))?;
        wait_count(&sink, SYNCED)
    })?;
    for row in &mut rows {
        row.syncs_per_1000 = syncs;
    }
    Ok(rows)
}

fn sink(built: &Built, work: &Path) -> Result<Service> {
    let words = format!("sim relay --quiet --listen 127.0.0.1:{RELAY} --count-every {COUNT_EVERY}");
    let mut sink = Service::start("sink", &ours(built, work, &words), work)?;
    sink.wait_port(RELAY, UP_WITHIN)?;
    Ok(sink)
}

fn configure(root: &Root, work: &Path) -> Result<()> {
    let (etc, spool, data) = (work.join("etc"), work.join("spool"), work.join("data"));
    for folder in [&etc, &spool, &data] {
        fs::create_dir_all(folder)?;
    }
    chown(&data, Some(POSTFIX_ID), Some(POSTFIX_ID))?;
    for (name, mode) in QUEUE {
        let folder = spool.join(name);
        fs::create_dir(&folder)?;
        let owner = if name == "pid" { 0 } else { POSTFIX_ID };
        let group = if ["public", "maildrop"].contains(&name) { POSTDROP_ID } else { 0 };
        chown(&folder, Some(owner), Some(group))?;
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode))?;
    }
    fs::write(etc.join("main.cf"), main_cf(work))?;
    let master = root.folder().join("root/usr/share/postfix/master.cf.dist");
    let master =
        fs::read_to_string(&master).with_context(|| format!("read {}", master.display()))?;
    fs::write(etc.join("master.cf"), master_cf(&master))?;
    Ok(())
}

/// As it comes, but that it relays everything from here to our sink, and lets a hundred sessions in.
fn main_cf(work: &Path) -> String {
    let work = work.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {work}/spool
data_directory = {work}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{RELAY}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
default_process_limit = 150
maillog_file = {work}/maillog
maillog_file_prefixes = {work}
smtp_tls_security_level = none
"
    )
}

/// The services as they come, but for the port and without changing roots.
fn master_cf(come: &str) -> String {
    let mut services = format!("127.0.0.1:{PORT} inet n - n - - smtpd\n");
    for line in come.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            [_, "inet", ..] => {}
            [
                name,
                kind @ ("unix" | "unix-dgram" | "fifo"),
                private,
                unpriv,
                _chroot,
                rest @ ..,
            ] if !line.starts_with('#') => {
                let rest = rest.join(" ");
                services.push_str(&format!("{name} {kind} {private} {unpriv} n {rest}\n"));
            }
            _ if line.starts_with(char::is_whitespace) => {
                services.push_str(line);
                services.push('\n');
            }
            _ => {}
        }
    }
    services
}

fn log(work: &Path) -> String {
    let log = Command::new("tail").args(["-n", "5"]).arg(work.join("maillog")).output();
    let said = log.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    format!("its log ends with:\n{}", said.unwrap_or_default())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_lose_their_ports_and_roots() {
        let come = "# service\nsmtp      inet  n       -       y       -       -       smtpd\n\
                    #smtp inet n - y - 1 postscreen\n\
                    qmgr      unix  n       -       y       300     1       qmgr\n\
                    relay     unix  -       -       y       -       -       smtp\n        -o a=b\n";
        let expect = format!(
            "127.0.0.1:{PORT} inet n - n - - smtpd\nqmgr unix n - n 300 1 qmgr\n\
             relay unix - - n - - smtp\n        -o a=b\n"
        );
        assert_eq!(master_cf(come), expect);
    }
}
