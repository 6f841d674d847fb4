//! The journal: what is told is found again, and nothing of it grows without end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use message::{MessageId, Timestamp};
use tempfile::TempDir;

use super::{Cursor, Journal, Options, Page, Position, Reader, segment};
use crate::observe::event::{Event, What};
use crate::platform::clock::Clock;

/// The first millisecond of ids.
fn epoch_ms() -> u64 {
    MessageId::from_u64(0).time().as_ms()
}

/// An id made `ms` after the first millisecond of ids.
fn id(ms: u64, sequence: u64) -> MessageId {
    MessageId::from_u64((ms << 22) | sequence)
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(epoch_ms() + ms)
}

fn failed(reason: &str) -> What {
    What::Failed { reason: reason.into() }
}

fn event(ms: u64, id: MessageId, of: Option<MessageId>) -> Event {
    Event { at: at(ms), id, of, what: failed("because it \"failed\"\n") }
}

fn open(options: Options) -> Journal {
    Journal::open(options, Clock::system()).unwrap()
}

fn segments(folder: &Path) -> Vec<u64> {
    segment::list(folder).unwrap()
}

/// Puts a segment there as if it had been written at that time.
fn old_segment(folder: &Path, first_ms: u64, events: &[Event]) {
    let lines: Vec<String> =
        events.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    fs::write(segment::path(folder, first_ms), lines.concat()).unwrap();
}

#[test]
fn the_story_of_a_message_is_told_whole_from_any_of_its_ids() {
    let place = TempDir::new().unwrap();
    let (message, leg, delivery, receipt) = (id(1000, 1), id(1000, 2), id(1001, 1), id(5000, 9));
    let story = [
        event(1000, message, None),
        event(1000, leg, Some(message)),
        event(1001, delivery, Some(leg)),
        event(5000, receipt, Some(delivery)),
        event(5001, receipt, None),
    ];
    let journal = open(Options::new(place.path()));
    let other = event(1000, id(1000, 77), None);
    for event in &story {
        journal.record(vec![event.clone(), other.clone()]);
    }
    journal.flush();
    let reader = journal.reader().unwrap();
    for id in [message, leg, delivery, receipt] {
        assert_eq!(reader.trace(id).unwrap(), story, "{id}");
    }
    assert_eq!(reader.trace(id(1000, 78)).unwrap(), []);
    assert_eq!(journal.lost(), 0);
}

#[test]
fn a_story_is_looked_for_from_the_time_of_its_id_on() {
    let place = TempDir::new().unwrap();
    let now = 100_000_000;
    let message = id(now, 1);
    let told = |ms| event(ms, message, None);
    old_segment(place.path(), epoch_ms() + 1, &[told(1)]);
    old_segment(place.path(), epoch_ms() + 2, &[told(2)]);
    old_segment(place.path(), epoch_ms() + now - 1, &[told(now)]);
    old_segment(place.path(), epoch_ms() + now + 5, &[told(now + 5)]);
    let reader = Reader::new(place.path());
    assert_eq!(reader.trace(message).unwrap(), [told(2), told(now), told(now + 5)]);
}

#[test]
fn events_are_read_page_by_page_while_they_are_written() {
    let place = TempDir::new().unwrap();
    let mut options = Options::new(place.path());
    options.limits.segment_bytes_max = 500;
    let journal = open(options);
    let reader = journal.reader().unwrap();
    assert_eq!(reader.page(Position::Start, 10, None).unwrap(), nothing(Position::Start));
    assert_eq!(reader.end().unwrap(), Position::Start);
    let all: Vec<Event> = (0..20).map(|ms| event(ms, id(ms, 1), None)).collect();
    for one in &all {
        journal.record(vec![one.clone()]);
        journal.flush();
    }
    assert!(segments(place.path()).len() > 3);
    let (mut read, mut at): (Vec<Event>, Position) = (Vec::new(), Position::Start);
    while read.len() < all.len() {
        let page = reader.page(at, 3, None).unwrap();
        assert!(!page.events.is_empty() && page.events.len() <= 3 && !page.gap);
        assert_eq!(Position::After(page.events.last().unwrap().0), page.next);
        read.extend(events(&page));
        at = Position::After(page.next.to_string().parse().unwrap());
    }
    assert_eq!(read, all);
    assert_eq!(at, reader.end().unwrap());
    assert_eq!(reader.page(at, 3, None).unwrap(), nothing(at));
    journal.record(vec![event(99, id(99, 1), None)]);
    journal.flush();
    assert_eq!(events(&reader.page(at, 3, None).unwrap()), [event(99, id(99, 1), None)]);
    let one = reader.page(Position::Start, 30, Some(id(7, 1))).unwrap();
    assert_eq!(events(&one), [event(7, id(7, 1), None)]);
    assert!("1".parse::<Cursor>().is_err() && "1:x".parse::<Cursor>().is_err());
}

fn nothing(next: Position) -> Page {
    Page { events: Vec::new(), next, gap: false }
}

fn events(page: &Page) -> Vec<Event> {
    page.events.iter().map(|(_, event)| event.clone()).collect()
}

#[test]
fn whoever_reads_too_late_is_told_that_lines_are_missing() {
    let place = TempDir::new().unwrap();
    let now_ms = Clock::system().now().as_ms();
    old_segment(place.path(), now_ms - 10, &[event(1, id(1, 1), None)]);
    old_segment(place.path(), now_ms - 5, &[event(2, id(2, 1), None)]);
    let reader = Reader::new(place.path());
    let read = reader.page(Position::Start, 1, None).unwrap();
    fs::remove_file(segment::path(place.path(), now_ms - 10)).unwrap();
    let late = reader.page(read.next, 10, None).unwrap();
    assert!(late.gap);
    assert_eq!(events(&late), [event(2, id(2, 1), None)]);
    assert!(!reader.page(late.next, 10, None).unwrap().gap);
}

#[test]
fn limits_change_while_it_is_written() {
    let place = TempDir::new().unwrap();
    let mut options = Options::new(place.path());
    for first_ms in [10, 20, 30] {
        old_segment(place.path(), first_ms, &[event(1, id(1, 1), None)]);
    }
    let journal = open(options.clone());
    journal.record(vec![event(2, id(2, 1), None)]);
    journal.flush();
    assert_eq!(segments(place.path()).len(), 4);
    options.limits.total_bytes_max = 1;
    journal.set_limits(options.limits);
    journal.close();
    assert_eq!(segments(place.path()).len(), 1, "the newest always stays");
}

#[test]
fn the_oldest_segments_go_when_there_are_too_many_or_they_are_too_old() {
    let place = TempDir::new().unwrap();
    let now_ms = Clock::system().now().as_ms();
    for first_ms in [10, 20, now_ms - 5_000, now_ms - 10] {
        old_segment(place.path(), first_ms, &[event(1, id(1, 1), None)]);
    }
    let mut options = Options::new(place.path());
    options.limits.keep = Some(Duration::from_secs(60));
    open(options.clone()).close();
    assert_eq!(segments(place.path()), [20, now_ms - 5_000, now_ms - 10], "20 ended 5 s ago");
    options.limits.keep = None;
    options.limits.total_bytes_max = 1;
    open(options.clone()).close();
    assert_eq!(segments(place.path()), [now_ms - 10], "the newest always stays");
    options.limits.segment_bytes_max = 150;
    options.limits.total_bytes_max = 1000;
    let journal = open(options);
    for ms in 0..50 {
        journal.record(vec![event(ms, id(ms, 1), None)]);
        journal.flush();
    }
    let bytes = |ms: &u64| fs::metadata(segment::path(place.path(), *ms)).unwrap().len();
    assert!(segments(place.path()).iter().map(bytes).sum::<u64>() <= 1200);
    assert_eq!(journal.lost(), 0);
}

#[test]
fn torn_and_foreign_lines_are_passed_over() {
    let place = TempDir::new().unwrap();
    let good = event(1000, id(1000, 1), None);
    let line = serde_json::to_string(&good).unwrap();
    let (torn, _) = line.split_at(line.len() / 2);
    let text = format!("{torn}\nnot json\n{{\"id\":\"x\"}}\n\n{line}\n{torn}");
    fs::write(segment::path(place.path(), epoch_ms() + 1000), text).unwrap();
    fs::write(place.path().join("README"), "not a segment").unwrap();
    let reader = Reader::new(place.path());
    assert_eq!(reader.trace(good.id).unwrap(), std::slice::from_ref(&good));
    assert_eq!(events(&reader.page(Position::Start, 10, None).unwrap()), [good]);
}

#[test]
fn only_the_owner_can_read_it() {
    let place = TempDir::new().unwrap();
    let folder = place.path().join("journal");
    let journal = open(Options::new(&folder));
    journal.record(vec![event(1, id(1, 1), None)]);
    journal.close();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&segment::path(&folder, segments(&folder)[0])), 0o600);
}

#[test]
fn what_cannot_be_written_is_counted_and_writing_goes_on_later() {
    let place = TempDir::new().unwrap();
    let folder = place.path().join("journal");
    let journal = open(Options::new(&folder));
    fs::remove_dir(&folder).unwrap();
    journal.record(vec![event(1, id(1, 1), None); 3]);
    journal.flush();
    assert_eq!(journal.lost(), 3);
    fs::create_dir(&folder).unwrap();
    journal.record(vec![event(2, id(2, 1), None)]);
    journal.flush();
    assert_eq!(journal.reader().unwrap().trace(id(2, 1)).unwrap().len(), 1);
    let page = journal.reader().unwrap().page(Position::Start, 10, None).unwrap();
    assert_eq!(page.events[0].1.what, What::Lost { events: 3 });
    journal.close();
    journal.record(vec![event(3, id(3, 1), None)]);
    journal.flush();
    assert_eq!(journal.lost(), 4);
}

#[test]
fn many_recorders_lose_nothing() {
    let place = TempDir::new().unwrap();
    let journal = open(Options::new(place.path()));
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let journal = journal.clone();
            std::thread::spawn(move || {
                for n in 0..500 {
                    journal.record(vec![event(n, id(thread, n), None)]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    journal.flush();
    let page = journal.reader().unwrap().page(Position::Start, usize::MAX, None).unwrap();
    assert_eq!(page.events.len() + usize::try_from(journal.lost()).unwrap(), 2000);
    assert_eq!(journal.lost(), 0);
    let none = Journal::none();
    none.record(vec![event(1, id(1, 1), None)]);
    assert!(none.reader().is_none());
}
