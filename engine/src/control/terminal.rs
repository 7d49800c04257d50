//! Text of unknown origin on a terminal: control characters and what reorders a line are shown, not obeyed.

use std::borrow::Cow;

/// Would a terminal or a reader's eye be led astray by this character?
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// `text` for a line of a terminal: `\u{1b}` in the place of an escape.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| {
        if is_hostile(c) { c.escape_unicode().to_string() } else { c.to_string() }
    };
    Cow::Owned(text.chars().map(escape).collect())
}

/// A JSON text for a terminal: the same value, hostile characters as `\u009b`. Line ends between values stay.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let hostile = |c: char| is_hostile(c) && c != '\n';
    if !json.contains(hostile) {
        return Cow::Borrowed(json);
    }
    let mut units = [0; 2];
    let mut escape = |c: char| match hostile(c) {
        true => c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        false => c.to_string(),
    };
    Cow::Owned(json.chars().map(&mut escape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_of_any_language_is_left_alone() {
        for text in ["", "friendly-scanner 1.8", "Ошибка \\u{1b}", "拒绝"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    #[test]
    fn what_a_terminal_would_obey_is_shown() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{9b}d\u{7f}"), "a\\u{1b}[2Jb\\u{d}\\u{a}c\\u{9b}d\\u{7f}");
        assert_eq!(printable("\u{202e}txt.exe\u{2066}"), "\\u{202e}txt.exe\\u{2066}");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({ "reason": "a\u{1b}\u{9b}\u{202e}\u{e0001}\u{7f}б\n" });
        let text = serde_json::to_string_pretty(&value).expect("a value");
        let shown = printable_json(&text);
        assert!(!shown.contains(|c: char| is_hostile(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
    }
}
