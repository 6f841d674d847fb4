//! Messages in chunks.

use super::*;

#[track_caller]
fn check_chunks(change: impl Fn(&mut ServerConfig), said: &str, expect: &str, told: &str) {
    for octets in 1..=said.len() {
        let mut bench = Bench::new(|config| config.limits.message_bytes_max = 20);
        change(Arc::get_mut(&mut bench.session.config).unwrap());
        bench.run();
        bench.say(b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        bench.told.clear();
        let heard: String = said.as_bytes().chunks(octets).map(|piece| bench.say(piece)).collect();
        let codes: Vec<&str> = heard.lines().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(codes.join(" "), expect, "{said:?} by {octets}: {heard}");
        assert_eq!(bench.told.join(", "), told, "{said:?}");
    }
}

#[test]
fn a_message_in_chunks() {
    let check = |said, expect, told| check_chunks(|_| {}, said, expect, told);
    check(
        "BDAT 3\r\nab\rBDAT 5 LAST\r\n\n.\r\n.NOOP\r\n",
        "250 250 250",
        "data, message \"ab\\r\\n.\\r\\n.\"",
    );
    check("BDAT 0 LAST\r\n", "250", "data, message \"\"");
    check(
        "BDAT 2\r\nabBDAT 0 LAST\r\nQUIT\r\n",
        "250 250 221",
        "data, message \"ab\", closed Quit",
    );
    check("BDAT 6\r\nQUIT\r\nRSET\r\nBDAT 6\r\nQUIT\r\nNOOP\r\n", "250 250 503 250", "data, reset");
    check("BDAT 1\r\naDATA\r\nRCPT TO:<x@y>\r\nMAIL FROM:<>\r\n", "250 503 503 503", "data");
    check("BDAT 3 LAST\r\na\nbNOOP\r\n", "550 250", "data, reset");
    check("BDAT 3 LAST\r\na\0bNOOP\r\n", "550 250", "data, reset");
    check("BDAT 12\r\n123456789012BDAT 9 LAST\r\n123456789NOOP\r\n", "250 552 250", "data, reset");
    check("BDAT 99999\r\n", "552", "data, reset, closed Violation");
    check("BDAT x\r\nBDAT 1 LST\r\n", "501 501", "");
    check_chunks(
        |config| config.bare_newline = BareNewline::Normalize,
        "BDAT 3 LAST\r\na\nb",
        "250",
        "data, message \"a\\r\\nb\"",
    );
    check_chunks(
        |config| config.bare_newline = BareNewline::Normalize,
        "BDAT 3 LAST\r\na\0b",
        "250",
        "data, message \"a?b\"",
    );
    check_chunks(
        |config| config.extensions.chunking = false,
        "BDAT 6\r\nQUIT\r\nNOOP\r\n",
        "502 250",
        "",
    );
}
