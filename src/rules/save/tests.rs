//! The machine against tables. `tests/saves` plays integrators, crashes and time against it.

use super::*;

mod copied;

const LIMITS: Limits = Limits { answer_within: 10_000, keep_trying: 3_600_000, hold_editors: 900_000 };

fn fresh(id: u64, name: &str, key: &str, target: &str, kind: Kind) -> Fresh {
    Fresh {
        id: Id(id),
        name: name.into(),
        key: key.into(),
        integrator: "rapidpm".into(),
        target: target.into(),
        kind,
    }
}

fn on(saves: &mut Saves, now: Time, id: u64, event: Event) -> Vec<Action> {
    let mut actions = Vec::new();
    saves.happened(now, Id(id), event, &LIMITS, &mut actions);
    actions
}

fn tick(saves: &mut Saves, now: Time) -> Vec<Action> {
    let mut actions = Vec::new();
    saves.tick(now, &LIMITS, &mut actions);
    actions
}

fn arrive(saves: &mut Saves, now: Time, fresh: Fresh) -> Welcome {
    saves.arrive(now, fresh, &mut Vec::new())
}

fn heard(saves: &mut Saves, id: u64, target: &str, key: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    saves.heard(Id(id), "rapidpm", target, key, &mut actions);
    actions
}

/// A save that has arrived, is durable and on its way.
fn begun(saves: &mut Saves, now: Time, id: u64, key: &str, target: &str, kind: Kind) -> Vec<Action> {
    assert_eq!(arrive(saves, now, fresh(id, &format!("n{id}"), key, target, kind)), Welcome::New);
    on(saves, now, id, Event::Kept)
}

/// As found on disk at the start.
fn restore(saves: &mut Saves, now: Time, age: Time, fresh: Fresh, phase: Phase, newer: bool) -> Vec<Action> {
    let mut actions = Vec::new();
    saves.restore(now, age, fresh, phase, newer, &mut actions);
    actions
}

const AWAY: Event = Event::Answered(Verdict::Again { down: true });
const ODD: Event = Event::Answered(Verdict::Again { down: false });
const TAKEN: Event = Event::Answered(Verdict::Taken);
const FINAL: Event = Event::Answered(Verdict::Final);

#[test]
fn what_an_answer_means() {
    let again = |down| Verdict::Again { down };
    let table: &[(Option<u16>, &str, Verdict)] = &[
        (Some(200), r#"{"error":0}"#, Verdict::Taken),
        (Some(200), r#"{"error":"0","x":1}"#, Verdict::Taken),
        (Some(200), r#"{"error":0.0}"#, Verdict::Taken),
        (Some(200), r#"{"error":1}"#, Verdict::Final),
        (Some(200), r#"{"error":"1"}"#, Verdict::Final),
        (Some(200), r#"{"error":null}"#, Verdict::Final),
        (Some(200), "{}", again(false)),
        (Some(200), "", again(false)),
        (Some(200), "<!doctype html>", again(false)),
        (Some(200), "0", again(false)),
        (Some(201), r#"{"error":0}"#, again(false)),
        (Some(204), "", again(false)),
        (Some(301), "", again(false)),
        (Some(302), "", again(false)),
        (Some(307), "", again(false)),
        (Some(403), "", again(false)),
        (Some(404), "", again(false)),
        (Some(410), "", Verdict::Final),
        (Some(413), "", Verdict::Final),
        (Some(429), "", again(true)),
        (Some(500), r#"{"error":0}"#, again(true)),
        (Some(503), "", again(true)),
        (None, "", again(true)),
    ];
    for (status, body, verdict) in table {
        assert_eq!(meaning(*status, body.as_bytes()), *verdict, "{status:?} {body}");
    }
}

/// Each kind against each answer: what the Document Server hears, and where the save is then.
#[test]
fn what_follows_from_an_answer() {
    use Phase::{Parked as P, Ready, Reserve, Settled as S};
    let table = [
        (Kind::Final, TAKEN, Reply::Theirs, S(Settled::Delivered)),
        (Kind::Final, FINAL, Reply::Theirs, P(Parked::Refused)),
        (Kind::Final, ODD, Reply::Kept, Ready),
        (Kind::Final, AWAY, Reply::Kept, Ready),
        (Kind::Form, TAKEN, Reply::Theirs, S(Settled::Delivered)),
        (Kind::Form, FINAL, Reply::Theirs, P(Parked::Refused)),
        (Kind::Form, AWAY, Reply::Kept, Ready),
        (Kind::Spare, TAKEN, Reply::Theirs, S(Settled::Delivered)),
        (Kind::Spare, FINAL, Reply::Theirs, Reserve),
        (Kind::Spare, ODD, Reply::Theirs, Reserve),
        (Kind::Spare, AWAY, Reply::Theirs, Reserve),
    ];
    for (kind, event, reply, phase) in table {
        let mut saves = Saves::default();
        assert_eq!(begun(&mut saves, 0, 1, "k", "/cb", kind), [Action::Try(Id(1))]);
        assert_eq!(saves.locked().contains("k"), kind == Kind::Final, "{kind:?}");
        let actions = on(&mut saves, 5, 1, event);
        assert!(actions.contains(&Action::Reply(Id(1), reply)), "{kind:?} {event:?}: {actions:?}");
        assert_eq!(saves.get(Id(1)).unwrap().phase, phase, "{kind:?} {event:?}");
        assert_eq!(saves.locked().is_empty(), !(kind == Kind::Final && phase == Ready), "{kind:?} {event:?}");
    }
}

#[test]
fn past_its_time_a_save_is_taken_over_and_its_request_runs_on() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Final);
    assert_eq!(tick(&mut saves, 9_999), []);
    assert_eq!(tick(&mut saves, 10_000), [Action::Reply(Id(1), Reply::Kept), Action::Copy(Id(1))]);
    assert_eq!(tick(&mut saves, 200_000), [], "no second request beside the first");
    let actions = on(&mut saves, 300_000, 1, TAKEN);
    assert_eq!(actions, [Action::Count(true), Action::Store(Id(1))]);
}

#[test]
fn a_force_save_waits_for_the_truth() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Spare);
    assert_eq!(tick(&mut saves, 60_000), []);
    assert!(on(&mut saves, 70_000, 1, TAKEN).contains(&Action::Reply(Id(1), Reply::Theirs)));
    assert!(saves.next(70_000) > 70_001, "nothing left to wake for");
}

#[test]
fn the_newest_force_save_is_kept_until_the_session_ends() {
    let mut saves = Saves::default();
    for id in [1, 2] {
        begun(&mut saves, id, id, "k", "/cb", Kind::Spare);
        on(&mut saves, id, id, AWAY);
    }
    assert!(saves.get(Id(1)).is_none(), "the newer one replaces it");
    assert_eq!(saves.get(Id(2)).unwrap().phase, Phase::Reserve);
    let actions = begun(&mut saves, 5, 3, "k", "/cb", Kind::Final);
    assert!(actions.contains(&Action::Drop(Id(2))), "{actions:?}");
}

#[test]
fn what_cannot_be_kept_is_passed_through() {
    for (event, reply, phase) in [
        (TAKEN, Reply::Theirs, Settled::Delivered),
        (FINAL, Reply::Theirs, Settled::Failed),
        (AWAY, Reply::Theirs, Settled::Failed),
    ] {
        let mut saves = Saves::default();
        arrive(&mut saves, 0, fresh(1, "n", "k", "/cb", Kind::Final));
        assert_eq!(on(&mut saves, 0, 1, Event::NotKept), [Action::Try(Id(1))]);
        assert_eq!(tick(&mut saves, 60_000), [], "nothing is taken over");
        assert!(on(&mut saves, 60_001, 1, event).contains(&Action::Reply(Id(1), reply)));
        assert_eq!(saves.get(Id(1)).unwrap().phase, Phase::Settled(phase));
        let again = arrive(&mut saves, 60_002, fresh(2, "n", "k", "/cb", Kind::Final));
        assert_eq!(again == Welcome::New, phase == Settled::Failed, "a repeat of what nobody has is new");
    }
}

#[test]
fn a_thousand_copies_are_one_save() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Final);
    for id in 2..1_000 {
        assert_eq!(arrive(&mut saves, 1, fresh(id, "n1", "k", "/cb", Kind::Final)), Welcome::Joins(Id(1)));
    }
    on(&mut saves, 2, 1, TAKEN);
    let after = arrive(&mut saves, 3, fresh(1_001, "n1", "k", "/cb", Kind::Final));
    assert_eq!(after, Welcome::Answered(Id(1), Reply::Theirs));
    assert!(tick(&mut saves, 25 * 3_600_000).contains(&Action::Drop(Id(1))), "a day later it is forgotten");
}

#[test]
fn a_newer_save_supersedes_one_that_waits() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Final);
    on(&mut saves, 0, 1, AWAY);
    // Behind one that waits it is acknowledged as soon as it is durable.
    let actions = begun(&mut saves, 100, 2, "k2", "/cb", Kind::Final);
    assert_eq!(
        actions,
        [Action::Reply(Id(2), Reply::Kept), Action::Copy(Id(2)), Action::Count(false), Action::Store(Id(1))]
    );
    assert_eq!(saves.get(Id(1)).unwrap().phase, Phase::Parked(Parked::Superseded));
    assert!(tick(&mut saves, 2_000).contains(&Action::Try(Id(2))));
}

#[test]
fn editing_under_another_key_supersedes_too_unless_the_url_is_everybodys() {
    for (shared, phase) in [(false, Phase::Parked(Parked::Superseded)), (true, Phase::Trying)] {
        let mut saves = Saves::default();
        if shared {
            for (id, key) in ["a", "b", "a"].into_iter().enumerate() {
                heard(&mut saves, id as u64, "/cb", key);
            }
        }
        begun(&mut saves, 0, 11, "k", "/cb", Kind::Final);
        on(&mut saves, 0, 11, AWAY);
        let actions = heard(&mut saves, 12, "/cb", "k2");
        assert_eq!(
            actions.contains(&Action::Store(Id(11))),
            !shared,
            "what is outdated stays so: {actions:?}"
        );
        tick(&mut saves, 2_000);
        assert_eq!(saves.get(Id(11)).unwrap().phase, phase, "shared: {shared}");
    }
}

#[test]
fn one_save_asks_whether_an_integrator_is_back_and_then_all_go() {
    let mut saves = Saves::default();
    for id in 1..=5 {
        begun(&mut saves, 0, id, &format!("k{id}"), &format!("/cb{id}"), Kind::Final);
    }
    for id in 1..=5 {
        on(&mut saves, 0, id, AWAY);
    }
    let tries = |actions: &[Action]| actions.iter().filter(|a| matches!(a, Action::Try(_))).count();
    assert_eq!(tries(&tick(&mut saves, 20_000)), 1);
    assert_eq!(tries(&tick(&mut saves, 20_100)), 0, "the probe is under way");
    assert_eq!(tries(&on(&mut saves, 20_200, 1, AWAY)), 0, "a pause for all");
    assert_eq!(tries(&tick(&mut saves, 40_000)), 1);
    let probe = (1..=5).find(|id| saves.get(Id(*id)).unwrap().phase == Phase::Trying).unwrap();
    assert_eq!(tries(&on(&mut saves, 40_001, probe, TAKEN)), 4, "it is back");
}

#[test]
fn an_editor_that_asks_makes_a_save_go_at_once() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Final);
    on(&mut saves, 0, 1, AWAY);
    assert_eq!((saves.freed("k"), saves.freed("other")), (None, Some(Freed::Settled)));
    let mut actions = Vec::new();
    saves.hurry(10, "k", &LIMITS, &mut actions);
    assert_eq!(actions, [Action::Try(Id(1))]);
    on(&mut saves, 20, 1, TAKEN);
    assert_eq!(saves.freed("k"), Some(Freed::Settled));
}

/// A save that waits keeps new editors out for so long, says once that it does no longer, and is tried on.
#[test]
fn a_lock_ends_with_its_time() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Final);
    on(&mut saves, 0, 1, AWAY);
    assert!(!tick(&mut saves, LIMITS.hold_editors - 1).contains(&Action::LetIn(Id(1))));
    assert_eq!((saves.freed("k"), saves.locked().len()), (None, 1));
    on(&mut saves, LIMITS.hold_editors - 1, 1, AWAY);
    assert!(tick(&mut saves, LIMITS.hold_editors).contains(&Action::LetIn(Id(1))));
    assert_eq!((saves.freed("k"), saves.locked().len()), (Some(Freed::LetIn), 0));
    // A newer save of the same document locks it again.
    begun(&mut saves, LIMITS.hold_editors + 2, 2, "k", "/cb", Kind::Final);
    assert_eq!(saves.freed("k"), None);
    on(&mut saves, LIMITS.hold_editors + 3, 1, TAKEN);
    on(&mut saves, LIMITS.hold_editors + 3, 2, TAKEN);
    assert_eq!(saves.freed("k"), Some(Freed::Settled));
}

#[test]
fn what_is_out_of_time_is_parked_and_an_operator_can_retry_or_discard() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Final);
    on(&mut saves, 0, 1, AWAY);
    let late = LIMITS.keep_trying + 1;
    assert!(tick(&mut saves, late).contains(&Action::Count(false)));
    assert_eq!(saves.get(Id(1)).unwrap().phase, Phase::Parked(Parked::OutOfTime));
    assert!(saves.locked().is_empty());
    let mut actions = Vec::new();
    assert_eq!(saves.retry(late + 60_000, Id(1), &LIMITS, &mut actions), Ordered::Done);
    assert!(actions.contains(&Action::Try(Id(1))));
    assert_eq!(saves.discard(late + 60_000, Id(1), &mut actions), Ordered::Later, "it is on its way");
    on(&mut saves, late + 60_000, 1, FINAL);
    assert_eq!(saves.discard(late + 60_001, Id(1), &mut actions), Ordered::Done);
    assert!(!actions.contains(&Action::Count(true)), "counted once");
    for id in [1, 2] {
        assert_eq!(saves.discard(late + 60_002, Id(id), &mut actions), Ordered::Pointless);
        assert_eq!(saves.retry(late + 60_002, Id(id), &LIMITS, &mut actions), Ordered::Pointless);
    }
}

#[test]
fn callbacks_of_one_document_queue_wherever_they_go() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb?user=1", Kind::Form);
    on(&mut saves, 0, 1, AWAY);
    // Another user's callback URL, the same document: acknowledged, but not sent before the first has arrived.
    assert_eq!(
        begun(&mut saves, 10, 2, "k", "/cb?user=2", Kind::Final),
        [Action::Reply(Id(2), Reply::Kept), Action::Copy(Id(2))]
    );
    assert!(tick(&mut saves, 2_000).contains(&Action::Try(Id(1))));
    assert_eq!(tick(&mut saves, 30_000), [], "the first is on its way");
    assert!(on(&mut saves, 30_001, 1, TAKEN).contains(&Action::Try(Id(2))));
}

#[test]
fn a_submission_goes_before_the_end_of_its_session_and_never_after() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Form);
    on(&mut saves, 0, 1, AWAY);
    begun(&mut saves, 10, 2, "k", "/cb", Kind::Final);
    assert!(tick(&mut saves, 2_000).contains(&Action::Try(Id(1))), "in its turn");
    on(&mut saves, 2_001, 1, FINAL);
    assert_eq!(saves.get(Id(1)).unwrap().phase, Phase::Parked(Parked::Refused));
    on(&mut saves, 2_002, 2, TAKEN);
    let mut actions = Vec::new();
    saves.retry(2_003, Id(1), &LIMITS, &mut actions);
    assert_eq!(saves.get(Id(1)).unwrap().phase, Phase::Parked(Parked::Superseded), "it would overwrite");
}

#[test]
fn that_a_session_ended_without_changes_is_said_at_once_and_only_while_it_is_true() {
    for (heard_key, phase) in [
        (Some("k"), Phase::Settled(Settled::Discarded)),
        (Some("other"), Phase::Trying),
        (None, Phase::Trying),
    ] {
        let mut saves = Saves::default();
        // Everybody's URL.
        ["other", "k", "other"]
            .iter()
            .zip(90..)
            .for_each(|(key, id)| drop(heard(&mut saves, id, "/cb", key)));
        let actions = begun(&mut saves, 0, 100, "k", "/cb", Kind::Farewell);
        assert_eq!(actions, [Action::Reply(Id(100), Reply::Kept)], "it was told once already");
        assert!(saves.locked().is_empty());
        heard_key.map(|key| heard(&mut saves, 101, "/cb", key));
        tick(&mut saves, 1_000);
        assert_eq!(saves.get(Id(100)).unwrap().phase, phase, "{heard_key:?}");
    }
}

#[test]
fn what_is_outdated_stays_so_through_a_restart() {
    let mut saves = Saves::default();
    restore(&mut saves, 0, 0, fresh(1, "n1", "k", "/cb", Kind::Final), Phase::Parked(Parked::Refused), false);
    assert_eq!(heard(&mut saves, 2, "/cb", "k2"), [Action::Store(Id(1))]);
    assert!(saves.get(Id(1)).unwrap().newer);
    let mut again = Saves::default();
    restore(&mut again, 0, 0, fresh(1, "n1", "k", "/cb", Kind::Final), Phase::Parked(Parked::Refused), true);
    again.retry(1, Id(1), &LIMITS, &mut Vec::new());
    assert_eq!(again.get(Id(1)).unwrap().phase, Phase::Parked(Parked::Superseded));
}

/// Killed between a newer force-save, or the session's end, and the moment at which the older one was let go.
#[test]
fn a_reserve_that_a_crash_left_behind_is_let_go_at_the_start() {
    for (kind, phase, goes) in [
        (Kind::Spare, Phase::Reserve, true),
        (Kind::Spare, Phase::Settled(Settled::Delivered), true),
        (Kind::Final, Phase::Ready, true),
        (Kind::Final, Phase::Parked(Parked::Refused), true),
        (Kind::Final, Phase::Settled(Settled::Delivered), true),
        (Kind::Final, Phase::Settled(Settled::Failed), false),
        (Kind::Form, Phase::Ready, false),
        (Kind::Farewell, Phase::Ready, false),
    ] {
        let mut saves = Saves::default();
        assert_eq!(
            restore(&mut saves, 0, 0, fresh(1, "n1", "k", "/cb", Kind::Spare), Phase::Reserve, false),
            []
        );
        assert_eq!(restore(&mut saves, 0, 0, fresh(2, "n2", "other", "/o", kind), phase, false), []);
        let actions = restore(&mut saves, 0, 0, fresh(3, "n3", "k", "/cb", kind), phase, false);
        assert_eq!(actions.contains(&Action::Drop(Id(1))), goes, "{kind:?} {phase:?}: {actions:?}");
        assert_eq!(saves.get(Id(1)).is_none(), goes, "{kind:?} {phase:?}");
    }
}

#[test]
fn a_clock_that_jumped_parks_nothing_that_was_not_tried() {
    let mut saves = Saves::default();
    let years = 10 * 365 * 24 * 3_600_000;
    restore(&mut saves, years, years, fresh(1, "n1", "k", "/cb", Kind::Final), Phase::Ready, false);
    assert!(tick(&mut saves, years).contains(&Action::Try(Id(1))));
    on(&mut saves, years + 1, 1, AWAY);
    assert_eq!(saves.get(Id(1)).unwrap().phase, Phase::Parked(Parked::OutOfTime));
}

#[test]
fn an_integrator_that_comes_back_is_not_overrun() {
    let mut saves = Saves::default();
    for id in 1..=100 {
        restore(
            &mut saves,
            0,
            0,
            fresh(id, &format!("n{id}"), &format!("k{id}"), &format!("/{id}"), Kind::Final),
            Phase::Ready,
            false,
        );
    }
    let tries = |actions: &[Action]| actions.iter().filter(|a| matches!(a, Action::Try(_))).count();
    assert_eq!(tries(&tick(&mut saves, 0)), 16);
    assert_eq!(tries(&on(&mut saves, 1, 1, TAKEN)), 1);
    // Whoever the Document Server waits for is not counted, and another integrator has a measure of its own.
    assert_eq!(tries(&begun(&mut saves, 2, 201, "fresh", "/fresh", Kind::Final)), 1);
    let other = Fresh { integrator: "other".into(), ..fresh(202, "n202", "o", "/o", Kind::Final) };
    restore(&mut saves, 2, 0, other, Phase::Ready, false);
    assert_eq!(tries(&tick(&mut saves, 3)), 1);
    assert_eq!(tries(&tick(&mut saves, 61_000)), 16, "what hangs stands in nobody's way");
}

#[test]
fn on_leaving_everyone_is_answered_and_nothing_more_is_tried() {
    let mut saves = Saves::default();
    for (id, kind) in [(1, Kind::Final), (2, Kind::Spare), (3, Kind::Form)] {
        begun(&mut saves, 0, id, &format!("k{id}"), &format!("/cb{id}"), kind);
    }
    for id in [4, 5, 6] {
        let kind = if id == 5 { Kind::Spare } else { Kind::Final };
        arrive(&mut saves, 0, fresh(id, &format!("n{id}"), &format!("k{id}"), &format!("/cb{id}"), kind));
    }
    on(&mut saves, 0, 6, Event::NotKept);
    let mut actions = Vec::new();
    saves.leave(1, &LIMITS, &mut actions);
    let replied = |actions: &[Action], id, reply| actions.contains(&Action::Reply(Id(id), reply));
    assert!(replied(&actions, 1, Reply::Kept) && replied(&actions, 3, Reply::Kept), "{actions:?}");
    assert!(replied(&actions, 2, Reply::Unavailable) && replied(&actions, 6, Reply::Unavailable));
    assert!(saves.is_trying());
    assert_eq!(
        on(&mut saves, 2, 4, Event::Kept),
        [Action::Reply(Id(4), Reply::Kept), Action::Copy(Id(4))],
        "durable, so promised"
    );
    assert!(replied(&on(&mut saves, 2, 5, Event::Kept), 5, Reply::Unavailable));
    assert!(tick(&mut saves, 30_000).iter().all(|action| !matches!(action, Action::Try(_))));
}

#[test]
fn a_person_hears_once_of_what_waits_for_long() {
    let mut saves = Saves::default();
    begun(&mut saves, 0, 1, "k", "/cb", Kind::Final);
    on(&mut saves, 0, 1, AWAY);
    let count = |saves: &mut Saves, now, what| tick(saves, now).iter().filter(|a| **a == what).count();
    assert_eq!(count(&mut saves, 599_999, Action::Alert(Id(1))), 0);
    assert_eq!(count(&mut saves, 600_000, Action::Alert(Id(1))), 1);
    assert_eq!(count(&mut saves, 600_001, Action::Alert(Id(1))), 0);
    assert_eq!(count(&mut saves, LIMITS.hold_editors, Action::LetIn(Id(1))), 1);
    assert_eq!(saves.survey(LIMITS.hold_editors).oldest, Some(LIMITS.hold_editors));
}
