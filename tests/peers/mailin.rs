//! A stock mailin-embedded server takes what our SMTP client sends.

use std::io;
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use mailin_embedded::response::OK;
use mailin_embedded::{Handler, Response, Server};
use wirepost::cli::send::smtp::{SendArgs, Tls, run};

/// Time for a mail to come.
const ARRIVES_WITHIN: Duration = Duration::from_secs(20);

/// A mail as mailin saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Mail {
    from: String,
    to: Vec<String>,
    data: Vec<u8>,
}

#[derive(Clone)]
struct Sink {
    mail: Mail,
    taken: SyncSender<Mail>,
}

impl Handler for Sink {
    fn data_start(&mut self, _domain: &str, from: &str, _is8bit: bool, to: &[String]) -> Response {
        self.mail = Mail { from: from.to_owned(), to: to.to_vec(), data: Vec::new() };
        OK
    }

    fn data(&mut self, buf: &[u8]) -> io::Result<()> {
        self.mail.data.extend_from_slice(buf);
        Ok(())
    }

    fn data_end(&mut self) -> Response {
        self.taken.send(self.mail.clone()).unwrap();
        OK
    }
}

/// Starts a server; it lives as long as the test, for it has no way to stop.
fn server() -> (std::net::SocketAddr, Receiver<Mail>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (taken, mails) = sync_channel(16);
    let mut server = Server::new(Sink { mail: Mail::default(), taken });
    server.with_name("mailin.test").with_tcp_listener(listener);
    thread::spawn(move || server.serve().unwrap());
    (address, mails)
}

#[tokio::test]
async fn a_mail_arrives_octet_for_octet() {
    let (address, mails) = server();
    let mail = "Subject: dots\r\nFrom: <alice@client.test>\r\n\r\n.\r\n..two\r\n.one \u{fc}n\u{ef}\r\nlast\r\n";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mail.eml");
    std::fs::write(&file, mail).unwrap();
    let to = ["bob@sink.test", "carol@sink.test"].map(str::to_owned).to_vec();
    let args = SendArgs {
        to: address,
        from: "alice@client.test".to_owned(),
        rcpt: to.clone(),
        subject: String::new(),
        text: String::new(),
        file: Some(file),
        notify: None,
        tls: Tls::None,
        user: None,
        password: None,
        json: true,
    };
    run(args).await.unwrap();
    let got = mails.recv_timeout(ARRIVES_WITHIN).unwrap();
    assert_eq!(got.from, "alice@client.test");
    assert_eq!(got.to, to);
    assert_eq!(String::from_utf8(got.data).unwrap(), mail);
}
