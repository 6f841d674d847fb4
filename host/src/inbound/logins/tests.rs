//! Tables of tries and what becomes of them.

use super::*;

const LIMITS: LoginLimits = LoginLimits {
    wrong_max: 3,
    delay: Duration::from_secs(1),
    lockout: Duration::from_mins(10),
    remember: Duration::from_hours(24),
};

/// A limiter, and a time that goes on.
struct Bench {
    logins: Logins,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { logins: Logins::default(), now: crate::sms::link::now() }
    }

    fn try_it(&self, peer: &str, name: &str, is_right: bool, is_allowed: bool) -> Judged {
        let tried = Try {
            protocol: Protocol::Smtp,
            door: "mail",
            peer: peer.parse().unwrap(),
            name,
            is_allowed,
            is_right,
        };
        self.logins.judge(&LIMITS, &tried, self.now)
    }

    fn wrong(&self, peer: &str, name: &str) -> (Outcome, u64) {
        let judged = self.try_it(peer, name, false, false);
        (judged.outcome, judged.wait.as_secs())
    }

    fn right(&self, peer: &str, name: &str) -> (Outcome, u64) {
        let judged = self.try_it(peer, name, true, false);
        (judged.outcome, judged.wait.as_secs())
    }
}

#[test]
fn each_wrong_password_waits_longer_and_too_many_shut_the_pair_out() {
    let mut bench = Bench::new();
    let (a, shop) = ("192.0.2.1", "shop");
    for expect in [(Outcome::Wrong, 1), (Outcome::Wrong, 2), (Outcome::Wrong, 4)] {
        assert_eq!(bench.wrong(a, shop), expect);
    }
    assert_eq!(bench.wrong(a, shop), (Outcome::ShutOut, 1));
    assert_eq!(bench.right(a, shop), (Outcome::ShutOut, 1), "right or wrong");
    assert_eq!(bench.right(a, "other"), (Outcome::In, 0), "another name");
    assert_eq!(bench.right("192.0.2.2", shop), (Outcome::In, 0), "the customer is elsewhere");
    bench.now += LIMITS.lockout;
    assert_eq!(bench.right(a, shop), (Outcome::In, 0));
    assert_eq!(bench.wrong(a, shop), (Outcome::Wrong, 1), "a good login forgives");
}

#[test]
fn whoever_goes_on_is_shut_out_twice_as_long_each_time() {
    let mut bench = Bench::new();
    let (a, shop) = ("192.0.2.1", "shop");
    for times in 0..4 {
        for _ in 0..3 {
            assert_eq!(bench.wrong(a, shop).0, Outcome::Wrong);
        }
        bench.now += LIMITS.lockout * 2_u32.pow(times) - Duration::from_secs(1);
        assert_eq!(bench.wrong(a, shop).0, Outcome::ShutOut, "{times}");
        bench.now += Duration::from_secs(1);
    }
    bench.now += LIMITS.lockout * 16;
    for _ in 0..3 {
        assert_eq!(bench.wrong(a, shop).0, Outcome::Wrong);
    }
    bench.now += LIMITS.lockout;
    assert_eq!(bench.wrong(a, shop).0, Outcome::Wrong, "a long silence is forgotten");
    bench.now += Duration::from_hours(24 * 365);
    for _ in 0..30 {
        bench.wrong(a, shop);
        bench.now += SHUT_OUT_MAX;
    }
    assert_eq!(bench.wrong(a, shop).0, Outcome::Wrong, "a day is the longest");
}

const SHUT_OUT_MAX: Duration = table::SHUT_MAX;

#[test]
fn few_wrong_passwords_in_a_long_time_shut_nobody_out() {
    let mut bench = Bench::new();
    for _ in 0..100 {
        assert_eq!(bench.wrong("192.0.2.1", "shop").0, Outcome::Wrong);
        assert_eq!(bench.wrong("192.0.2.1", "shop").0, Outcome::Wrong);
        bench.now += LIMITS.lockout;
    }
    assert_eq!(bench.right("192.0.2.1", "shop"), (Outcome::In, 0));
}

#[test]
fn a_network_of_ipv6_is_one_guesser() {
    let bench = Bench::new();
    for number in 1..=3 {
        assert_eq!(bench.wrong(&format!("2001:db8::{number}"), "shop").0, Outcome::Wrong);
    }
    assert_eq!(bench.right("2001:db8::9", "shop").0, Outcome::ShutOut);
    assert_eq!(bench.right("2001:db8:0:1::9", "shop").0, Outcome::In);
}

#[test]
fn a_site_that_tries_many_names_is_shut_out_but_for_its_customers() {
    let bench = Bench::new();
    let a = "192.0.2.1";
    assert_eq!(bench.right(a, "shop").0, Outcome::In);
    for number in 0..30 {
        assert_eq!(bench.wrong(a, &format!("name-{number}")).0, Outcome::Wrong, "{number}");
    }
    assert_eq!(bench.right(a, "another").0, Outcome::ShutOut);
    assert_eq!(bench.right(a, "shop"), (Outcome::In, 0), "it had a good login");
    assert_eq!(bench.try_it(a, "listed", true, true).outcome, Outcome::In, "it is in `allow`");
    assert_eq!(bench.right("192.0.2.2", "another").0, Outcome::In);
}

#[test]
fn a_name_that_is_guessed_everywhere_is_late_for_strangers_alone() {
    let mut bench = Bench::new();
    let home = "198.51.100.1";
    assert_eq!(bench.right(home, "shop"), (Outcome::In, 0));
    for number in 0..30 {
        assert_eq!(bench.wrong(&format!("192.0.2.{number}"), "shop"), (Outcome::Wrong, 1));
    }
    assert_eq!(bench.wrong("203.0.113.1", "shop"), (Outcome::Wrong, WAIT_MAX.as_secs()));
    assert_eq!(
        bench.right("203.0.113.2", "shop"),
        (Outcome::In, WAIT_MAX.as_secs()),
        "late, but in"
    );
    assert_eq!(bench.right("203.0.113.2", "shop"), (Outcome::In, 0), "no stranger any more");
    assert_eq!(bench.right(home, "shop"), (Outcome::In, 0));
    let listed = bench.try_it("203.0.113.3", "shop", true, true);
    assert_eq!((listed.outcome, listed.wait), (Outcome::In, Duration::ZERO));
    assert_eq!(bench.right("203.0.113.4", "other"), (Outcome::In, 0), "another name");
    bench.now += LIMITS.lockout;
    assert_eq!(bench.right("203.0.113.5", "shop"), (Outcome::In, 0), "it is over");
}

#[test]
fn a_good_login_is_remembered_for_its_time() {
    let mut bench = Bench::new();
    assert_eq!(bench.right("198.51.100.1", "shop").0, Outcome::In);
    bench.now += LIMITS.remember;
    for number in 0..30 {
        bench.wrong(&format!("192.0.2.{number}"), "shop");
    }
    assert_eq!(bench.right("198.51.100.1", "shop"), (Outcome::In, WAIT_MAX.as_secs()));
}

#[test]
fn names_of_smtp_are_not_those_of_smpp() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.wrong("192.0.2.1", "shop");
    }
    let tried = Try {
        protocol: Protocol::Smpp,
        door: "esmes",
        peer: "192.0.2.1".parse().unwrap(),
        name: "shop",
        is_allowed: false,
        is_right: true,
    };
    let judged = bench.logins.judge(&LIMITS, &tried, bench.now);
    assert_eq!(judged.outcome, Outcome::In);
}

#[test]
fn a_burst_is_told_once_and_a_flood_of_bursts_not_without_end() {
    let mut bench = Bench::new();
    let told = |bench: &Bench, range: std::ops::Range<u32>| {
        let judged = range.map(|number| {
            let peer = IpAddr::from(number.to_be_bytes()).to_string();
            let first = bench.try_it(&peer, "shop", false, false).is_told;
            assert!(!bench.try_it(&peer, "shop", false, false).is_told, "only the first");
            u32::from(first)
        });
        judged.sum::<u32>()
    };
    let first = told(&bench, 1..1000);
    assert!((LINES_MAX - 2..=LINES_MAX).contains(&first), "{first}");
    bench.now += LINES_WITHIN;
    assert_eq!(told(&bench, 1000..1005), 5);
}

#[test]
fn memory_has_a_bound_and_those_who_failed_least_are_forgotten_first() {
    let bench = Bench::new();
    for _ in 0..3 {
        bench.wrong("192.0.2.1", "shop");
    }
    for number in 0..u32::try_from(table::ENTRIES_MAX).unwrap() + 100 {
        let peer = IpAddr::from((0x0A00_0000 + number).to_be_bytes()).to_string();
        bench.wrong(&peer, &number.to_string());
    }
    let known = bench.logins.known.lock().unwrap();
    for length in [known.pairs.len(), known.sites.len(), known.names.len()] {
        assert!(length <= table::ENTRIES_MAX, "{length}");
    }
    drop(known);
    assert_eq!(bench.right("192.0.2.1", "shop").0, Outcome::ShutOut, "it is still known");
}

#[test]
fn good_logins_of_one_name_push_out_no_other_name() {
    let bench = Bench::new();
    assert_eq!(bench.right("198.51.100.1", "shop").0, Outcome::In);
    for number in 0..u32::try_from(GOOD_SITES_MAX).unwrap() + 10 {
        let peer = IpAddr::from((0x0A00_0000 + number).to_be_bytes()).to_string();
        assert_eq!(bench.right(&peer, "wanderer").0, Outcome::In);
    }
    let known = bench.logins.known.lock().unwrap();
    let mut sites: Vec<usize> = known.good.values().map(BTreeMap::len).collect();
    sites.sort_unstable();
    assert_eq!(sites, [1, GOOD_SITES_MAX]);
}
