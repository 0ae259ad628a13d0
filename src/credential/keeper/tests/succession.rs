//! Values that are replaced before they end: a parent `user`, a `secret` that it reads and replaces, and an
//! `entity` that the secret opens.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::credential::Rotation;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

/// The issuer's side of a secret.
#[derive(Debug)]
struct Vault {
    /// The secrets that were given, in their order, with their ends by the wall clock; the last one is read.
    secrets: Mutex<Vec<(String, Timestamp)>>,
    /// How long a new one lives.
    lives: Duration,
    /// A secret that was replaced is dead at once.
    kills_at_once: bool,
    /// The answers to replacements are lost.
    loses_answers: AtomicBool,
    /// New secrets do not work yet.
    slow_to_take: AtomicBool,
}

impl Vault {
    fn new(clock: &Clock, left: Duration) -> Self {
        let first = ("s1".to_owned(), clock.wall() + left);
        Self {
            secrets: Mutex::new(vec![first]),
            lives: 180 * DAY,
            kills_at_once: true,
            loses_answers: AtomicBool::new(false),
            slow_to_take: AtomicBool::new(false),
        }
    }

    fn secrets(&self) -> std::sync::MutexGuard<'_, Vec<(String, Timestamp)>> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Answer {
        let (secret, end) = self.secrets().last().cloned().expect("there is one");
        Answer::Minted(minted(&secret, Some(Lifetime::Until(end))))
    }

    fn replace(&self, clock: &Clock) -> Answer {
        let mut secrets = self.secrets();
        let next = (format!("s{}", secrets.len() + 1), clock.wall() + self.lives);
        secrets.push(next);
        drop(secrets);
        if self.loses_answers.load(Ordering::SeqCst) { unanswered() } else { self.read() }
    }

    fn opens(&self, secret: &str, token: &str) -> Answer {
        let secrets = self.secrets();
        let place = secrets.iter().position(|(known, _)| known == secret);
        let is_last = place.is_some_and(|place| place + 1 == secrets.len());
        let is_new = secrets.len() > 1 && is_last;
        let works = match place {
            Some(_) if is_new => !self.slow_to_take.load(Ordering::SeqCst),
            Some(_) => is_last || !self.kills_at_once,
            None => false,
        };
        if works { super::token(token, DAY) } else { rejected() }
    }
}

fn rotating(before: Duration) -> CredentialSpec {
    let rotation = Rotation {
        before,
        grace: 5 * DAY,
        fresh: vec!["user".into()],
        steps: Vec::new(),
        verify: Vec::new(),
    };
    CredentialSpec {
        rotation: Some(Box::new(rotation)),
        times: Times { default_lifetime: DAY, ..Times::default() }.into(),
        ..child("secret", "user")
    }
}

fn family() -> [CredentialSpec; 3] {
    [spec("user"), rotating(15 * DAY), child("entity", "secret")]
}

/// A house and a vault that its issuer keeps.
fn house_with(vault: impl FnOnce(&Clock) -> Vault) -> (House, Arc<Vault>) {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let vault = Arc::new(vault(&clock));
    let house = House::with(clock, None, 32);
    serve(&house, &vault);
    (house, vault)
}

fn serve(house: &House, vault: &Arc<Vault>) {
    house.issuer.answers("user", |call| token(&format!("u{}", call.number), DAY));
    let of = Arc::clone(vault);
    house.issuer.answers("secret", move |_| of.read());
    let (of, clock) = (Arc::clone(vault), house.clock.clone());
    house.issuer.answers("secret.replace", move |_| of.replace(&clock));
    let of = Arc::clone(vault);
    house.issuer.answers("secret.verify", move |call| of.opens(call.input("value"), "verified"));
    let of = Arc::clone(vault);
    house.issuer.answers("entity", move |call| {
        let secret = call.input("key");
        of.opens(secret, &format!("e{}({secret})", call.number))
    });
}

#[tokio::test(start_paused = true)]
async fn a_value_is_replaced_before_its_end_with_a_parent_that_was_just_renewed() {
    let (house, _) = house_with(|clock| Vault::new(clock, 180 * DAY));
    house.keep(family());
    let slot = house.slot("entity");
    pass(164 * DAY).await;
    assert_eq!(house.issuer.count("secret.replace"), 0);
    pass(2 * DAY).await;
    let replaced = house.issuer.calls("secret.replace");
    assert_eq!(replaced.len(), 1);
    let users = house.issuer.calls("user");
    let user = users.iter().rfind(|call| call.at <= replaced[0].at).expect("a user");
    assert!(replaced[0].at - user.at < seconds(5), "the parent is fresh");
    assert_eq!(replaced[0].input("key"), format!("u{}", user.number));
    assert_eq!(replaced[0].input("current"), "s1");
    assert_eq!(house.issuer.count("secret.verify"), 1);
    assert!(house.token(&slot).is_some_and(|token| token.contains("(s2)")));
    assert_eq!(house.state("secret"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_has_little_left_when_it_is_first_seen_is_used_and_replaced_at_once() {
    let (house, _) = house_with(|clock| Vault::new(clock, 10 * DAY));
    house.keep(family());
    let slot = house.slot("entity");
    settle().await;
    assert_eq!(house.token(&slot).as_deref(), Some("e1(s1)"), "the old one opens what it can");
    pass(seconds(10)).await;
    assert_eq!((house.issuer.count("secret.replace"), house.issuer.count("user")), (1, 1), "still fresh");
    assert_eq!(house.token(&slot).as_deref(), Some("e2(s2)"));
}

#[tokio::test(start_paused = true)]
async fn a_value_in_its_grace_period_is_used_and_told_of() {
    let (house, _) = house_with(|clock| {
        let end = clock.wall() - DAY;
        Vault { secrets: Mutex::new(vec![("s1".to_owned(), end)]), ..Vault::new(clock, DAY) }
    });
    house.keep([spec("user"), rotating(Duration::ZERO), child("entity", "secret")]);
    let slot = house.slot("entity");
    settle().await;
    assert_eq!(house.token(&slot).as_deref(), Some("e1(s1)"));
    let status = house.status("secret");
    assert_eq!(status.state, State::Ready);
    assert!(status.warnings.iter().any(|warning| warning.contains("grace period")), "{status:?}");
    pass(3 * DAY).await;
    assert_eq!(house.issuer.count("secret.replace"), 0, "`rotate_before` is off");
    assert!(house.issuer.count("secret") < 20, "{}", house.issuer.count("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_replacement_whose_answer_is_lost_is_read_and_not_repeated() {
    let (house, vault) = house_with(|clock| Vault::new(clock, 10 * DAY));
    vault.loses_answers.store(true, Ordering::SeqCst);
    house.keep(family());
    let slot = house.slot("entity");
    pass(seconds(30)).await;
    assert_eq!(house.issuer.count("secret.replace"), 1);
    assert_eq!(house.token(&slot).as_deref(), Some("e2(s2)"));
    assert!(house.outcomes().contains(&Outcome::Ambiguous));
    assert_eq!((house.state("secret"), house.error_class("secret")), (State::Ready, None));
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_never_arrived_is_repeated_after_it_was_looked_up() {
    let (house, _) = house_with(|clock| Vault::new(clock, 10 * DAY));
    house.issuer.answers("secret.replace", |_| unanswered());
    house.keep(family());
    pass(seconds(100)).await;
    assert_eq!(house.issuer.count("secret.replace"), 1);
    let reads = house.issuer.count("secret");
    pass(seconds(400)).await;
    assert_eq!(house.issuer.count("secret.replace"), 2);
    assert!(house.issuer.count("secret") > reads);
    assert_eq!(house.state("entity"), State::Ready, "the old one opens all the time");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_died_at_a_replacement_reads_what_came_of_it() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::rehearsing(&[7; 32]));
    let vault = Arc::new(Vault::new(&clock, 10 * DAY));
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    serve(&house, &vault);
    let of = Arc::clone(&vault);
    let at = clock.clone();
    house.issuer.answers("secret.replace", move |_| {
        of.replace(&at);
        Answer::Hangs
    });
    house.keep(family());
    pass(seconds(10)).await;
    assert_eq!(house.issuer.count("secret.replace"), 1);
    // The process dies here.
    let house = House::with(clock, Some(store), 32);
    serve(&house, &vault);
    house.keep(family());
    pass(seconds(10)).await;
    assert_eq!(house.issuer.count("secret.replace"), 0);
    assert_eq!(house.issuer.count("secret.verify"), 1);
    assert_eq!(house.keeper.output(&"secret".into(), "token", house.clock.now()), Some(Secret::from("s2")));
}

#[tokio::test(start_paused = true)]
async fn the_old_value_stays_in_use_until_the_new_one_works() {
    let (house, vault) = house_with(|clock| Vault { kills_at_once: false, ..Vault::new(clock, 10 * DAY) });
    vault.slow_to_take.store(true, Ordering::SeqCst);
    house.keep(family());
    pass(HOUR).await;
    let secret = || house.keeper.output(&"secret".into(), "token", house.clock.now());
    assert_eq!((house.issuer.count("secret.replace"), secret()), (1, Some(Secret::from("s1"))));
    assert_eq!(house.state("secret"), State::Failing);
    let message = house.status("secret").last_error.expect("an error").message;
    assert!(message.contains("does not work yet"), "{message}");
    vault.slow_to_take.store(false, Ordering::SeqCst);
    pass(seconds(310)).await;
    assert_eq!((house.state("secret"), secret()), (State::Ready, Some(Secret::from("s2"))));
    assert_eq!(house.issuer.count("secret.replace"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_new_value_that_stops_working_gives_way_to_the_one_before_within_its_grace() {
    let (house, vault) = house_with(|clock| Vault { kills_at_once: false, ..Vault::new(clock, 10 * DAY) });
    house.keep(family());
    let slot = house.slot("entity");
    pass(HOUR).await;
    assert_eq!(house.token(&slot).as_deref(), Some("e2(s2)"));
    vault.slow_to_take.store(true, Ordering::SeqCst);
    assert_eq!(house.refresh("entity", false).await, Outcome::Ok);
    assert_eq!(house.token(&slot).as_deref(), Some("e4(s1)"));
    vault.slow_to_take.store(false, Ordering::SeqCst);
    pass(2 * DAY).await;
    assert!(house.token(&slot).is_some_and(|token| token.contains("(s2)")), "and comes back");
}

#[tokio::test(start_paused = true)]
async fn a_value_that_ended_long_ago_is_replaced_once() {
    let (house, vault) = house_with(|clock| Vault::new(clock, DAY));
    vault.secrets()[0].1 = Timestamp::UNIX_EPOCH - 30 * DAY;
    house.issuer.answers("entity", |call| match call.input("key") {
        "s1" => rejected(),
        secret => token(&format!("e({secret})"), DAY),
    });
    house.keep(family());
    let slot = house.slot("entity");
    pass(seconds(30)).await;
    assert_eq!(house.token(&slot).as_deref(), Some("e(s2)"));
    pass(DAY / 2).await;
    assert_eq!(house.issuer.count("secret.replace"), 1);
    assert!(house.issuer.count("secret") < 10, "{}", house.issuer.count("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_value_that_somebody_else_replaced_and_that_ended_before_it_was_seen_is_replaced() {
    for grace_left in [true, false] {
        let (house, vault) = house_with(|clock| Vault::new(clock, 100 * DAY));
        house.keep(family());
        let slot = house.slot("entity");
        pass(HOUR).await;
        let end = house.clock.wall() - if grace_left { DAY } else { 9 * DAY };
        vault.secrets().push(("s2".to_owned(), end));
        house.issuer.answers("secret.verify", {
            let of = Arc::clone(&vault);
            move |call| match call.input("value") {
                "s2" if !grace_left => rejected(),
                value => of.opens(value, "verified"),
            }
        });
        pass(2 * DAY).await;
        assert_eq!(house.issuer.count("secret.replace"), 1, "grace left: {grace_left}");
        assert!(house.token(&slot).is_some_and(|token| token.contains("(s3)")));
    }
}

#[tokio::test(start_paused = true)]
async fn two_processes_that_keep_one_value_do_not_replace_it_in_turns() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let vault = Arc::new(Vault::new(&clock, 20 * DAY));
    let houses = [(); 2].map(|()| House::with(clock.clone(), None, 32));
    for house in &houses {
        serve(house, &vault);
        house.keep(family());
    }
    let slots = houses.each_ref().map(|house| house.slot("entity"));
    pass(400 * DAY).await;
    let count = vault.secrets().len() - 1;
    assert!((3..=4).contains(&count), "replaced {count} times in 400 days");
    let last = vault.secrets().last().expect("one").0.clone();
    for (house, slot) in houses.iter().zip(&slots) {
        assert!(house.token(slot).is_some_and(|token| token.contains(&last)));
        assert!(house.issuer.count("secret") < 2000, "{}", house.issuer.count("secret"));
    }
}

#[tokio::test(start_paused = true)]
async fn values_that_live_short_are_replaced_after_most_of_their_life_by_two_processes_too() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let vault = Arc::new(Vault { lives: DAY, ..Vault::new(&clock, DAY) });
    let houses = [(); 2].map(|()| House::with(clock.clone(), None, 32));
    for house in &houses {
        serve(house, &vault);
        house.keep(family());
    }
    pass(20 * DAY).await;
    let count = vault.secrets().len() - 1;
    assert!((20..60).contains(&count), "replaced {count} times in 20 days");
    for house in &houses {
        assert_eq!((house.state("secret"), house.state("entity")), (State::Ready, State::Ready));
    }
}

#[tokio::test(start_paused = true)]
async fn a_value_is_not_replaced_while_the_parent_cannot_be_renewed() {
    let (house, _) = house_with(|clock| Vault::new(clock, 10 * DAY));
    house.issuer.answers("user", |call| if call.number == 1 { next_token(call) } else { rejected() });
    // The user's token is not fresh any more when the value is first seen.
    house.issuer.answers("secret", {
        let end = house.clock.wall() + 10 * DAY;
        move |_| Answer::Minted(minted("s1", Some(Lifetime::Until(end)))).after(seconds(8))
    });
    house.keep(family());
    pass(seconds(60)).await;
    assert_eq!((house.issuer.count("secret.replace"), house.issuer.count("user")), (0, 2));
    assert_eq!((house.state("secret"), house.state("entity")), (State::Failing, State::Ready));
    let message = house.status("secret").last_error.expect("an error").message;
    assert!(message.contains("`user`"), "{message}");
    house.issuer.answers("user", next_token);
    assert_eq!(house.refresh("user", true).await, Outcome::Ok);
    pass(seconds(30)).await;
    assert_eq!(house.issuer.count("secret.replace"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_without_a_known_end_is_read_again_and_never_replaced() {
    let (house, _) = house_with(|clock| Vault::new(clock, 10 * DAY));
    house.issuer.answers("secret", |_| Answer::Minted(minted("s1", None)));
    house.keep(family());
    pass(100 * DAY).await;
    assert_eq!(house.issuer.count("secret.replace"), 0);
    assert!(house.issuer.count("secret") < 300, "{}", house.issuer.count("secret"));
    assert_eq!(house.state("entity"), State::Ready);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_whose_values_have_ended_when_they_come_is_not_asked_without_end() {
    let (house, vault) = house_with(|clock| Vault { lives: Duration::ZERO, ..Vault::new(clock, 10 * DAY) });
    house.keep(family());
    pass(3 * DAY).await;
    assert_eq!(vault.secrets().len(), 2);
    assert!(house.issuer.count("secret") < 30, "{}", house.issuer.count("secret"));
}

#[tokio::test(start_paused = true)]
async fn a_plan_of_half_a_year_survives_restarts_and_steps_of_the_clock() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::rehearsing(&[7; 32]));
    let vault = Arc::new(Vault::new(&clock, 180 * DAY));
    let start = clock.wall();
    for month in 0..6 {
        let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
        serve(&house, &vault);
        house.keep(family());
        pass(26 * DAY).await;
        // The wall clock was an hour fast or slow, and was set right.
        clock.step_wall(jiff::SignedDuration::from_hours(if month % 2 == 0 { 1 } else { -1 }));
        assert_eq!(house.issuer.count("secret.replace"), 0, "month {month}");
    }
    let house = House::with(clock.clone(), Some(store), 32);
    serve(&house, &vault);
    house.keep(family());
    pass(180 * DAY - Duration::try_from(clock.wall().duration_since(start)).expect("later") - 14 * DAY).await;
    assert_eq!(house.issuer.count("secret.replace"), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_are_scanned_for_the_value_before_through_its_grace_and_for_the_one_to_follow() {
    let clock = Clock::simulated(Timestamp::UNIX_EPOCH + HOUR, 7);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::rehearsing(&[7; 32]));
    let vault = Arc::new(Vault { kills_at_once: false, ..Vault::new(&clock, 10 * DAY) });
    let scanned = |slot: &Slot<String>| ["s1", "s2"].map(|value| slot.has_in_play(value));
    let house = House::with(clock.clone(), Some(Arc::clone(&store)), 32);
    serve(&house, &vault);
    vault.slow_to_take.store(true, Ordering::SeqCst);
    house.keep(family());
    let slot = house.slot("entity");
    pass(HOUR).await;
    assert_eq!((house.state("secret"), scanned(&slot)), (State::Failing, [true, true]), "not verified yet");
    vault.slow_to_take.store(false, Ordering::SeqCst);
    pass(HOUR).await;
    assert_eq!((house.state("secret"), scanned(&slot)), (State::Ready, [true, true]));
    // Another process knows the value before from the record alone.
    let house = House::with(clock, Some(store), 32);
    serve(&house, &vault);
    house.keep(family());
    let slot = house.slot("entity");
    pass(seconds(10)).await;
    assert_eq!(scanned(&slot), [true, true], "after a restart");
    pass(7 * DAY).await;
    assert_eq!(scanned(&slot), [false, true], "once its grace is over");
}
