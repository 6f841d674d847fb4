//! A mail client: it pipelines or not, gives up in the middle of a message, or goes away before it
//! has heard the answer.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Stage, reply, write};
use crate::facts::{Answer, Kind, List, Parcel};
use crate::net::End;
use crate::plugins::{LIST, MEMBERS, list_key, words};
use crate::random::Random;

/// How it behaves; in a thousand, each time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    pub(crate) messages: usize,
    pub(crate) pause_ms: u64,
    pub(crate) pipelines: bool,
    pub(crate) cut_in_data: usize,
    pub(crate) cut_after_dot: usize,
    pub(crate) large: usize,
}

/// A mail client.
pub(crate) struct Mailer {
    name: String,
    stage: Stage,
    habits: Habits,
    random: Random,
    left: usize,
    done: Arc<AtomicBool>,
}

struct Recipient {
    key: String,
    command: String,
}

impl Mailer {
    pub(crate) fn new(number: usize, stage: &Stage, habits: Habits) -> Self {
        let name = format!("mailer{number}");
        let random = stage.random.fork(&name);
        let done = Arc::default();
        Self { name, stage: stage.clone(), habits, random, left: habits.messages, done }
    }

    /// Set once everything was sent.
    pub(crate) fn done(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.done)
    }

    /// Sends what it has, over as many connections as that takes.
    pub(crate) async fn run(mut self, from: SocketAddr, host: SocketAddr) {
        while self.left > 0 {
            let connecting = self.stage.net.connect(from, host);
            let ended = match timeout(Duration::from_secs(10), connecting).await {
                Ok(Ok(end)) => self.talk(end).await,
                Ok(Err(error)) => Err(error),
                Err(_late) => Err(io::ErrorKind::TimedOut.into()),
            };
            self.stage.note(&self.name, format_args!("ended: {ended:?}"));
            sleep(self.random.time(200..3000)).await;
        }
        self.done.store(true, Ordering::Relaxed);
    }

    async fn talk(&mut self, mut end: End) -> io::Result<&'static str> {
        let mut input = Vec::new();
        if reply(&mut end, &mut input).await? != 220 {
            return Ok("no greeting");
        }
        write(&mut end, b"EHLO client.sim\r\n").await?;
        if reply(&mut end, &mut input).await? != 250 {
            return Ok("no hello");
        }
        let session = self.stage.next_session();
        let mut place = 0;
        while self.left > 0 {
            self.left -= 1;
            if let Some(end) = self.send(&mut end, &mut input, (session, place)).await? {
                return Ok(end);
            }
            place += 1;
            let pause = self.habits.pause_ms;
            sleep(self.random.time(0..pause * 2 + 1)).await;
        }
        write(&mut end, b"QUIT\r\n").await?;
        reply(&mut end, &mut input).await?;
        Ok("quit")
    }

    /// One message; says why if the connection ends with it.
    async fn send(
        &mut self,
        end: &mut End,
        input: &mut Vec<u8>,
        session: (u64, usize),
    ) -> io::Result<Option<&'static str>> {
        let number = self.stage.next_recipient();
        let sender = format!("c{number}@sender.sim");
        let mut recipients = self.recipients(&sender, session, self.stage.is_refusable(number));
        if self.stage.scope.plugins && self.random.chance(150) {
            recipients.push(self.list(&sender, session, self.stage.is_refusable(number)));
        }
        let mail = format!("MAIL FROM:<{sender}>\r\n");
        let mut taken = Vec::new();
        if self.habits.pipelines {
            let commands: String = recipients.iter().map(|to| to.command.as_str()).collect();
            write(end, format!("{mail}{commands}DATA\r\n").as_bytes()).await?;
            reply(end, input).await?;
            for recipient in &recipients {
                self.note_rcpt(recipient, reply(end, input).await?, &mut taken);
            }
        } else {
            write(end, mail.as_bytes()).await?;
            reply(end, input).await?;
            for recipient in &recipients {
                write(end, recipient.command.as_bytes()).await?;
                self.note_rcpt(recipient, reply(end, input).await?, &mut taken);
            }
            write(end, b"DATA\r\n").await?;
        }
        if reply(end, input).await? != 354 {
            for key in taken {
                self.stage.facts.answer(&key, Answer::Refused(Instant::now()));
            }
            write(end, b"RSET\r\n").await?;
            reply(end, input).await?;
            return Ok(None);
        }
        let mail = self.mail(&sender, number);
        if self.random.chance(self.habits.cut_in_data) && !self.stage.is_calm() {
            // What has no end is nothing.
            for key in taken {
                self.stage.facts.answer(&key, Answer::Refused(Instant::now()));
            }
            let some = self.random.below(mail.len());
            write(end, &mail.as_bytes()[..some]).await?;
            return Ok(Some("cut in DATA"));
        }
        write(end, format!("{mail}.\r\n").as_bytes()).await?;
        if self.random.chance(self.habits.cut_after_dot) && !self.stage.is_calm() {
            return Ok(Some("cut after the dot"));
        }
        let code = reply(end, input).await?;
        self.stage.note(&self.name, format_args!("{sender} to {taken:?}: {code}"));
        for key in taken {
            let answer = match code {
                250 => Answer::Accepted(Instant::now()),
                400.. => Answer::Refused(Instant::now()),
                _ => Answer::Unknown,
            };
            self.stage.facts.answer(&key, answer);
        }
        Ok((code == 421).then_some("told to go"))
    }

    fn note_rcpt(&self, recipient: &Recipient, code: u16, taken: &mut Vec<String>) {
        if code == 250 {
            taken.push(recipient.key.clone());
        } else {
            self.stage.note(&self.name, format_args!("{}: {code}", recipient.key));
            self.stage.facts.answer(&recipient.key, Answer::Refused(Instant::now()));
        }
    }

    /// A mailbox that a plugin splits, if it runs.
    fn list(&self, sender: &str, (session, place): (u64, usize), refusable: bool) -> Recipient {
        let key = |mailbox| list_key(sender, mailbox).unwrap();
        let (whole, members) = (key(LIST), MEMBERS.map(key).to_vec());
        let forks = self.stage.scope.forks;
        let send = |key: &str, list| {
            let parcel = Parcel {
                session,
                place,
                refusable,
                list: Some(list),
                shares: forks,
                wants_failure: true,
                ..Parcel::new(Kind::Mail, sender)
            };
            self.stage.facts.send(key, parcel);
        };
        for member in &members {
            send(member, List::Member(whole.clone()));
        }
        send(&whole, List::Whole(members));
        Recipient { key: whole, command: format!("RCPT TO:<{LIST}>\r\n") }
    }

    fn recipients(
        &mut self,
        sender: &str,
        (session, place): (u64, usize),
        refusable: bool,
    ) -> Vec<Recipient> {
        let most = if self.random.chance(300) { 4 } else { 1 };
        let count = 1 + self.random.below(most);
        let mut recipients = Vec::new();
        for _ in 0..count {
            let number = self.stage.next_recipient();
            let to_sms = self.random.chance(400);
            let (key, mailbox, kind) = if to_sms {
                let prefix = if self.random.chance(600) { "6" } else { "7" };
                let key = format!("+33{prefix}{number:08}");
                (key, format!("0{prefix}{number:08}@sms.sim"), Kind::MailToSms)
            } else {
                let mailbox = format!("u{number}@example.sim");
                (mailbox.clone(), mailbox, Kind::Mail)
            };
            let (notify, success, failure) = match self.random.below(4) {
                0 => (" NOTIFY=NEVER", false, false),
                1 => (" NOTIFY=SUCCESS,FAILURE", true, true),
                _ => ("", false, true),
            };
            let parcel = Parcel {
                session,
                place,
                refusable,
                wants_success: success,
                wants_failure: failure,
                ..Parcel::new(kind, sender)
            };
            self.stage.facts.send(&key, parcel);
            let command = format!("RCPT TO:<{mailbox}>{notify}\r\n");
            recipients.push(Recipient { key, command });
        }
        recipients
    }

    fn mail(&mut self, sender: &str, number: u64) -> String {
        let lines = if self.random.chance(self.habits.large) { 2000 } else { 2 };
        let text = "a line of the text\r\n..with a dot\r\n".repeat(lines);
        let words =
            if self.stage.scope.plugins { format!("{}\r\n", words(number)) } else { String::new() };
        format!(
            "From: <{sender}>\r\nSubject: {sender}\r\nDate: Mon, 23 Nov 2026 10:00:00 +0000\r\n\
             Message-ID: <{sender}>\r\n\r\n{words}{text}"
        )
    }
}
