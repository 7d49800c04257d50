//! Do disk, decisions and the kernel's maps agree?

use clap::Args;
use vos_engine::control::client::Client;
use vos_engine::control::terminal::printable;
use vos_engine::control::wire::{NewVerify, Verified};

use crate::Cli;
use crate::answer::Failure;
use crate::answer::tell;

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Have the kernel's maps hold what they should; nobody who is blocked before and after is not in between.
    #[arg(long)]
    repair: bool,
}

/// 1 where something differs that was not put right.
pub(super) async fn verify(client: &Client, cli: &Cli, args: &VerifyArgs) -> Result<u8, Failure> {
    let verified = client.verify(&NewVerify { repair: args.repair }).await?;
    let wrong = verified.on_disk() > 0 || verified.in_kernel() > 0 && !verified.repaired;
    tell(cli.json, &verified, text)?;
    Ok(u8::from(wrong))
}

fn text(verified: &Verified) -> String {
    let Verified { decisions, missing, wrong, extra, gates_shut, gates_open, .. } = verified;
    let Verified { rows_missing, rows_wrong, rows_extra, examples, repaired, .. } = verified;
    if verified.in_kernel() + verified.on_disk() == 0 {
        return format!("{decisions} rules: disk, engine and kernel agree\n");
    }
    let counts = [
        (*missing, "have no entry in the kernel: they are not in force"),
        (*wrong, "have an entry that says something else"),
        (*extra, "entries without a rule"),
        (*gates_shut, "/24s (or all of IPv6) whose rules the kernel does not look for"),
        (*gates_open, "/24s (or all of IPv6) where the kernel looks for rules in vain"),
        (*rows_missing, "are not on the disk"),
        (*rows_wrong, "are otherwise on the disk"),
        (*rows_extra, "rows on the disk that are not in force"),
    ];
    let mut text = format!("{decisions} rules; of these, or beside them:\n");
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        text += &format!("{count:>9}  {what}\n");
    }
    for example in examples {
        text += &format!("           {}\n", printable(example));
    }
    text += match (verified.in_kernel() > 0, repaired) {
        (true, true) => "the kernel holds what it should now\n",
        (true, false) => "`vosctl verify --repair` has the kernel hold what it should\n",
        (false, _) => "",
    };
    if verified.on_disk() > 0 {
        text += "the next start takes what is on the disk: `vosctl export` first, restart, compare\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_said_with_what_to_do() {
        let sound = Verified { decisions: 7, ..Verified::default() };
        assert_eq!(text(&sound), "7 rules: disk, engine and kernel agree\n");
        let example = "10.0.0.1\u{1b} has no entry in the kernel".to_owned();
        let amiss = Verified { decisions: 7, missing: 2, examples: vec![example], ..Verified::default() };
        assert_eq!(
            text(&amiss),
            "7 rules; of these, or beside them:\n        2  have no entry in the kernel: they are not in force\n           \
             10.0.0.1\\u{1b} has no entry in the kernel\n`vosctl verify --repair` has the kernel hold what it should\n"
        );
        assert!(text(&Verified { repaired: true, ..amiss }).ends_with("the kernel holds what it should now\n"));
        let rows = Verified { rows_extra: 1, ..sound };
        assert!(text(&rows).contains("1  rows on the disk") && text(&rows).contains("restart"));
    }
}
