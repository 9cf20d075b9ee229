use time::macros::datetime;

use super::*;

fn entry(serial: &str, host: &str) -> Entry {
    Entry {
        serial: serial.to_owned(),
        role: Role::Daemon,
        host: host.to_owned(),
        subject: format!("CN={host}"),
        sans: BTreeSet::from(["10.0.0.12".parse().unwrap(), host.parse().unwrap()]),
        not_before: datetime!(2026-01-01 00:00 UTC),
        not_after: datetime!(2027-01-01 00:00 UTC),
        certificate_sha256: format!("c{serial}"),
        key_sha256: format!("k{serial}"),
        public_key_sha256: format!("p{serial}"),
        key_type: KeyType::EcdsaP256,
        issuer_sha256: "ca".to_owned(),
        issued_at: datetime!(2026-01-01 00:05 UTC),
        issued_name: IssuedName {
            key: format!("{host}/key.pem"),
            certificate: format!("{host}/cert.pem"),
        },
        superseded: false,
        delivered: false,
        kept: false,
        adopted: false,
    }
}

fn issued(serial: &str, host: &str) -> Event {
    Event::Issued(Box::new(entry(serial, host)))
}

fn delivered(serial: &str) -> Event {
    Event::Delivered {
        serial: serial.to_owned(),
        at: datetime!(2026-01-01 00:06 UTC),
        kept: false,
    }
}

fn superseded(serial: &str, by: &str) -> Event {
    Event::Superseded {
        serial: serial.to_owned(),
        by: by.to_owned(),
        at: datetime!(2026-01-01 00:07 UTC),
    }
}

fn parse(events: &[Event]) -> Ledger {
    Ledger::parse(&lines(events).unwrap()).unwrap()
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    let ledger = parse(&[issued("01", "node3")]);
    assert_eq!(ledger.entries(), [entry("01", "node3")]);
    assert_eq!(ledger.by_key_sha256("k01").unwrap().serial, "01");
    assert_eq!(ledger.by_key_sha256("k02"), None);
    assert_eq!(ledger.current("node3", Role::Client), None);
    assert_eq!(Ledger::parse("").unwrap(), Ledger::default());
}

#[test]
fn the_newest_leaf_is_current_and_the_delivered_one_is_on_its_host() {
    let mut events = vec![
        issued("01", "node3"),
        issued("02", "node4"),
        delivered("01"),
    ];
    events.push(issued("03", "node3"));
    let ledger = parse(&events);
    assert_eq!(ledger.current("node3", Role::Daemon).unwrap().serial, "03");
    assert_eq!(
        ledger.delivered("node3", Role::Daemon).unwrap().serial,
        "01"
    );
    assert_eq!(ledger.delivered("node4", Role::Daemon), None);
    events.extend([delivered("03"), superseded("01", "03")]);
    let ledger = parse(&events);
    assert_eq!(
        ledger.delivered("node3", Role::Daemon).unwrap().serial,
        "03"
    );
    assert!(ledger.by_serial("01").unwrap().superseded);
}

#[test]
fn a_line_torn_at_any_byte_loses_that_line_alone() {
    let whole = lines(&[issued("01", "node3"), delivered("01")]).unwrap();
    let start = whole.find('\n').unwrap() + 1;
    for end in start + 1..whole.len() - 1 {
        let ledger = Ledger::parse(&whole[..end]).unwrap();
        assert_eq!(ledger.torn_line(), Some(2), "cut at {end}");
        assert!(!ledger.by_serial("01").unwrap().delivered);
    }
    // Only the end of the line is missing: the event counts.
    let ledger = Ledger::parse(whole.trim_end()).unwrap();
    assert_eq!(ledger.torn_line(), None);
    assert!(ledger.by_serial("01").unwrap().delivered);
}

#[test]
fn a_torn_line_of_other_bytes_is_torn_too() {
    let mut bytes = lines(&[issued("01", "node3")]).unwrap().into_bytes();
    bytes.extend([0, 0xff, 0]);
    let ledger = Ledger::parse_bytes(&bytes).unwrap();
    assert_eq!((ledger.torn_line(), ledger.entries().len()), (Some(2), 1));
    bytes.push(b'\n');
    assert!(matches!(
        Ledger::parse_bytes(&bytes),
        Err(LedgerError::Damaged { line: 2, .. })
    ));
}

#[test]
fn a_damaged_line_is_named() {
    let good = lines(&[issued("01", "node3")]).unwrap();
    for (text, line) in [
        (format!("{good}nonsense\n{good}"), 2),
        (format!("{good}\n"), 2),
        (format!("{good}{good}"), 2),
        (lines(&[delivered("01")]).unwrap(), 1),
        ("{\"event\":\"unheard_of\"}\n".to_owned(), 1),
    ] {
        match Ledger::parse(&text) {
            Err(LedgerError::Damaged { line: named, .. }) => assert_eq!(named, line),
            other => panic!("{text:?} gave {other:?}"),
        }
    }
}

#[test]
fn a_mark_counts_from_its_first_word_on_and_outlives_the_line_of_its_leaf() {
    let revoked = |reason: &str| Event::Revoked {
        serial: "0A".to_owned(),
        revocation: Revocation {
            at: datetime!(2026-02-01 00:00 UTC),
            reason: Some(reason.to_owned()),
        },
    };
    let text = lines(&[
        revoked("stolen"),
        issued("0A", "a"),
        revoked("again"),
        issued("0B", "b"),
    ])
    .unwrap();
    assert!(text.starts_with(
        r#"{"event":"revoked","serial":"0A","at":"2026-02-01T00:00:00Z","reason":"stolen"}"#
    ));
    let ledger = Ledger::parse(&text).unwrap();
    let mark = ledger.revocation("0A").unwrap();
    assert_eq!(mark.reason.as_deref(), Some("stolen"));
    assert_eq!(ledger.revocation("0B"), None);
    let back = Event::Readmitted {
        serial: "0A".to_owned(),
        at: datetime!(2026-03-01 00:00 UTC),
    };
    let undone = text.clone() + &lines(std::slice::from_ref(&back)).unwrap();
    assert_eq!(Ledger::parse(&undone).unwrap().revocation("0A"), None);
    let again = undone + &lines(&[revoked("again")]).unwrap();
    let ledger = Ledger::parse(&again).unwrap();
    let mark = ledger.revocation("0A").unwrap();
    assert_eq!(mark.reason.as_deref(), Some("again"));
}

#[test]
fn a_renewal_that_was_asked_for_is_open_until_a_later_leaf_is_delivered() {
    let asked = |at| Event::RenewalAsked {
        host: "node3".to_owned(),
        role: Role::Daemon,
        at,
    };
    let open = |events: &[Event]| parse(events).renewal_asked("node3", Role::Daemon);
    let at = datetime!(2026-02-01 00:00 UTC);
    let mut events = vec![issued("01", "node3"), delivered("01")];
    assert_eq!(open(&events), None);
    events.push(asked(at));
    assert_eq!(open(&events), Some(at));
    assert_eq!(parse(&events).renewal_asked("node3", Role::Client), None);
    let later = Entry {
        issued_at: datetime!(2026-02-02 00:00 UTC),
        ..entry("02", "node3")
    };
    events.push(Event::Issued(Box::new(later)));
    assert_eq!(open(&events), Some(at));
    events.push(delivered("02"));
    assert_eq!(open(&events), None);
    // A rollback brings the older one back: that is no reason to renew it.
    events.push(superseded("01", "02"));
    assert_eq!(open(&events), None);
}
