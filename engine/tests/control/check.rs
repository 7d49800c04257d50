//! `vos-engine check`: what whoever writes a `vos.toml` is told, and a program that asks.

use std::fs;
use std::process::Command;

/// Exit code, standard output and standard error.
fn check(text: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("vos.toml");
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vos-engine"));
    let output = command.arg("check").args(flags).arg("--config").arg(&file).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&file.display().to_string(), "vos.toml");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_sound_file_is_valid_and_what_is_not_as_by_default_is_shown() {
    let told = check("iface = \"eth0\"\n[xdp]\nsip_ports = [5060, 5080]\nattach = \"auto\"\n", &["--queues", "2"]);
    let shown = "vos.toml: valid\niface = \"eth0\"\nqueues = 2\nxdp.sip_ports = [5060, 5080]\n";
    assert_eq!(told, (Some(0), shown.to_owned(), String::new()));
}

/// In a mount namespace with an /etc of its own.
#[test]
fn the_usual_file_is_read_if_it_is_there_and_none_is_named() {
    if !vos_bench::ready(&["unshare"]) {
        return;
    }
    let check = |prepare: &str, flags: &str| {
        let engine = env!("CARGO_BIN_EXE_vos-engine");
        let script = format!("mount -t tmpfs none /etc && {prepare} && exec {engine} check --iface eth0 {flags}");
        let output = Command::new("unshare").args(["--mount", "sh", "-ec", &script]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let there = "mkdir /etc/vos && echo 'quues = 4' >/etc/vos/vos.toml";
    let (code, _, errors) = check(there, "");
    assert!(code == Some(1) && errors.starts_with("/etc/vos/vos.toml:1: there is no key `quues`"), "{errors}");
    for (prepare, flags, file) in [("true", "", "the defaults"), (there, "--config /dev/null", "/dev/null")] {
        let (code, shown, errors) = check(prepare, flags);
        assert!(code == Some(0) && shown.starts_with(&format!("{file}: valid")), "{shown}{errors}");
    }
}

#[test]
fn every_error_is_told_with_its_line_and_the_nearest_key() {
    let (code, shown, errors) = check("quues = 4\n[xsk]\nbind = \"zero\"\n[worker]\nwait = 5\n", &[]);
    assert_eq!((code, shown.as_str()), (Some(1), ""));
    let lines: Vec<&str> = errors.lines().collect();
    let begin = [
        "vos.toml:1: there is no key `quues`: did you mean `queues`",
        "vos.toml:3: `xsk.bind` takes \"auto\", \"zerocopy\" or \"copy\": ",
        "vos.toml:5: `worker.wait` takes \"sleep\" or \"busy\": ",
        "vos.toml: 3 errors",
    ];
    let same = lines.len() == begin.len() && lines.iter().zip(begin).all(|(line, begin)| line.starts_with(begin));
    assert!(same, "{errors}");
    let (code, _, errors) = check("", &[]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("`iface` takes") && errors.contains("--iface"), "{errors}");
}
