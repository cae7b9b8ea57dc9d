//! The machine of copies against tables, and against seeds that play a server, room and time.

use super::*;

fn tick(copies: &mut Copies, now: Time) -> Vec<Step> {
    let mut steps = Vec::new();
    copies.tick(now, true, u64::MAX, &mut steps);
    steps
}

#[test]
fn pauses_grow_to_five_minutes() {
    let pauses: Vec<Time> = (1..=10).map(pause).collect();
    assert_eq!(pauses[..4], [1_000, 2_000, 4_000, 8_000]);
    assert_eq!(pauses[9], LONGEST);
    assert_eq!(pause(u32::MAX), LONGEST);
}

#[test]
fn one_at_a_time_the_oldest_first() {
    let mut copies = Copies::default();
    assert_eq!(tick(&mut copies, 0), [Step::Look], "nobody knows yet whether the server is there");
    copies.ended(0, Outcome::Done);
    for id in [2, 1, 3] {
        assert!(copies.enlist(0, Id(id), 10, false));
    }
    assert!(!copies.enlist(0, Id(2), 10, false), "once");
    assert_eq!(copies.waiting(), (3, 30));
    for id in 1..=3 {
        assert_eq!(tick(&mut copies, 1), [Step::Upload(Id(id))]);
        assert_eq!(tick(&mut copies, 1), []);
        copies.ended(1, Outcome::Done);
    }
    assert_eq!((copies.waiting(), tick(&mut copies, 2)), ((0, 0), vec![]));
    assert_eq!(tick(&mut copies, 1 + LOOK), [Step::Look]);
}

#[test]
fn while_the_server_is_away_one_asks_and_then_all_go() {
    let mut copies = Copies::default();
    (1..=3).for_each(|id| assert!(copies.enlist(0, Id(id), 1, false)));
    let (mut now, mut asked) = (0, 0);
    while now < 3_600_000 {
        if !tick(&mut copies, now).is_empty() {
            asked += 1;
            copies.ended(now, Outcome::Away);
        }
        now += 500;
    }
    assert_eq!(asked, 20, "9 with growing pauses, then every five minutes");
    now += LONGEST;
    for _ in 0..3 {
        assert_eq!(tick(&mut copies, now).len(), 1);
        copies.ended(now, Outcome::Done);
    }
    assert_eq!(copies.waiting().0, 0);
}

#[test]
fn a_copy_that_is_refused_holds_up_no_other() {
    let mut copies = Copies::default();
    (1..=2).for_each(|id| assert!(copies.enlist(0, Id(id), 1, false)));
    assert_eq!(tick(&mut copies, 0), [Step::Upload(Id(1))]);
    copies.ended(0, Outcome::Refused);
    assert_eq!(tick(&mut copies, 0), [Step::Upload(Id(2))]);
    copies.ended(0, Outcome::Done);
    assert_eq!(tick(&mut copies, FIRST - 1), []);
    assert_eq!(tick(&mut copies, FIRST), [Step::Upload(Id(1))]);
    copies.ended(FIRST, Outcome::Gone);
    assert_eq!(copies.waiting().0, 0);
}

#[test]
fn what_has_no_room_is_given_up_the_oldest_first_and_never_what_is_under_way() {
    let mut copies = Copies::default();
    (1..=4).for_each(|id| assert!(copies.enlist(0, Id(id), 10, false)));
    assert_eq!(tick(&mut copies, 0), [Step::Upload(Id(1))]);
    let mut steps = Vec::new();
    copies.tick(0, true, 25, &mut steps);
    assert_eq!(steps, [Step::GiveUp(Id(2)), Step::GiveUp(Id(3))]);
    copies.tick(0, false, 0, &mut steps);
    assert_eq!(copies.waiting(), (1, 10), "the one under way");
}

#[test]
fn without_an_archive_nothing_goes_anywhere() {
    let mut copies = Copies::default();
    copies.enlist(0, Id(1), 10, false);
    let mut steps = Vec::new();
    copies.tick(0, false, 100, &mut steps);
    assert_eq!(steps, []);
    copies.changed(5);
    assert_eq!(tick(&mut copies, 5), [Step::Upload(Id(1))]);
}

#[test]
fn a_copy_whose_save_still_holds_the_bytes_takes_no_room() {
    let mut copies = Copies::default();
    copies.enlist(0, Id(1), 10, true);
    copies.enlist(0, Id(2), 10, false);
    let mut steps = Vec::new();
    copies.tick(0, false, 9, &mut steps);
    assert_eq!(steps, [Step::GiveUp(Id(2))]);
    copies.parted(Id(1));
    copies.parted(Id(1));
    assert_eq!(copies.waiting(), (1, 10));
    copies.tick(0, false, 9, &mut steps);
    assert_eq!((steps.last(), copies.waiting()), (Some(&Step::GiveUp(Id(1))), (0, 0)));
}

/// Whatever the server does and however little room there is: each copy is stored once or given up, and the directory's
/// bound holds after every step.
#[test]
fn no_seed_loses_a_copy_in_silence() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut copies, mut now, mut next) = (Copies::default(), 0, 0);
        let (mut room, mut up, mut going) = (1_000_u64, true, None);
        let mut ends: BTreeMap<Id, &str> = BTreeMap::new();
        let mut steps = Vec::new();
        for step in 0..1_000 {
            let healing = step >= 800;
            match random.u8(..10) {
                0..3 if !healing => {
                    next += 1;
                    copies.enlist(now, Id(next), random.u64(..200), random.bool());
                }
                3 => up = healing || random.bool(),
                6 => copies.parted(Id(random.u64(..=next))),
                4 if !healing => room = random.u64(..2_000),
                5 if going.is_some() => {
                    let id: Option<Id> = going.take().unwrap();
                    let outcome = match (healing, up, random.u8(..8)) {
                        (false, false, _) => Outcome::Away,
                        (false, true, 0) => Outcome::Refused,
                        (false, true, 1) => Outcome::Gone,
                        _ => Outcome::Done,
                    };
                    if let (Some(id), Outcome::Done | Outcome::Gone) = (id, outcome) {
                        assert_eq!(ends.insert(id, "ended"), None, "SEED {seed}: {id:?} twice");
                    }
                    copies.ended(now, outcome);
                }
                _ => now += random.u64(..if healing { 2 * LONGEST } else { 20_000 }),
            }
            copies.tick(now, true, room, &mut steps);
            for step in steps.drain(..) {
                match step {
                    Step::Upload(id) => assert_eq!(going.replace(Some(id)), None, "SEED {seed}"),
                    Step::Look => assert_eq!(going.replace(None), None, "SEED {seed}"),
                    Step::GiveUp(id) => assert_eq!(ends.insert(id, "given up"), None, "SEED {seed}"),
                }
            }
            assert!(
                copies.waiting().1 <= room + 200,
                "SEED {seed}: no more than the one under way is too much"
            );
            assert!(copies.next(now) > now && copies.next(now) <= now + 5_000);
        }
        while copies.waiting().0 > 0 {
            now += LONGEST;
            copies.tick(now, true, u64::MAX, &mut steps);
            if let Some(Step::Upload(id)) = steps.pop() {
                going = Some(Some(id));
            }
            if let Some(Some(id)) = going.take() {
                assert_eq!(ends.insert(id, "ended"), None, "SEED {seed}");
            }
            copies.ended(now, Outcome::Done);
        }
        assert_eq!(ends.len() as u64, next, "SEED {seed}: each has an end");
    }
}
