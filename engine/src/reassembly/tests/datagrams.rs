//! Where no fragment is relayed, only what they make up.

use super::*;

const WAITS: Action = Action::Swallow(Reason::InFragments);
const NO_ROOM: Action = Action::Drop(Reason::FragmentOverflow);

impl Site {
    /// A fragment arrives, of which a peer would get nothing but the whole.
    fn comes(&mut self, cut: &Cut) -> Action {
        let context = Context {
            rules: &self.rules,
            sources: &self.world,
            fragments: &self.fragments,
            secret: &self.secret,
            relay: Way::Datagrams,
            shield: None,
            pressed: &Pressed::default(),
            suspensions: &Suspensions::new(Secret::default()),
        };
        let (mut frame, now) = (cut.frame(), self.world.now);
        let length = frame.len();
        pipeline::handle(&mut frame, length, &mut self.scratch, &context, || now).action
    }
}

fn phone(src: &[u8], id: u32) -> [Cut; 2] {
    cut(src, id, &sip("INVITE", PHONE, "example.com"), &[14]).try_into().expect("two pieces")
}

fn stranger(number: usize) -> [u8; 4] {
    [100, 2, (number >> 8) as u8, number as u8]
}

#[test]
fn a_name_may_be_used_again_at_once_and_after_a_loss() {
    let (mut site, [first, rest]) = (Site::new(), phone(&CALLER_V4, 7));
    for _ in 0..3 {
        assert_eq!((site.comes(&first), site.comes(&rest)), (WAITS, Action::RelayWhole));
        assert_eq!((site.comes(&rest), site.comes(&first)), (WAITS, Action::RelayWhole));
    }
    // One is lost; its sender says all of it again.
    for lost in [&first, &rest] {
        assert_eq!(site.comes(lost), WAITS);
        site.pass(6);
        assert_eq!((site.comes(&first), site.comes(&rest)), (WAITS, Action::RelayWhole));
    }
    // What is refused is refused each time.
    let evil = scanner(&CALLER_V4, 8);
    for _ in 0..2 {
        assert_eq!((site.comes(&evil[0]), site.comes(&evil[1])), (WAITS, Action::Drop(Reason::Scanner)));
    }
}

#[test]
fn strangers_do_not_take_the_room_of_who_is_known() {
    for later in [false, true] {
        let mut site = Site::new();
        let all = if later { HEADLESS } else { DATAGRAMS };
        for number in 0..all {
            assert_eq!(site.comes(&phone(&stranger(number), 1)[usize::from(later)]), WAITS, "{number}");
        }
        let [first, rest] = phone(&CALLER_V4, 7);
        assert_eq!(site.comes(if later { &rest } else { &first }), NO_ROOM);
        assert_eq!(site.comes(&rest), NO_ROOM, "it is not on its way to anybody");
        for [first, rest] in [phone(&VERIFIED_V4, 8), {
            let [a, b] = phone(&VERIFIED_V4, 9);
            [b, a]
        }] {
            assert_eq!((site.comes(&first), site.comes(&rest)), (WAITS, Action::RelayWhole));
        }
        // It was the oldest who had to go, if anybody had.
        let others = if later { 0 } else { 1 }..all;
        for number in others {
            let cut = &phone(&stranger(number), 1)[usize::from(!later)];
            assert_eq!(site.comes(cut), Action::RelayWhole, "{number}");
        }
    }
}

#[test]
fn who_is_known_is_not_shut_out_by_what_was_lost_before() {
    for (src, expected) in [(VERIFIED_V4, WAITS), (CALLER_V4, NO_ROOM)] {
        let mut site = Site::new();
        for id in 0..PER_SOURCE as u32 {
            assert_eq!(site.comes(&phone(&src, id)[0]), WAITS);
        }
        let [first, rest] = phone(&src, 99);
        assert_eq!(site.comes(&first), expected);
        if expected == WAITS {
            assert_eq!(site.comes(&rest), Action::RelayWhole);
            // The oldest went.
            assert_eq!(site.comes(&phone(&src, 1)[1]), Action::RelayWhole);
            assert_eq!(site.comes(&phone(&src, 0)[1]), WAITS);
        }
    }
}
