//! Watched files, written as editors, rsync, shells and honeypots write them, under a real engine.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::site::{Node, SERVER4, wait_until};

/// A node and its list, which is not there yet.
struct Fed {
    node: Node,
    list: PathBuf,
}

impl Fed {
    /// `keys` belong to the feed.
    fn start(keys: &str) -> Self {
        let mut node = Node::alone();
        fs::create_dir(node.path("lists")).unwrap();
        let list = node.path("lists").join("honeypot.txt");
        node.start(&feed(&list, keys));
        Self { node, list }
    }

    /// As rsync and editors do it: a file of another name is written, and takes the name.
    fn replace(&self, text: &str) {
        let new = self.list.with_file_name(".honeypot.txt.Xy12ab");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.list).unwrap();
    }

    /// Waits until these, and no others, are blocked by the list.
    #[track_caller]
    fn wait_for(&self, nets: &[&str]) {
        wait_for(&self.node, &self.list, nets);
    }

    /// The feed as `vosctl feeds` shows it.
    fn feed(&self) -> Value {
        self.node.feed(&format!("file {}", self.list.display()))
    }

    #[track_caller]
    fn wait_for_state(&self, state: &str, error: &str) {
        wait_until(&format!("the feed is {state}: {error}"), || {
            let feed = self.feed();
            feed["state"] == state && feed["error"].as_str().unwrap_or_default().contains(error)
        });
    }
}

fn feed(list: &Path, keys: &str) -> String {
    format!("[[file_feed]]\npath = {:?}\n{keys}\n", list.display().to_string())
}

fn append(list: &Path, text: &str) {
    OpenOptions::new().append(true).open(list).unwrap().write_all(text.as_bytes()).unwrap();
}

#[track_caller]
fn wait_for(node: &Node, list: &Path, nets: &[&str]) {
    let wanted: BTreeSet<String> = nets.iter().map(|net| (*net).to_owned()).collect();
    wait_until(&format!("{} blocks {wanted:?}", list.display()), || {
        blocked(node, &list.display().to_string()) == wanted
    });
}

/// Whom this list or user has blocked.
fn blocked(node: &Node, who: &str) -> BTreeSet<String> {
    let rules = node.json(&["list", "block"]);
    let theirs = rules["rules"].as_array().unwrap().iter().filter(|rule| rule["who"] == who);
    theirs.map(|rule| rule["net"].as_str().unwrap().trim_end_matches("/32").to_owned()).collect()
}

#[test]
fn a_file_is_followed_however_it_is_written() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let fed = Fed::start("reason = \"honeypot\"");
    fed.wait_for_state("down", "No such file");

    fed.replace("# last night\n203.0.113.7\n198.51.100.0/24  # a net\n");
    fed.wait_for(&["203.0.113.7", "198.51.100.0/24"]);
    fed.wait_for_state("up", "");
    assert!(fed.node.is_dropped("203.0.113.7") && fed.node.is_dropped("198.51.100.77"));
    let rule = fed.node.json(&["list", "block"])["rules"][0].clone();
    assert_eq!((rule["reason"].as_str(), rule["origin"].as_str()), (Some("honeypot"), Some("file")));

    // a shell adds a line
    append(&fed.list, "203.0.113.8\n");
    fed.wait_for(&["203.0.113.7", "198.51.100.0/24", "203.0.113.8"]);

    // vim puts the old file out of the way and writes a new one
    fs::rename(&fed.list, fed.list.with_extension("txt~")).unwrap();
    fs::write(&fed.list, "203.0.113.8\n203.0.113.9\n").unwrap();
    fed.wait_for(&["203.0.113.8", "203.0.113.9"]);
    assert!(!fed.node.is_dropped("203.0.113.7") && fed.node.is_dropped("203.0.113.9"));

    // in place, shorter
    fs::write(&fed.list, "203.0.113.9\n").unwrap();
    fed.wait_for(&["203.0.113.9"]);

    // gone is an error, not an empty list
    fs::remove_file(&fed.list).unwrap();
    fed.wait_for_state("down", "what it blocked stays blocked");
    assert!(fed.node.is_dropped("203.0.113.9"));
    fed.replace("203.0.113.11\n");
    fed.wait_for(&["203.0.113.11"]);
    fed.wait_for_state("up", "");

    // the folder is made anew
    let lists = fed.list.parent().unwrap();
    fs::rename(lists, lists.with_extension("old")).unwrap();
    fed.wait_for_state("down", "No such file");
    fs::create_dir(lists).unwrap();
    fed.wait_for_state("down", "No such file");
    fed.replace("203.0.113.12\n");
    fed.wait_for(&["203.0.113.12"]);

    // emptied and closed is an empty list
    File::create(&fed.list).unwrap();
    fed.wait_for(&[]);
    assert!(!fed.node.is_dropped("203.0.113.12"));
}

#[test]
fn a_file_is_not_read_while_it_is_half_written() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let fed = Fed::start("");
    // Inotify says nothing of what is behind a link into another folder, as on network file systems.
    let (behind, silent) = (fed.node.path("behind.txt"), fed.list.with_file_name("silent.txt"));
    fs::write(&behind, "192.0.2.101\n").unwrap();
    symlink(&behind, &silent).unwrap();
    fed.replace("203.0.113.7\n203.0.113.8\n");
    fed.node.reconfigure(&[feed(&fed.list, ""), feed(&silent, "")].concat());
    fed.wait_for(&["203.0.113.7", "203.0.113.8"]);
    wait_for(&fed.node, &silent, &["192.0.2.101"]);

    // emptied, and filled later
    let mut slow = File::create(&fed.list).unwrap();
    slow.write_all(b"203.0.113.9").unwrap();
    // once this is seen, the other has been looked at as well
    append(&behind, "192.0.2.102\n");
    wait_for(&fed.node, &silent, &["192.0.2.101", "192.0.2.102"]);
    fed.wait_for(&["203.0.113.7", "203.0.113.8"]);
    slow.write_all(b"9\n").unwrap();
    drop(slow);
    fed.wait_for(&["203.0.113.99"]);

    // who holds it open and adds to it is heard, line by line
    let mut held = OpenOptions::new().append(true).open(&fed.list).unwrap();
    held.write_all(b"203.0.113.101\n203.0.113.1").unwrap();
    fed.wait_for(&["203.0.113.99", "203.0.113.101"]);
    held.write_all(b"02\n").unwrap();
    fed.wait_for(&["203.0.113.99", "203.0.113.101", "203.0.113.102"]);
}

#[test]
fn the_good_lines_of_a_half_bad_file_are_taken_unless_it_is_strict() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let fed = Fed::start("");
    let bad = format!("203.0.113.7\n999.1.1.1\n{SERVER4}\n203.0.113.8 # good\n203.0.113.9,bad\n10.0.0.0/8\n");
    fed.replace(&bad);
    fed.wait_for(&["203.0.113.7", "203.0.113.8"]);
    fed.wait_for_state("up", "bad lines: 2, refused: 2; line 2: `999.1.1.1`");
    let view = fed.feed();
    let counts = ["read", "applied", "already", "refused", "bad"].map(|key| view[key].as_u64().unwrap());
    assert_eq!(counts, [6, 2, 0, 2, 2]);
    let log = fed.node.log();
    for said in ["line 5: `203.0.113.9,bad`: write one", "line 3: blocking 192.0.2.1", "line 6: 10.0.0.0/8 is wider"] {
        assert!(log.contains(said), "{log}");
    }

    fed.node.reconfigure(&feed(&fed.list, "strict = true"));
    // it is read anew by then
    fed.wait_for_state("up", "bad lines: 2, and it is strict");
    fed.replace("203.0.113.7\n203.0.113.99\n999.1.1.1\n");
    fed.wait_for_state("up", "bad lines: 1, and it is strict: what it blocked stays as it is; line 3");
    fed.wait_for(&["203.0.113.7", "203.0.113.8"]);
    fed.replace("203.0.113.7\n203.0.113.99\n");
    fed.wait_for(&["203.0.113.7", "203.0.113.99"]);
    fed.wait_for_state("up", "");

    // a feed that ends takes its blocks with it
    fed.node.told(&["block", "203.0.113.50"]);
    fed.node.reconfigure("");
    fed.wait_for(&[]);
    assert!(!fed.node.is_dropped("203.0.113.7") && fed.node.is_dropped("203.0.113.50"));
    assert_eq!(fed.feed(), Value::Null);
}

#[test]
fn operators_are_left_alone_and_restarts_change_nothing() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let mut fed = Fed::start("");
    fed.node.told(&["block", "203.0.113.1", "--reason", "by hand"]);
    fed.replace("203.0.113.1\n203.0.113.2\n203.0.113.3\n203.0.113.4 ttl=1h\n203.0.113.5\n");
    fed.wait_for(&["203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.5"]);
    // what is unblocked by hand stays so while its line does
    fed.node.told(&["unblock", "203.0.113.5"]);
    append(&fed.list, "203.0.113.6\n");
    fed.wait_for(&["203.0.113.2", "203.0.113.3", "203.0.113.4", "203.0.113.6"]);
    assert!(!fed.node.is_dropped("203.0.113.5"));

    let until = |fed: &Fed| {
        let rules = fed.node.json(&["list", "block"]);
        let rule = rules["rules"].as_array().unwrap().iter().find(|rule| rule["net"] == "203.0.113.4/32").cloned();
        rule.expect("the rule")["until"].as_u64().expect("an end")
    };
    let before = until(&fed);
    fed.node.kill();
    fed.replace("203.0.113.3\n203.0.113.4 ttl=1h\n203.0.113.7\n");
    fed.node.restart();
    fed.wait_for(&["203.0.113.3", "203.0.113.4", "203.0.113.7"]);
    assert_eq!(until(&fed), before, "an hour is an hour, whoever restarts");
    assert!(!fed.node.is_dropped("203.0.113.2") && fed.node.is_dropped("203.0.113.1"));
    fed.replace("");
    fed.wait_for(&[]);
    assert!(fed.node.is_dropped("203.0.113.1"), "an operator's block is no line's business");
}

#[test]
fn a_hundred_thousand_lines_are_taken_at_once() {
    if !vos_bench::ready(&[]) {
        return;
    }
    let fed = Fed::start("");
    let mut list = String::new();
    for number in 0..100_000_u32 {
        let [_, b, c, d] = number.to_be_bytes();
        writeln!(list, "100.{}.{c}.{d}", 64 + b).unwrap();
    }
    let applied = |wanted: u64| wait_until("the list is taken", || fed.feed()["applied"] == wanted);
    for (list, wanted, what) in [(&*list, 100_000, "blocked"), ("", 200_000, "unblocked")] {
        let begin = Instant::now();
        fed.replace(list);
        applied(wanted);
        println!("100,000 lines {what} {:?} after the rename", begin.elapsed());
    }
    assert!(!fed.node.is_dropped("100.64.0.1"));
}
