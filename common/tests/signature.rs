//! Signatures against a naive reading: every pattern sought everywhere, line by line.

use std::collections::BTreeSet;
use std::time::Instant;

use proptest::prelude::*;
use vos_common::signature::{
    CANDIDATES, GRAM_SLOTS, PATTERN_MAX, PATTERN_MIN, PATTERNS_MAX, PatternError, SUSPECTS_MAX, Signatures, confirm,
    fold, scan, suspect,
};

/// What the table says of a message that fills `before..` of a frame.
fn scanned(signatures: &Signatures, frame: &[u8], before: usize) -> bool {
    let (frame, end) = (&frame, frame.len());
    let next = |at| suspect(frame, &signatures, at, end);
    scan(before, next, |at| confirm(frame, &signatures, before, end, at) != 0)
}

fn compiled(patterns: &[String]) -> Result<Box<Signatures>, PatternError> {
    let mut signatures = Box::new(Signatures::EMPTY);
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    signatures.compile(&patterns).map(|()| signatures)
}

fn folded(text: &[u8]) -> Vec<u8> {
    text.iter().copied().map(fold).collect()
}

/// Is this line one of those in which tools sign, or the rest of a folded one?
fn signs(line: &[u8]) -> bool {
    if line.starts_with(b" ") || line.starts_with(b"\t") || line.starts_with(b"s=") {
        return true;
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let name = String::from_utf8_lossy(&line[..colon]).trim_end_matches([' ', '\t']).to_lowercase();
    ["user-agent", "from", "f", "to", "t"].contains(&name.as_str())
}

/// Is a pattern written where tools sign?
fn signed(patterns: &[String], message: &[u8]) -> bool {
    let mut start = 0;
    for (n, line) in message.split_inclusive(|byte| *byte == b'\n').enumerate() {
        // The start line is no header.
        if n > 0 && signs(line) {
            // From the line to the message's end: folded, a line end may be part of a pattern.
            let rest = folded(&message[start..]);
            for pattern in patterns {
                let pattern = folded(pattern.as_bytes());
                let found = rest.windows(pattern.len()).take(line.len()).take(256);
                if found.into_iter().any(|window| *window == pattern) {
                    return true;
                }
            }
        }
        start += line.len();
    }
    false
}

/// Bytes that are looked at together: a suspect each, however much stands there.
const BLOCK: usize = 32;

/// Blocks in which a 4-gram of the table stands at a multiple of four.
fn suspects(signatures: &Signatures, message: &[u8]) -> usize {
    let grams: BTreeSet<u32> = signatures.grams.iter().copied().filter(|gram| *gram != 0).collect();
    let folded = folded(message);
    let is_suspect =
        |block: &[u8]| block.chunks_exact(4).any(|gram| grams.contains(&u32::from_le_bytes(gram.try_into().unwrap())));
    folded.chunks(BLOCK).filter(|block| is_suspect(block)).count()
}

/// Patterns as they are, and such as share their beginnings, their ends, or all but a letter.
fn patterns(most: usize) -> impl Strategy<Value = Vec<String>> {
    let pattern = prop_oneof![
        4 => "[a-zA-Z/. -]{7,32}",
        2 => "[ -~]{7,32}",
        1 => "scan[a-zA-Z]{3,12}",
        1 => "[a-zA-Z]{3,12}scanner",
        1 => "User-Agent: [a-z]{1,9}",
        1 => "[ab]{7,10}",
    ];
    prop::collection::vec(pattern, 1..=most)
}

const NAMES: [&str; 22] = [
    "User-Agent: ",
    "user-agent:",
    "USER-AGENT : ",
    "From: ",
    "FROM\t:",
    "f:",
    "F : ",
    "To: ",
    "to:",
    "t : ",
    "T:",
    " ",
    "\t",
    "s=",
    "s: ",
    "S=",
    "Contact: ",
    "Subject: ",
    "Fromage: ",
    "Tomato: ",
    "o=",
    "Via: ",
];

/// A message in which patterns of the list are planted: whole, in other case, or not quite.
fn message(patterns: Vec<String>) -> impl Strategy<Value = (Vec<String>, Vec<u8>)> {
    let list = patterns.clone();
    let planted = (0..list.len(), 0u8..5, any::<prop::sample::Index>()).prop_map(move |(n, how, at)| {
        let mut text = list[n].clone().into_bytes();
        match how {
            0 => text.make_ascii_uppercase(),
            1 => text.make_ascii_lowercase(),
            2 => text.truncate(at.index(text.len())),
            3 => text.iter_mut().step_by(2).for_each(u8::make_ascii_uppercase),
            _ => {}
        }
        if how == 4 && at.index(2) == 0 {
            let at = at.index(text.len());
            text[at] ^= 1;
        }
        text
    });
    let filler = prop_oneof!["[ -~]{0,40}", "y{0,300}"].prop_map(String::into_bytes);
    let value = prop_oneof![3 => filler, 1 => planted];
    let line = (
        prop::sample::select(&NAMES[..]),
        prop::collection::vec(value, 0..4),
        prop::sample::select(&["\r\n", "\n"][..]),
    );
    let lines = prop::collection::vec(line, 0..8);
    ("[A-Z]{3,9} sip:[a-z@.]{5,40} SIP/2.0\r\n", lines, any::<bool>()).prop_map(move |(start, lines, ends)| {
        let mut message = start.into_bytes();
        for (name, values, end) in lines {
            message.extend(name.bytes());
            message.extend(values.concat());
            message.extend(end.bytes());
        }
        if !ends {
            // The packet ends with its last value.
            message.truncate(message.trim_ascii_end().len());
        }
        message.truncate(2_048);
        (patterns.clone(), message)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What is found is what stands there, and nothing else, wherever the message begins in the frame.
    #[test]
    fn finds_what_a_naive_search_finds((patterns, message) in patterns(20).prop_flat_map(message), before in 42usize..100) {
        let Ok(signatures) = compiled(&patterns) else { return Ok(()) };
        let frame = [&vec![b'!'; before][..], &message].concat();
        let expected = signed(&patterns, &message) || suspects(&signatures, &message) > SUSPECTS_MAX;
        prop_assert_eq!(scanned(&signatures, &frame, before), expected, "{:?}\n{}", patterns, message.escape_ascii());
    }

    /// Patterns are compiled, or it is said what is wrong with which of them.
    #[test]
    fn compiles_or_says_what_is_wrong(mut patterns in patterns(40), spoil in any::<prop::sample::Index>(), how in 0..6) {
        let at = spoil.index(patterns.len());
        match how {
            0 => patterns[at].truncate(PATTERN_MIN - 1),
            1 => patterns[at] = "x".repeat(PATTERN_MAX + 1),
            2 => patterns[at].insert(3, '\u{e9}'),
            3 => patterns.push(patterns[at].to_uppercase()),
            4 => patterns[at].replace_range(..1, "\t"),
            _ => {}
        }
        let length = |pattern: &String| !(PATTERN_MIN..=PATTERN_MAX).contains(&pattern.len());
        let text = |pattern: &String| pattern.bytes().any(|byte| !(b' '..=b'~').contains(&byte));
        let twice = |n: usize| patterns[..n].iter().any(|earlier| folded(earlier.as_bytes()) == folded(patterns[n].as_bytes()));
        let wrong = patterns.iter().enumerate().find_map(|(n, pattern)| match () {
            () if length(pattern) => Some(PatternError::Length(n)),
            () if text(pattern) => Some(PatternError::Text(n)),
            () if twice(n) => Some(PatternError::Twice(n)),
            () => None,
        });
        match (compiled(&patterns), wrong) {
            (result, Some(wrong)) => prop_assert_eq!(result.err(), Some(wrong)),
            (Ok(signatures), None) => {
                // Each is found in the field that it is for.
                for pattern in &patterns {
                    let line = if pattern.starts_with("User-Agent: ") { pattern.clone() } else { format!("From: {pattern}") };
                    let message = format!("INVITE sip:a@b SIP/2.0\r\n{line}\r\n\r\n");
                    prop_assert!(scanned(&signatures, message.as_bytes(), 0), "{pattern:?}");
                }
            }
            (Err(PatternError::Alike(n)), None) => {
                let shared = folded(patterns[n].as_bytes()).windows(4).any(|gram| {
                    let has = |pattern: &&String| folded(pattern.as_bytes()).windows(4).any(|other| other == gram);
                    patterns.iter().filter(has).count() > 1
                });
                prop_assert!(shared, "{patterns:?}: {n} shares nothing");
            }
            (Err(other), None) => prop_assert!(false, "{other:?}: {patterns:?}"),
        }
    }
}

/// So many patterns that have nothing to do with each other.
fn unlike(n: usize) -> Vec<String> {
    let letter = |n: u64| char::from(b'a' + (n % 26) as u8);
    (0..n as u64)
        .map(|n| (0..12).map(|i| letter((n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (4 * i))).collect())
        .collect()
}

#[test]
fn as_many_patterns_as_there_may_be_compile_soon() {
    let begun = Instant::now();
    let patterns = unlike(PATTERNS_MAX);
    let signatures = compiled(&patterns).unwrap();
    for pattern in &patterns {
        let message = format!("INVITE sip:a@b SIP/2.0\r\nUser-Agent: {pattern}\r\n\r\n");
        assert!(scanned(&signatures, message.as_bytes(), 0), "{pattern}");
    }
    assert_eq!(compiled(&unlike(PATTERNS_MAX + 1)).err(), Some(PatternError::TooMany));
    println!("{:?}", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 10, "reloading would wait for {:?}", begun.elapsed());
}

#[test]
fn too_many_alike_are_refused_soon() {
    let begun = Instant::now();
    // of seven bytes each there is one window, and all share its first 4-gram
    let patterns: Vec<_> = ('a'..).take(CANDIDATES + 1).map(|c| format!("zqxj{c}{c}{c}")).collect();
    assert_eq!(compiled(&patterns).err(), Some(PatternError::Alike(CANDIDATES)));
    assert!(compiled(&patterns[..CANDIDATES]).is_ok());
    println!("{:?}", begun.elapsed());
    assert!(begun.elapsed().as_secs() < 10, "reloading would wait for {:?}", begun.elapsed());
}

#[test]
fn no_two_4_grams_share_a_slot_and_each_is_where_it_is_looked_for() {
    let signatures = compiled(&unlike(40)).unwrap();
    let mut seen = BTreeSet::new();
    for (slot, gram) in signatures.grams.iter().enumerate().filter(|(_, gram)| **gram != 0) {
        assert_eq!(vos_common::signature::slot(*gram, signatures.multiplier), slot);
        assert!(seen.insert(gram));
    }
    assert_eq!(seen.len(), 4 * 40);
    assert_eq!(signatures.grams.len(), GRAM_SLOTS);
}

#[test]
fn without_patterns_nothing_is_found() {
    let signatures = compiled(&[]).unwrap();
    assert_eq!(signatures.any, 0);
    assert!(!scanned(&signatures, &[0; 2_000], 42));
    assert!(!scanned(&signatures, b"INVITE sip:a@b SIP/2.0\r\nUser-Agent: friendly-scanner\r\n\r\n", 0));
}

/// What `vosctl` shows names the fix.
#[test]
fn errors_say_what_to_do() {
    for (error, word) in [
        (PatternError::TooMany, "63"),
        (PatternError::Length(0), "User-Agent: smap"),
        (PatternError::Text(0), "ASCII"),
        (PatternError::Twice(0), "twice"),
        (PatternError::Alike(0), "fewer"),
        (PatternError::Crowded, "take some out"),
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
}
