/// Bytes of a text from a packet that are kept. Names, numbers and Call-IDs are shorter by far; what is longer has been made
/// to be.
pub const TEXT_MAX: usize = 256;

/// Texts of a packet, cut, in one piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Texts<const N: usize> {
    bytes: Box<[u8]>,
    /// Where each ends.
    ends: [u16; N],
}

impl<const N: usize> Texts<N> {
    pub(super) fn of(texts: [&[u8]; N]) -> Self {
        let cut = texts.map(|text| &text[..text.len().min(TEXT_MAX)]);
        let mut end = 0;
        let ends = cut.map(|text| {
            end += text.len() as u16;
            end
        });
        Self { bytes: cut.concat().into(), ends }
    }

    /// One of them, as JSON can hold it.
    pub(super) fn get(&self, n: usize) -> String {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]).into();
        text(self.bytes.get(start..self.ends[n].into()).unwrap_or_default())
    }
}

/// A text of a packet's as records hold it: cut at [`TEXT_MAX`] bytes; what is no UTF-8 is shown as U+FFFD.
pub fn text(text: &[u8]) -> String {
    let cut = &text[..text.len().min(TEXT_MAX)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() == TEXT_MAX {
        // The cut may have gone through a character.
        text.truncate(text.trim_end_matches('\u{fffd}').len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_none_runs_into_another() {
        let (long, half) = ("x".repeat(1_000), "ü".repeat(1_000));
        let texts = Texts::of([b"", long.as_bytes(), b"b", &half.as_bytes()[1..], b"\xffc"]);
        assert_eq!([0, 2].map(|n| texts.get(n)), ["", "b"]);
        assert_eq!(texts.get(1), "x".repeat(TEXT_MAX));
        // begins within a character, and is cut within one
        assert_eq!(texts.get(3), format!("\u{fffd}{}", "ü".repeat(127)));
        assert_eq!(texts.get(4), "\u{fffd}c");
    }
}
