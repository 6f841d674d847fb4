//! `command_status`: every code with its name, a sentence, and what to do about it
//! (SMPP v3.4 §5.1.3, v5.0 §4.7.6).
use std::fmt;

/// A `command_status`. Any 32-bit value can arrive; the constants are the ones that we set or
/// look for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Status(pub u32);

/// What a status means for the message that got it and for the connector that it came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StatusClass {
    /// It was taken.
    Accepted,
    /// Try the same way again later, then another one.
    Temporary,
    /// The connector is misconfigured or not welcome: stop feeding it, keep the message.
    Connector,
    /// Too fast: slow down; the message did nothing wrong and this is no attempt.
    Throttle,
    /// This message will never be taken.
    Permanent,
    /// We sent something that the peer does not understand: permanent, and our fault.
    Malformed,
    /// It can mean anything: try a few times, then give up.
    Unclear,
}

/// A change of the message after which one more try is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Send it without optional TLVs.
    DropTlvs,
    /// Send it in another alphabet.
    OtherAlphabet,
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusInfo {
    /// The code.
    pub status: Status,
    /// The standard's name without `ESME_`.
    pub name: &'static str,
    /// What it says, as a sentence.
    pub text: &'static str,
    /// What it means for us.
    pub class: StatusClass,
    /// The enhanced mail status (RFC 3463) once it is final.
    pub mail: &'static str,
}

impl Status {
    /// No error
    pub const ROK: Self = Self(0x00);
    /// The message length is invalid
    pub const RINVMSGLEN: Self = Self(0x01);
    /// The command length is invalid
    pub const RINVCMDLEN: Self = Self(0x02);
    /// The command id is invalid
    pub const RINVCMDID: Self = Self(0x03);
    /// The command is not allowed in this bind state
    pub const RINVBNDSTS: Self = Self(0x04);
    /// Already bound
    pub const RALYBND: Self = Self(0x05);
    /// System error
    pub const RSYSERR: Self = Self(0x08);
    /// The source address is invalid
    pub const RINVSRCADR: Self = Self(0x0A);
    /// The destination address is invalid
    pub const RINVDSTADR: Self = Self(0x0B);
    /// The message id is invalid
    pub const RINVMSGID: Self = Self(0x0C);
    /// The bind failed
    pub const RBINDFAIL: Self = Self(0x0D);
    /// The password is invalid
    pub const RINVPASWD: Self = Self(0x0E);
    /// The system id is invalid
    pub const RINVSYSID: Self = Self(0x0F);
    /// The message could not be cancelled
    pub const RCANCELFAIL: Self = Self(0x11);
    /// The message could not be replaced
    pub const RREPLACEFAIL: Self = Self(0x13);
    /// The queue is full
    pub const RMSGQFUL: Self = Self(0x14);
    /// The number of destinations is invalid
    pub const RINVNUMDESTS: Self = Self(0x33);
    /// The destination flag is invalid
    pub const RINVDESTFLAG: Self = Self(0x40);
    /// The submit failed
    pub const RSUBMITFAIL: Self = Self(0x45);
    /// The system type is invalid
    pub const RINVSYSTYP: Self = Self(0x53);
    /// Too many messages in too short a time
    pub const RTHROTTLED: Self = Self(0x58);
    /// The schedule time is invalid
    pub const RINVSCHED: Self = Self(0x61);
    /// The validity period is invalid
    pub const RINVEXPIRY: Self = Self(0x62);
    /// The receiver cannot take it now
    pub const RX_T_APPN: Self = Self(0x64);
    /// The receiver will never take it
    pub const RX_P_APPN: Self = Self(0x65);
    /// The receiver rejects it
    pub const RX_R_APPN: Self = Self(0x66);
    /// The query failed
    pub const RQUERYFAIL: Self = Self(0x67);
    /// The stream of optional parameters is broken
    pub const RINVOPTPARSTREAM: Self = Self(0xC0);
    /// An optional parameter has a wrong length
    pub const RINVPARLEN: Self = Self(0xC2);
    /// An optional parameter has a wrong value
    pub const RINVOPTPARAMVAL: Self = Self(0xC4);
    /// Unknown error
    pub const RUNKNOWNERR: Self = Self(0xFF);

    /// True for ROK.
    #[must_use]
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// The row of the table; `None` for reserved and vendor codes.
    #[must_use]
    pub fn info(self) -> Option<&'static StatusInfo> {
        let at = TABLE.binary_search_by_key(&self, |info| info.status).ok()?;
        TABLE.get(at)
    }

    /// The standard's name; vendor and reserved codes have none.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        self.info().map(|info| info.name)
    }

    /// What it says, as a sentence.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self.info() {
            Some(info) => info.text,
            None if self.is_vendor() => "the SMSC's own error",
            None => "a status that no standard names",
        }
    }

    /// What to do by default. An operator can say otherwise for each connector.
    #[must_use]
    pub fn class(self) -> StatusClass {
        self.info().map_or(Unclear, |info| info.class)
    }

    /// The enhanced mail status (RFC 3463) for a message that this ended.
    #[must_use]
    pub fn mail(self) -> &'static str {
        self.info().map_or("5.0.0", |info| info.mail)
    }

    /// What could be changed so that one more try makes sense.
    #[must_use]
    pub const fn remedy(self) -> Option<Remedy> {
        match self.0 {
            0xC0..=0xC4 => Some(Remedy::DropTlvs),
            0x104 => Some(Remedy::OtherAlphabet),
            _ => None,
        }
    }

    /// Vendors have 0x400 to 0x4FF to themselves.
    #[must_use]
    pub const fn is_vendor(self) -> bool {
        matches!(self.0, 0x400..=0x4FF)
    }

    /// The status with this name (with or without `ESME_`) or number (`0x14`, `20`).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            return u32::from_str_radix(hex, 16).ok().map(Self);
        }
        if let Ok(code) = text.parse() {
            return Some(Self(code));
        }
        let name = text.strip_prefix("ESME_").unwrap_or(text);
        TABLE.iter().find(|info| info.name == name).map(|info| info.status)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "0x{:02X} ESME_{name}", self.0),
            None => write!(f, "0x{:02X}", self.0),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const fn row(
    code: u32,
    name: &'static str,
    class: StatusClass,
    mail: &'static str,
    text: &'static str,
) -> StatusInfo {
    StatusInfo { status: Status(code), name, text, class, mail }
}

use StatusClass::{Accepted, Connector, Malformed, Permanent, Temporary, Throttle, Unclear};

/// Every code that a standard names, by number. Codes above 0xFF are v5.0's.
#[rustfmt::skip]
pub static TABLE: &[StatusInfo] = &[
    row(0x00, "ROK", Accepted, "2.0.0", "no error"),
    row(0x01, "RINVMSGLEN", Malformed, "5.3.4", "the message length is invalid"),
    row(0x02, "RINVCMDLEN", Malformed, "5.5.0", "the command length is invalid"),
    row(0x03, "RINVCMDID", Malformed, "5.5.1", "the command id is invalid"),
    row(0x04, "RINVBNDSTS", Connector, "4.3.0", "the command is not allowed in this bind state"),
    row(0x05, "RALYBND", Connector, "4.3.0", "already bound"),
    row(0x06, "RINVPRTFLG", Malformed, "5.5.4", "the priority flag is invalid"),
    row(0x07, "RINVREGDLVFLG", Malformed, "5.5.4", "the registered delivery flag is invalid"),
    row(0x08, "RSYSERR", Temporary, "4.3.0", "system error"),
    row(0x0A, "RINVSRCADR", Permanent, "5.1.8", "the source address is invalid"),
    row(0x0B, "RINVDSTADR", Permanent, "5.1.1", "the destination address is invalid"),
    row(0x0C, "RINVMSGID", Permanent, "5.5.4", "the message id is invalid"),
    row(0x0D, "RBINDFAIL", Connector, "4.3.5", "the bind failed"),
    row(0x0E, "RINVPASWD", Connector, "4.3.5", "the password is invalid"),
    row(0x0F, "RINVSYSID", Connector, "4.3.5", "the system id is invalid"),
    row(0x11, "RCANCELFAIL", Permanent, "5.5.4", "the message could not be cancelled"),
    row(0x13, "RREPLACEFAIL", Permanent, "5.5.4", "the message could not be replaced"),
    row(0x14, "RMSGQFUL", Throttle, "4.3.2", "the message queue is full"),
    row(0x15, "RINVSERTYP", Connector, "5.5.4", "the service type is invalid"),
    row(0x33, "RINVNUMDESTS", Permanent, "5.5.3", "the number of destinations is invalid"),
    row(0x34, "RINVDLNAME", Permanent, "5.5.3", "the distribution list name is invalid"),
    row(0x40, "RINVDESTFLAG", Permanent, "5.5.3", "the destination flag is invalid"),
    row(0x42, "RINVSUBREP", Permanent, "5.5.4", "submit with replace is not allowed"),
    row(0x43, "RINVESMCLASS", Malformed, "5.5.4", "the esm_class is invalid"),
    row(0x44, "RCNTSUBDL", Permanent, "5.5.3", "cannot submit to the distribution list"),
    row(0x45, "RSUBMITFAIL", Unclear, "5.0.0", "the submit failed"),
    row(0x48, "RINVSRCTON", Permanent, "5.1.7", "the source type of number is invalid"),
    row(0x49, "RINVSRCNPI", Permanent, "5.1.7", "the source numbering plan is invalid"),
    row(0x50, "RINVDSTTON", Permanent, "5.1.3", "the destination type of number is invalid"),
    row(0x51, "RINVDSTNPI", Permanent, "5.1.3", "the destination numbering plan is invalid"),
    row(0x53, "RINVSYSTYP", Connector, "4.3.5", "the system type is invalid"),
    row(0x54, "RINVREPFLAG", Malformed, "5.5.4", "the replace_if_present flag is invalid"),
    row(0x55, "RINVNUMMSGS", Malformed, "5.5.4", "the number of messages is invalid"),
    row(0x58, "RTHROTTLED", Throttle, "4.3.2", "too many messages in too short a time"),
    row(0x61, "RINVSCHED", Permanent, "5.5.4", "the scheduled delivery time is invalid"),
    row(0x62, "RINVEXPIRY", Permanent, "5.4.7", "the validity period is invalid"),
    row(0x63, "RINVDFTMSGID", Permanent, "5.5.4", "the predefined message does not exist"),
    row(0x64, "RX_T_APPN", Temporary, "4.3.0", "the receiver cannot take it now"),
    row(0x65, "RX_P_APPN", Permanent, "5.3.0", "the receiver will never take it"),
    row(0x66, "RX_R_APPN", Permanent, "5.7.1", "the receiver rejects it"),
    row(0x67, "RQUERYFAIL", Permanent, "5.5.4", "the query failed"),
    row(0xC0, "RINVOPTPARSTREAM", Malformed, "5.5.4", "the optional part of the PDU is broken"),
    row(0xC1, "ROPTPARNOTALLWD", Malformed, "5.5.4", "an optional parameter is not allowed"),
    row(0xC2, "RINVPARLEN", Malformed, "5.5.4", "a parameter has an invalid length"),
    row(0xC3, "RMISSINGOPTPARAM", Malformed, "5.5.4", "an expected optional parameter is missing"),
    row(0xC4, "RINVOPTPARAMVAL", Malformed, "5.5.4", "an optional parameter has an invalid value"),
    row(0xFE, "RDELIVERYFAILURE", Unclear, "5.0.0", "the delivery failed"),
    row(0xFF, "RUNKNOWNERR", Unclear, "5.0.0", "unknown error"),
    row(0x100, "RSERTYPUNAUTH", Connector, "5.7.1", "not authorised for this service type"),
    row(0x101, "RPROHIBITED", Connector, "5.7.1", "not allowed to use this operation"),
    row(0x102, "RSERTYPUNAVAIL", Temporary, "4.3.2", "the service type is not available now"),
    row(0x103, "RSERTYPDENIED", Connector, "5.7.1", "the service type is denied"),
    row(0x104, "RINVDCS", Permanent, "5.5.4", "the data coding is invalid"),
    row(0x105, "RINVSRCADDRSUBUNIT", Permanent, "5.1.7", "the source address subunit is invalid"),
    row(0x106, "RINVDSTADDRSUBUNIT", Permanent, "5.1.3", "the destination subunit is invalid"),
    row(0x107, "RINVBCASTFREQINT", Permanent, "5.5.4", "the broadcast frequency is invalid"),
    row(0x108, "RINVBCASTALIAS_NAME", Permanent, "5.5.4", "the broadcast alias is invalid"),
    row(0x109, "RINVBCASTAREAFMT", Permanent, "5.5.4", "the broadcast area format is invalid"),
    row(0x10A, "RINVNUMBCAST_AREAS", Permanent, "5.5.4", "the number of areas is invalid"),
    row(0x10B, "RINVBCASTCNTTYPE", Permanent, "5.5.4", "the broadcast content type is invalid"),
    row(0x10C, "RINVBCASTMSGCLASS", Permanent, "5.5.4", "the broadcast class is invalid"),
    row(0x10D, "RBCASTFAIL", Permanent, "5.5.4", "the broadcast failed"),
    row(0x10E, "RBCASTQUERYFAIL", Permanent, "5.5.4", "the broadcast query failed"),
    row(0x10F, "RBCASTCANCELFAIL", Permanent, "5.5.4", "the broadcast could not be cancelled"),
    row(0x110, "RINVBCAST_REP", Permanent, "5.5.4", "the number of repeats is invalid"),
    row(0x111, "RINVBCASTSRVGRP", Permanent, "5.5.4", "the broadcast service group is invalid"),
    row(0x112, "RINVBCASTCHANIND", Permanent, "5.5.4", "the broadcast channel is invalid"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_says_each_code_once() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].status < pair[1].status, "{:?}", pair[1]);
        }
        for info in TABLE {
            assert_eq!(info.status.info(), Some(info));
            assert_eq!(Status::parse(info.name), Some(info.status));
            assert_eq!(Status::parse(&format!("ESME_{}", info.name)), Some(info.status));
            let digit = info.mail.as_bytes()[0];
            assert!(matches!(digit, b'2' | b'4' | b'5'), "{info:?}");
        }
    }

    #[track_caller]
    fn check(code: u32, class: StatusClass, shown: &str) {
        assert_eq!(Status(code).class(), class);
        assert_eq!(Status(code).to_string(), shown);
    }

    #[test]
    fn every_code_has_a_class_and_a_name_to_show() {
        check(0, Accepted, "0x00 ESME_ROK");
        check(0x58, Throttle, "0x58 ESME_RTHROTTLED");
        check(0x14, Throttle, "0x14 ESME_RMSGQFUL");
        check(0x08, Temporary, "0x08 ESME_RSYSERR");
        check(0x0E, Connector, "0x0E ESME_RINVPASWD");
        check(0x0B, Permanent, "0x0B ESME_RINVDSTADR");
        check(0x45, Unclear, "0x45 ESME_RSUBMITFAIL");
        check(0x422, Unclear, "0x422");
        check(u32::MAX, Unclear, "0xFFFFFFFF");
        assert_eq!(Status::parse("0x58"), Some(Status::RTHROTTLED));
        assert_eq!(Status::parse("88"), Some(Status::RTHROTTLED));
        assert_eq!(Status::parse("nonsense"), None);
        assert_eq!(Status(0xC2).remedy(), Some(Remedy::DropTlvs));
    }
}
