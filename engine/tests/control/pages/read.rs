use std::fs;
use std::path::{Path, PathBuf};

/// A page of the documentation.
pub(super) struct Page {
    /// From the repository's root: `docs/operations.md`.
    pub(super) name: String,
    pub(super) path: PathBuf,
    text: String,
}

/// What stands between two fences.
pub(super) struct Block {
    /// The first word behind the fence.
    pub(super) language: String,
    /// The rest of that line: who runs it.
    pub(super) word: String,
    /// Where it begins, counted from 1.
    pub(super) line: usize,
    /// Lines that are not empty, each with its number.
    pub(super) commands: Vec<(usize, String)>,
}

impl Block {
    /// As it stands, but for empty lines.
    pub(super) fn text(&self) -> String {
        self.commands.iter().map(|(_, line)| format!("{line}\n")).collect()
    }
}

/// The repository.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// README.md and all of docs/.
pub(super) fn pages() -> Vec<Page> {
    let mut paths = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("docs").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "md") {
                paths.push(entry);
            }
        }
    }
    paths.sort();
    let read = |path: PathBuf| {
        let path = path.canonicalize().expect("it is there");
        let root = root().canonicalize().expect("it is there");
        let name = path.strip_prefix(root).expect("below the root").display().to_string();
        Page { name, text: fs::read_to_string(&path).expect("UTF-8"), path }
    };
    paths.into_iter().map(read).collect()
}

impl Page {
    /// All that is fenced.
    pub(super) fn blocks(&self) -> Vec<Block> {
        let (mut blocks, mut open): (Vec<Block>, Option<Block>) = (Vec::new(), None);
        for (number, line) in self.text.lines().enumerate().map(|(number, line)| (number + 1, line)) {
            match (line.strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    let (language, word) = info.split_once(' ').unwrap_or((info, ""));
                    let (language, word) = (language.to_owned(), word.to_owned());
                    open = Some(Block { language, word, line: number, commands: Vec::new() });
                }
                (Some(_), Some(_)) => blocks.extend(open.take()),
                (None, Some(block)) if !line.trim().is_empty() => block.commands.push((number, line.to_owned())),
                (None, _) => {}
            }
        }
        assert!(open.is_none(), "{}: a fence is not closed", self.name);
        blocks
    }

    /// Those of commands.
    pub(super) fn commands(&self) -> Vec<Block> {
        self.blocks().into_iter().filter(|block| block.language == "sh").collect()
    }

    /// The text without what is fenced.
    fn prose(&self) -> String {
        let mut is_fenced = false;
        let outside = |line: &&str| {
            let is_fence = line.starts_with("```");
            is_fenced ^= is_fence;
            !is_fenced && !is_fence
        };
        self.text.lines().filter(outside).map(|line| format!("{line}\n")).collect()
    }

    /// Where it leads within the repository: `gateways.md#what-is-counted`.
    pub(super) fn links(&self) -> Vec<String> {
        let prose = self.prose();
        let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        links.filter(|link| !link.contains("://")).map(str::to_owned).collect()
    }

    /// The names of its headings, as links have them.
    pub(super) fn anchors(&self) -> Vec<String> {
        let prose = self.prose();
        let headings =
            prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
        let slug = |heading: &str| -> String {
            let kept = heading.chars().filter(|sign| sign.is_alphanumeric() || " -_".contains(*sign));
            kept.map(|sign| if sign == ' ' { '-' } else { sign.to_ascii_lowercase() }).collect()
        };
        headings.map(slug).collect()
    }

    /// The commands that begin so between backticks in the text: their first words, as far as they are a command's name.
    pub(super) fn spoken(&self, program: &str) -> Vec<Vec<String>> {
        let prose = self.prose();
        // every second piece stands between backticks
        let spans = prose.split('`').skip(1).step_by(2);
        let names = |words: &str| -> Vec<String> {
            let mut words = words.split_whitespace();
            let first = words.next().map(str::to_owned);
            // those that have commands of their own
            let has_more =
                |name: &String| ["attack", "suspensions", "slowed", "backend", "cluster"].contains(&name.as_str());
            let second = words.next().filter(|_| first.as_ref().is_some_and(has_more)).map(str::to_owned);
            first.into_iter().chain(second).collect()
        };
        let spoken = spans.filter_map(|span| span.strip_prefix(program)).map(names);
        spoken.filter(|words| words.first().is_some_and(|word| !word.starts_with('-'))).collect()
    }
}
