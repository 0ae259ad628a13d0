use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{LIFETIME, OF_ONE_OWNER, Secrets, Session, Sessions};
use crate::clock::Clock;
use crate::credential::consent::{ConsentError, Meant, Progress};
use crate::credential::flow::testing::credential;
use crate::credential::flow::{Flow, StaticFlow, fixed::Expires};
use crate::credential::{Owner, Subject};
use crate::secret::Secret;

fn of(subject: &str) -> Owner {
    Owner::subject("c".into(), Subject::new(subject).expect("a subject"))
}

fn session(owner: Owner, secrets: Secrets) -> Session {
    // What it is a login of does not matter to the book of logins.
    let flow = Flow::Static(StaticFlow { expires: Expires::Never });
    let spec = Arc::new(credential(flow, Duration::from_secs(1)));
    Session { secrets, ..Session::of(owner, spec, None) }
}

/// A book with room for so many, and its clock.
fn book(room: usize) -> (Clock, Sessions) {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH, 1);
    (clock.clone(), Sessions::new(clock, room))
}

fn begin(sessions: &mut Sessions, state: &str, owner: Owner) -> Result<(), ConsentError> {
    sessions.insert(state, session(owner, Secrets::None), LIFETIME)
}

fn meant(credential: &str, subject: Option<&str>) -> Meant {
    let subject = subject.map(|subject| Subject::new(subject).expect("a subject"));
    Meant { credential: credential.into(), subject }
}

#[tokio::test(start_paused = true)]
async fn a_state_is_taken_once_by_whom_it_belongs_to() {
    let (_, mut sessions) = book(10);
    begin(&mut sessions, "s", of("alice")).expect("room");
    assert!(sessions.take("t", None).is_none());
    assert!(sessions.take("s", Some(&meant("d", None))).is_none(), "another credential");
    assert!(sessions.take("s", Some(&meant("c", Some("bob")))).is_none(), "another subject");
    assert!(sessions.watch(&"d".into(), "s").is_none());
    let taken = sessions.take("s", Some(&meant("c", Some("alice")))).expect("a login");
    assert_eq!(taken.session.owner, of("alice"));
    assert!(sessions.take("s", None).is_none(), "it was taken");
}

#[tokio::test(start_paused = true)]
async fn a_login_lives_for_ten_minutes_also_while_the_machine_sleeps() {
    let (clock, mut sessions) = book(10);
    begin(&mut sessions, "s", of("alice")).expect("room");
    let watch = sessions.watch(&"c".into(), "s").expect("a login");
    clock.suspend(LIFETIME - Duration::from_secs(1));
    assert!(sessions.is_pending("s"));
    clock.suspend(Duration::from_secs(1));
    assert!(sessions.take("s", None).is_none());
    assert_eq!(*watch.borrow(), Progress::Failed(ConsentError::TooLate));
    assert_eq!(sessions.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn logins_are_bounded_and_those_that_ended_make_room() {
    let (_, mut sessions) = book(2);
    begin(&mut sessions, "a", of("a")).expect("room");
    begin(&mut sessions, "b", of("b")).expect("room");
    assert_eq!(begin(&mut sessions, "c", of("c")), Err(ConsentError::Full));
    sessions.finish("a", Progress::Done);
    assert_eq!(*sessions.watch(&"c".into(), "a").expect("a login").borrow(), Progress::Done);
    begin(&mut sessions, "c", of("c")).expect("what ended makes room");
    assert!(sessions.watch(&"c".into(), "a").is_none() && sessions.is_pending("b"));
}

#[tokio::test(start_paused = true)]
async fn one_owner_takes_the_room_of_few() {
    let (_, mut sessions) = book(100);
    begin(&mut sessions, "other", of("b")).expect("room");
    for number in 0..=OF_ONE_OWNER {
        begin(&mut sessions, &format!("a{number}"), of("a")).expect("room");
    }
    assert!(!sessions.is_pending("a0"), "the oldest went");
    assert!(sessions.is_pending("a1") && sessions.is_pending("other"));
}

#[tokio::test(start_paused = true)]
async fn a_logout_ends_the_logins_of_its_owner() {
    let (_, mut sessions) = book(10);
    begin(&mut sessions, "a", of("a")).expect("room");
    begin(&mut sessions, "b", of("b")).expect("room");
    sessions.abandon(&of("a"));
    assert!(sessions.take("a", None).is_none() && sessions.take("b", None).is_some());
}

#[tokio::test(start_paused = true)]
async fn three_passwords_may_be_typed_and_a_device_is_ended_by_nobody_else() {
    let (_, mut sessions) = book(10);
    let secrets = Secrets::Otp { device_code: Secret::from("d") };
    sessions.insert("o", session(of("a"), secrets), LIFETIME).expect("room");
    for left in [Some(2), Some(1), None] {
        let taken = sessions.take("o", None).expect("a login");
        assert_eq!(taken.tries_left(), left);
        if left.is_some() {
            sessions.give_back("o", taken);
        }
    }
    sessions.insert("d", session(of("a"), Secrets::Device), LIFETIME).expect("room");
    assert!(sessions.take("d", None).is_none() && sessions.is_pending("d"));
}
