//! Ends and new beginnings: what is in flight is finished, everybody is told, nobody is refused.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use smpp::Status;
use wirepost_tests::crash::binary;
use wirepost_tests::mailer::mail;
use wirepost_tests::sms::text;
use wirepost_tests::wait::until;
use wirepost_tests::world::{ROUTES, config, folder};
use wirepost_tests::{Answer, Relay, Smsc, World};

async fn world_with(smsc: Smsc) -> (World, Relay, Smsc) {
    let relay = Relay::start().await;
    let world = World::start(&config(relay.address, smsc.address, ROUTES)).await;
    world.wait_target("smsc", true).await;
    (world, relay, smsc)
}

#[tokio::test]
async fn a_mail_client_that_waits_is_told_to_come_again_and_one_in_the_middle_is_answered() {
    let (world, relay, _smsc) = world_with(Smsc::start().await).await;
    let mut idle = world.mailer().await;
    let mut busy = world.mailer().await;
    busy.say("MAIL FROM:<a@example.org>").await;
    busy.say("RCPT TO:<b@example.com>").await;
    assert!(busy.say("DATA").await.starts_with("354"));
    busy.write(b"Subject: in the middle\r\n\r\n").await;
    let mut stopping = tokio::task::JoinSet::new();
    stopping.spawn(world.stop());
    assert!(idle.reply().await.starts_with("421"));
    busy.write(b"of it\r\n.\r\n").await;
    let reply = busy.reply().await;
    assert!(reply.starts_with("250"), "{reply}");
    assert!(busy.reply().await.starts_with("421"));
    let folder = stopping.join_next().await.unwrap().unwrap();
    let world = World::start_in(folder).await;
    relay.wait(1).await;
    world.wait_empty().await;
}

#[tokio::test]
async fn sms_in_flight_are_answered_before_both_sides_unbind() {
    let smsc =
        Smsc::start_with(|_, _| Answer { delay: Duration::from_millis(200), ..Answer::default() })
            .await;
    let (world, _relay, smsc) = world_with(smsc).await;
    let shop = world.shop().await;
    let (status, _) = shop.submit(text("33612345678", "on its way")).await;
    assert_eq!(status, Status::ROK);
    let target = world.app().router.target("smsc").unwrap();
    until("the submit in flight", || (target.counts().2 == 1).then_some(())).await;
    // It holds the spool open.
    drop(target);
    let folder = world.stop().await;
    until("the end of the session", || shop.is_gone().then_some(())).await;
    assert_eq!(smsc.taken().len(), 1, "the SMSC had time to answer");
    let world = World::start_in(folder).await;
    assert_eq!(world.queued(None), 0, "what was answered in time is not sent again");
    assert_eq!(smsc.taken().len(), 1);
}

/// A router that was given its socket, as systemd gives it.
struct Given(Child);

impl Given {
    fn start(config: &std::path::Path, socket: &TcpListener, notify: &std::path::Path) -> Self {
        let socket = OwnedFd::from(socket.try_clone().unwrap());
        let script = "exec 3<&0 0</dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=mail; exec \"$0\" run --config \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(binary().unwrap()).arg(config);
        command.env("NOTIFY_SOCKET", notify).env("WATCHDOG_USEC", "2000000");
        command.stdin(Stdio::from(socket)).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn stop(&mut self) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits until the manager was told this.
fn wait_told(manager: &UnixDatagram, words: &str) {
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut heard = [0; 512];
    loop {
        let length = manager.recv(&mut heard).expect("the manager is told in time");
        if String::from_utf8_lossy(&heard[..length]).contains(words) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_with_sockets_of_the_service_manager_refuses_no_connection() {
    let (relay, smsc) = (Relay::start().await, Smsc::start().await);
    let config =
        format!("admin: {{ socket: admin.sock }}\n{}", config(relay.address, smsc.address, ROUTES));
    let folder = folder(&config);
    let yaml = folder.path().join("wirepost.yaml");
    let notify = folder.path().join("notify.sock");
    let manager = UnixDatagram::bind(&notify).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut router = Given::start(&yaml, &socket, &notify);
    wait_told(&manager, "READY=1");
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(1);
    let client = std::thread::spawn(move || {
        let mut greeted = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let stream = TcpStream::connect(address).expect("never refused");
            stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap_or_default();
            greeted += usize::from(line.starts_with("220"));
        }
        greeted
    });
    for _ in 0..2 {
        router.stop();
        wait_told(&manager, "STOPPING=1");
        router = Given::start(&yaml, &socket, &notify);
        wait_told(&manager, "READY=1");
        wait_told(&manager, "WATCHDOG=1");
    }
    let mut mailer = wirepost_tests::Mailer::connect(address).await;
    let reply = mailer.send("a@example.org", &["b@example.com"], &mail("x", "y")).await;
    assert!(reply.starts_with("250"), "{reply}");
    relay.wait(1).await;
    stop.send(()).unwrap();
    assert!(client.join().unwrap() > 0);
    router.stop();
}
