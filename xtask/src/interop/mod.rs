//! The router beside mail and SMS software of others, with assertions on what arrived.

mod install;
mod lab;
mod swaks;
mod smtplib;
mod smtp_source;
mod aiosmtpd;
mod postfix;
mod smpplib;
mod node;
mod kannel;

use std::fs;

use anyhow::{Result, ensure};

use crate::process::{build_host, now, root};
use install::Peers;
use lab::Lab;

/// With fewer peers than these there, the run says nothing.
const PEERS_MIN: usize = 3;

/// A case, the peers that it needs, and what must hold.
struct Case {
    name: &'static str,
    needs: fn(&Peers) -> bool,
    run: fn(&Lab) -> Result<()>,
}

const CASES: [Case; 15] = [
    Case {
        name: "swaks sends, aiosmtpd reads",
        needs: |peers| peers.swaks && peers.aiosmtpd,
        run: swaks::two_recipients,
    },
    Case {
        name: "smtplib sends dots and eight bits, aiosmtpd reads",
        needs: |peers| peers.aiosmtpd,
        run: smtplib::dots_and_eight_bits,
    },
    Case {
        name: "smtp-source loads, smtp-sink counts",
        needs: |peers| peers.postfix,
        run: smtp_source::load,
    },
    Case {
        name: "aiosmtpd refuses some recipients: the others get the mail, the sender a report",
        needs: |peers| peers.aiosmtpd,
        run: aiosmtpd::some_recipients_fail,
    },
    Case {
        name: "aiosmtpd refuses the message: the report names every recipient",
        needs: |peers| peers.aiosmtpd,
        run: aiosmtpd::the_message_is_refused,
    },
    Case {
        name: "aiosmtpd with DSN is told the wishes, without it we report in its place",
        needs: |peers| peers.aiosmtpd,
        run: aiosmtpd::wishes_for_reports,
    },
    Case {
        name: "postfix on both sides passes every octet, and its bounce comes back",
        needs: |peers| peers.postfix && peers.aiosmtpd,
        run: postfix::both_sides,
    },
    Case {
        name: "a mail becomes an SMS at node-smpp",
        needs: |peers| peers.node,
        run: node::mail_to_sms,
    },
    Case {
        name: "receipts of node-smpp become reports to the sender of a mail",
        needs: |peers| peers.node && peers.aiosmtpd,
        run: node::receipts_to_reports,
    },
    Case {
        name: "smpplib submits and gets its receipts",
        needs: |peers| peers.smpplib,
        run: smpplib::receipts,
    },
    Case {
        name: "smpplib submits a text in parts, aiosmtpd reads one mail",
        needs: |peers| peers.smpplib && peers.aiosmtpd,
        run: smpplib::parts_become_a_mail,
    },
    Case {
        name: "node-smpp takes a long SMS in parts",
        needs: |peers| peers.node && peers.smpplib,
        run: smpplib::long_sms,
    },
    Case {
        name: "node-smpp binds, submits, gets receipts and an answer, and unbinds",
        needs: |peers| peers.node,
        run: node::esme,
    },
    Case {
        name: "kannel submits, long and short, and gets receipts and an answer",
        needs: |peers| peers.kannel && peers.node,
        run: kannel::esme,
    },
    Case {
        name: "everything of this is accounted for",
        needs: |peers| peers.count() >= PEERS_MIN,
        run: lab::audit,
    },
];

/// Installs the peers, runs each against the router and counts.
///
/// # Errors
/// If a peer did not get what it should, or fewer than three peers are there.
pub(crate) fn run() -> Result<()> {
    let started = now();
    let wirepost = build_host(false)?;
    let folder = root().join("target/interop");
    fs::create_dir_all(&folder)?;
    let peers = install::all(&folder)?;
    let there = peers.count();
    let lab = Lab::start(wirepost, folder, peers)?;
    let mut tally = Tally::default();
    for case in &CASES {
        tally.count(case.name, (case.needs)(&lab.peers).then(|| (case.run)(&lab)));
    }
    if tally.failed > 0 {
        println!("the router said:\n{}", lab.router.said());
    }
    drop(lab);
    println!("{} seconds", (now() - started).as_secs());
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped);
    ensure!(
        there >= PEERS_MIN,
        "only {there} peers could be installed; see target/interop/install.log"
    );
    ensure!(tally.failed == 0, "{} cases failed", tally.failed);
    Ok(())
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Tally {
    fn count(&mut self, name: &str, outcome: Option<Result<()>>) {
        match outcome {
            None => {
                self.skipped += 1;
                println!("skipped  {name}: a peer could not be installed");
            }
            Some(Ok(())) => {
                self.passed += 1;
                println!("passed   {name}");
            }
            Some(Err(error)) => {
                self.failed += 1;
                println!("FAILED   {name}: {error:#}");
            }
        }
    }
}
