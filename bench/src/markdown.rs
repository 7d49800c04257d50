//! Tables for people who read the source and for those who see it rendered.

use std::fmt::Write;
use std::path::Path;

use crate::{Error, Result};

/// A Markdown table whose source is one, too. The first line is the heading; the first column is text, all others are
/// numbers.
pub fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(2);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, line) in table.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let _ = if column == 0 { write!(text, "| {cell:<width$} ") } else { write!(text, "| {cell:>width$} ") };
        }
        text += "|\n";
        if at == 0 {
            text += &format!("|{}", "-".repeat(widths[0] + 2));
            widths[1..].iter().for_each(|width| text += &format!("|{}:", "-".repeat(width + 1)));
            text += "|\n";
        }
    }
    text
}

/// A part of a file between two markers that hold its name.
#[derive(Clone, Copy, Debug)]
pub struct Section(pub &'static str);

impl Section {
    /// Says whether [`renew`](Self::renew) would succeed, while nothing is lost yet.
    pub fn find(self, file: &Path) -> Result<()> {
        self.renewed(file, "").map(|_| ())
    }

    /// Writes `text` between the markers in `file`.
    pub fn renew(self, file: &Path, text: &str) -> Result<()> {
        let renewed = self.renewed(file, text)?;
        std::fs::write(file, renewed).map_err(Error::io(format!("write {}", file.display())))
    }

    fn renewed(self, file: &Path, text: &str) -> Result<String> {
        let old = std::fs::read_to_string(file).map_err(Error::io(format!("read {}", file.display())))?;
        self.between_markers(&old, text).ok_or_else(|| {
            let ([begin, end], file) = (self.markers(), file.display());
            Error::Other(format!("{file} has no lines {begin:?} and {end:?}: write them where the tables belong"))
        })
    }

    fn markers(self) -> [String; 2] {
        ["begin", "end"].map(|edge| format!("<!-- {}:{edge} -->", self.0))
    }

    fn between_markers(self, old: &str, text: &str) -> Option<String> {
        let [begin, end] = self.markers();
        let (before, rest) = old.split_once(&begin)?;
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}\n{text}{end}{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_renewed_between_the_markers_only() {
        let section = Section("bench-it");
        let [begin, end] = section.markers();
        let text = format!("before\n{begin}\nold\n{end}\nafter\n");
        let new = section.between_markers(&text, "new\n").unwrap();
        assert_eq!(new, format!("before\n{begin}\nnew\n{end}\nafter\n"));
        assert_eq!(section.between_markers(&new, "new\n").unwrap(), new);
        assert_eq!(section.between_markers("before", "new\n"), None);
        assert_eq!(Section("bench-other").between_markers(&text, "new\n"), None);
    }
}
