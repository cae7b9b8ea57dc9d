//! Which saves the machine gives to the archive.

use super::*;

/// What nobody accepted has no place in the archive, and what was accepted goes there once.
#[test]
fn accepted_saves_are_copied_once() {
    use Phase::{Parked as P, Settled as S};
    for (kind, events, phase, copied) in [
        (Kind::Final, vec![TAKEN], S(Settled::Delivered), true),
        (Kind::Final, vec![AWAY, TAKEN], S(Settled::Delivered), true),
        (Kind::Final, vec![AWAY, FINAL], P(Parked::Refused), true),
        (Kind::Final, vec![FINAL], P(Parked::Refused), false),
        (Kind::Form, vec![AWAY, TAKEN], S(Settled::Delivered), true),
        (Kind::Spare, vec![TAKEN], S(Settled::Delivered), true),
        (Kind::Spare, vec![AWAY], Phase::Reserve, false),
        (Kind::Farewell, vec![AWAY, TAKEN], S(Settled::Delivered), false),
    ] {
        let mut saves = Saves::default();
        let mut actions = begun(&mut saves, 0, 1, "k", "/cb", kind);
        for (at, event) in events.iter().enumerate() {
            actions.extend(tick(&mut saves, at as Time * 60_000));
            actions.extend(on(&mut saves, at as Time * 60_000, 1, *event));
        }
        assert_eq!(saves.get(Id(1)).unwrap().phase, phase, "{kind:?} {events:?}");
        let times = actions.iter().filter(|action| **action == Action::Copy(Id(1))).count();
        assert_eq!(times, usize::from(copied), "{kind:?} {events:?}: {actions:?}");
        let place = |wanted| actions.iter().position(|action| *action == wanted);
        if let (Some(copy), Some(store)) = (place(Action::Copy(Id(1))), place(Action::Store(Id(1)))) {
            assert!(copy < store, "{actions:?}");
        }
    }
}
