//! Any bytes are a record or an error, and each record has one encoding.

use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any};
use proptest::{prop_oneof, proptest};

use super::{EncodingError, LAST_VERSION, VERSION, decode, encode};
use crate::credential::store::{Awaited, Current, Fingerprint, InFlight, Mark, Record, Succession, Value};
use crate::secret::Secret;

fn fingerprint() -> impl Strategy<Value = Fingerprint> {
    any::<Fingerprint>()
}

fn secret() -> impl Strategy<Value = Secret> {
    vec(any::<u8>(), 0..200).prop_map(Secret::new)
}

fn time() -> impl Strategy<Value = Timestamp> {
    let range = Timestamp::MIN.as_nanosecond()..=Timestamp::MAX.as_nanosecond();
    range.prop_map(|at| Timestamp::from_nanosecond(at).expect("within the range"))
}

fn current() -> impl Strategy<Value = Current> {
    let outputs = btree_map(".{0,12}", secret(), 0..4);
    (fingerprint(), any::<u64>(), time(), option::of(time()), outputs).prop_map(
        |(inputs, generation, obtained_at, expires_at, outputs)| Current {
            inputs,
            generation,
            obtained_at,
            expires_at,
            outputs: outputs.into_iter().collect(),
        },
    )
}

fn value() -> impl Strategy<Value = Value> {
    let outputs = btree_map(".{0,12}", secret(), 0..4);
    (option::of(time()), outputs)
        .prop_map(|(expires_at, outputs)| Value { expires_at, outputs: outputs.into_iter().collect() })
}

fn succession() -> impl Strategy<Value = Succession> {
    (fingerprint(), option::of(time()), option::of(value()), option::of(value()))
        .prop_map(|(of, since, successor, previous)| Succession { of, since, successor, previous })
}

fn awaited() -> impl Strategy<Value = Awaited> {
    let number = (any::<u32>(), any::<u32>()).prop_map(|(validity, next)| Mark::Number { validity, next });
    let mark = prop_oneof![number, time().prop_map(Mark::Time)];
    (fingerprint(), time(), vec(mark, 0..3)).prop_map(|(of, since, marks)| Awaited { of, since, marks })
}

/// Any record.
pub(super) fn record() -> impl Strategy<Value = Record> {
    let in_flight = (fingerprint(), any::<bool>()).prop_map(|(value, again)| InFlight { value, again });
    (
        option::of((fingerprint(), secret())),
        option::of(time()),
        option::of(in_flight),
        option::of(fingerprint()),
        option::of((fingerprint(), any::<u32>())),
        option::of(current()),
        option::of(succession()),
        vec(time(), 0..3),
        option::of(time()),
        option::of(secret()),
        option::of(awaited()),
    )
        .prop_map(
            |(
                replacement,
                renew_by,
                in_flight,
                reusable,
                rejections,
                current,
                succession,
                attempts,
                set_until,
                memo,
                awaited,
            )| {
                Record {
                    replacement,
                    renew_by,
                    in_flight,
                    reusable,
                    rejections,
                    current,
                    succession,
                    attempts,
                    set_until,
                    memo,
                    awaited,
                }
            },
        )
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(record in record()) {
        let bytes = encode(&record);
        assert_eq!(decode(bytes.expose()), Ok(record));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(record) = decode(&bytes) {
            assert_eq!(encode(&record).expose(), bytes);
        }
    }

    #[test]
    fn a_record_that_was_changed_or_cut_anywhere_has_still_one_encoding(
        record in record(), at in any::<proptest::sample::Index>(), flip in 1..=255_u8, cut in any::<bool>(),
    ) {
        let mut bytes = encode(&record).expose().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        match decode(&bytes) {
            Ok(other) => assert_eq!(encode(&other).expose(), bytes),
            Err(EncodingError::Version(version)) => assert!(at == 0 && !(VERSION..=LAST_VERSION).contains(&version)),
            Err(EncodingError::Malformed) => {}
        }
    }

    #[test]
    fn a_later_version_is_told_as_such(version in 6..=255_u8, rest in vec(any::<u8>(), 0..50), zero in Just(0)) {
        let bytes: Vec<u8> = std::iter::once(version).chain(rest).collect();
        assert_eq!(decode(&bytes), Err(EncodingError::Version(version)));
        assert_eq!(decode(&[zero]), Err(EncodingError::Version(0)));
    }
}

#[test]
fn an_empty_record_is_one_byte_and_no_bytes_are_none() {
    assert_eq!(encode(&Record::default()).expose(), [VERSION]);
    assert_eq!(decode(&[VERSION]), Ok(Record::default()));
    assert_eq!(decode(&[]), Err(EncodingError::Malformed));
}

/// Whoever changes the encoding without a new version is told here.
#[test]
fn version_1_is_written_as_it_always_was() {
    let record = Record {
        replacement: Some(([1; 32], Secret::from("next"))),
        renew_by: Some(Timestamp::UNIX_EPOCH),
        in_flight: Some(InFlight { value: [2; 32], again: true }),
        reusable: Some([3; 32]),
        rejections: Some(([4; 32], 2)),
        current: Some(Current {
            inputs: [5; 32],
            generation: 7,
            obtained_at: Timestamp::UNIX_EPOCH,
            expires_at: None,
            outputs: [("t".to_owned(), Secret::from("ab"))].into(),
        }),
        ..Record::default()
    };
    let mut expected = vec![1];
    expected.extend([&[1, 0, 0, 0, 36][..], &[1; 32], b"next"].concat());
    expected.extend([&[2, 0, 0, 0, 12][..], &[0; 12]].concat());
    expected.extend([&[3, 0, 0, 0, 33][..], &[2; 32], &[1]].concat());
    expected.extend([&[4, 0, 0, 0, 32][..], &[3; 32]].concat());
    expected.extend([&[5, 0, 0, 0, 36][..], &[4; 32], &[0, 0, 0, 2]].concat());
    let current =
        [&[5; 32][..], &[0, 0, 0, 0, 0, 0, 0, 7], &[0; 12], &[0], &[0, 0, 0, 1], b"t", &[0, 0, 0, 2], b"ab"];
    let current = current.concat();
    expected.extend([&[6, 0, 0, 0][..], &[u8::try_from(current.len()).expect("short")], &current].concat());
    assert_eq!(encode(&record).expose(), expected);
}

#[test]
fn version_2_is_version_1_with_a_succession() {
    let value =
        |text: &str| Value { expires_at: None, outputs: [("s".to_owned(), Secret::from(text))].into() };
    let succession = Succession {
        of: [8; 32],
        since: Some(Timestamp::UNIX_EPOCH),
        successor: None,
        previous: Some(value("xyz")),
    };
    let record = Record { succession: Some(succession), ..Record::default() };
    let previous = [&[0, 0, 0, 0, 1][..], b"s", &[0, 0, 0, 3], b"xyz"].concat();
    let inner = [&[8; 32][..], &[1], &[0; 12], &[0, 0, 0, 0], &[0, 0, 0, 13], &previous].concat();
    let length = u8::try_from(inner.len()).expect("short");
    assert_eq!(encode(&record).expose(), [&[2, 7, 0, 0, 0, length][..], &inner].concat());
    assert_eq!(decode(&[2]), Err(EncodingError::Malformed), "version 2 is written for a succession only");
}

#[test]
fn version_3_is_one_of_them_with_attempts_or_an_end_that_was_set() {
    let attempts = vec![Timestamp::UNIX_EPOCH; 2];
    let record = Record { attempts, set_until: Some(Timestamp::UNIX_EPOCH), ..Record::default() };
    let expected = [&[3, 8, 0, 0, 0, 24][..], &[0; 24], &[9, 0, 0, 0, 12], &[0; 12]].concat();
    assert_eq!(encode(&record).expose(), expected);
    assert_eq!(decode(&[3]), Err(EncodingError::Malformed), "version 3 is written for these only");
    assert_eq!(decode(&[3, 8, 0, 0, 0, 0]), Err(EncodingError::Malformed), "no attempts are not written");
}

#[test]
fn version_4_is_one_of_them_with_a_memo() {
    let record = Record { memo: Some(Secret::from("told")), ..Record::default() };
    assert_eq!(encode(&record).expose(), [&[4, 10, 0, 0, 0, 4][..], b"told"].concat());
    assert_eq!(decode(&[4]), Err(EncodingError::Malformed), "version 4 is written for a memo only");
}

#[test]
fn version_5_is_one_of_them_with_messages_that_are_awaited() {
    let marks = vec![Mark::Number { validity: 7, next: 9 }, Mark::Time(Timestamp::UNIX_EPOCH)];
    let awaited = Awaited { of: [6; 32], since: Timestamp::UNIX_EPOCH, marks };
    let record = Record { awaited: Some(awaited), ..Record::default() };
    let inner = [&[6; 32][..], &[0; 12], &[1, 0, 0, 0, 7, 0, 0, 0, 9], &[2], &[0; 12]].concat();
    let length = u8::try_from(inner.len()).expect("short");
    assert_eq!(encode(&record).expose(), [&[5, 11, 0, 0, 0, length][..], &inner].concat());
    assert_eq!(decode(&[5]), Err(EncodingError::Malformed), "version 5 is written for these only");
}
