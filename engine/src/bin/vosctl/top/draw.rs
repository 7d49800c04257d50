//! How `vosctl top` looks: fits 80 by 24, and shows more where there is room. Text of unknown origin goes through
//! `printable`, whatever the terminal library does with it.

use std::time::Duration;

use ratatui::backend::TestBackend;
use ratatui::layout::{Constraint, Layout, Rect, Size};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};
use ratatui::{Frame, Terminal};
use serde_json::Value;
use vos_engine::control::terminal::printable;
use vos_engine::events::{Change, RuleChange};
use vos_engine::feed::State;

use super::model::Model;
use super::numbers::{Numbers, Queue};
use crate::answer::{bare, span};
use crate::feeds;

/// Rows of sources and decisions, with their title.
const LOWER: u16 = 8;
/// Most rows of feeds, with their title. What is not up stands first.
const FEEDS_MAX: u16 = 4;
/// Columns of a rate or a total.
const NUMBER: usize = 8;

/// All of it.
pub(super) fn all(frame: &mut Frame<'_>, model: &Model) {
    let feeds = feed_lines(model);
    let feed_rows = if feeds.is_empty() { 0 } else { (feeds.len() as u16 + 1).min(FEEDS_MAX) };
    let rows = [
        Constraint::Length(3),
        Constraint::Min(4),
        Constraint::Max(LOWER),
        Constraint::Length(feed_rows),
        Constraint::Length(1),
    ];
    let [head, upper, lower, feed_area, keys] = Layout::vertical(rows).areas(frame.area());
    let halves = |area| Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]).areas(area);
    let ([reasons, queues], [sources, decisions]) = (halves(upper), halves(lower));
    frame.render_widget(Paragraph::new(head_lines(model)), head);
    part(frame, reasons, "DROPPED          /s   TOTAL", reason_lines(model, reasons.width));
    part(frame, queues, "QUEUE    IN/s RELAY/s  ANSW/s  DROP/s", queue_lines(model));
    part(frame, sources, "TOP DROPPED SOURCES (samples)", source_lines(model));
    part(frame, decisions, "LATEST DECISIONS", decision_lines(model));
    part(frame, feed_area, "FEEDS", feeds);
    let paused = if model.is_paused { "  PAUSED".bold() } else { Span::default() };
    let line = Line::from(vec![
        "q".bold(),
        " quit  ".into(),
        "p".bold(),
        " pause  ".into(),
        "r".bold(),
        " reset totals".into(),
        paused,
    ]);
    frame.render_widget(Paragraph::new(line), keys);
}

/// The same as text, for whoever has no terminal.
pub(super) fn text(model: &Model, size: Size) -> Result<String, std::convert::Infallible> {
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height))?;
    terminal.draw(|frame| all(frame, model))?;
    let buffer = terminal.backend().buffer();
    let row = |row: &[ratatui::buffer::Cell]| {
        let row: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        row.trim_end().to_owned() + "\n"
    };
    Ok(buffer.content().chunks(usize::from(size.width.max(1))).map(row).collect())
}

fn part(frame: &mut Frame<'_>, area: Rect, title: &'static str, lines: Vec<Line<'_>>) {
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().dim())
        .title_style(Style::reset().bold())
        .title(title);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn head_lines(model: &Model) -> Vec<Line<'static>> {
    let word = |key: &str| {
        let value = model.stats.get(key);
        printable(value.and_then(Value::as_str).unwrap_or("?")).into_owned()
    };
    let time = humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + Duration::from_secs(model.time));
    let first = format!(
        "{}  mode {}  xdp {}  bind {}  relay {}  {time}",
        printable(&model.iface),
        word("mode"),
        word("xdp"),
        word("bind"),
        word("relay")
    );
    let rate = |count: fn(&Numbers) -> u64| human(model.rate(count));
    let rates = vec![
        format!("judged {}/s  ", rate(|n| n.judged)).bold(),
        format!("dropped {}/s  ", rate(Numbers::all_dropped)).red().bold(),
        format!("to the engine {}/s  to the kernel {}/s", rate(|n| n.redirected), rate(|n| n.kernel)).into(),
    ];
    let softswitch = match model.stats.get("softswitch").and_then(Value::as_str) {
        Some("alive") => "softswitch alive".green(),
        Some("dead") => "softswitch DEAD".red().bold(),
        _ => "softswitch not asked".into(),
    };
    let attack = match model.status.as_ref().and_then(|status| status.attack_left_s) {
        Some(left) => format!("attack mode on, {} left", span(left)).red().bold(),
        None => "attack mode off".into(),
    };
    let behind = model.stats.pointer("/pressure/now").and_then(Value::as_bool) == Some(true);
    let behind = if behind { "  is behind".red().bold() } else { Span::default() };
    let number = |pointer: &str| model.stats.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let tiers = format!("  verified {} sources", human(number("/verified/sources") as f64));
    let lost = if model.lost > 0 { format!("  {} events lost", model.lost) } else { String::new() };
    vec![first.into(), rates.into(), vec![softswitch, behind, "  ".into(), attack, tiers.into(), lost.into()].into()]
}

fn reason_lines(model: &Model, width: u16) -> Vec<Line<'static>> {
    let reasons = model.reasons();
    let most = reasons.iter().map(|(_, rate, _)| *rate).fold(0.0, f64::max);
    let room = usize::from(width).saturating_sub(16 + 2 * NUMBER + 1);
    let line = |(label, rate, total): &(String, f64, u64)| {
        let bar = if most > 0.0 { (rate / most * room as f64).round() as usize } else { 0 };
        let (label, rate, total) = (printable(label).into_owned(), human(*rate), human(*total as f64));
        Line::from(vec![
            format!("{label:16.16}{rate:>NUMBER$}{total:>NUMBER$} ").into(),
            "█".repeat(bar.min(room)).red(),
        ])
    };
    let lines: Vec<_> = reasons.iter().map(line).collect();
    if lines.is_empty() { vec!["nothing was dropped".dim().into()] } else { lines }
}

fn queue_lines(model: &Model) -> Vec<Line<'static>> {
    let line = |(queue, rates): (Queue, [f64; 4])| {
        let number = queue.queue;
        if !queue.live {
            return format!("{number:>5}  off: takes the kernel's path").red().into();
        }
        let rates = rates.map(|rate| format!("{:>NUMBER$}", human(rate))).concat();
        let waiting = if queue.waiting > 0 { format!(" {} wait", queue.waiting).red() } else { Span::default() };
        Line::from(vec![format!("{number:>5}{rates}").into(), waiting])
    };
    let lines: Vec<_> = model.queues().into_iter().map(line).collect();
    if lines.is_empty() { vec!["no workers: the kernel's path".dim().into()] } else { lines }
}

fn source_lines(model: &Model) -> Vec<Line<'static>> {
    let line = |(source, count): (&str, u64)| format!("{:>NUMBER$}  {}", human(count as f64), printable(source)).into();
    model.sources().into_iter().take(64).map(line).collect()
}

fn decision_lines(model: &Model) -> Vec<Line<'static>> {
    let line = |(time, change): &(f64, RuleChange)| {
        let seconds = Duration::try_from_secs_f64(*time).unwrap_or_default().as_secs() % 86_400;
        let clock = format!("{:02}:{:02}:{:02} ", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let is = change.rule.participle();
        let what = match change.change {
            Change::Made => format!("{is} "),
            Change::TakenBack => format!("no longer {is} "),
            Change::Ended => format!("{is} till now "),
        };
        let by = if change.origin.is_empty() { String::new() } else { format!("  {}", printable(&change.origin)) };
        let reason = if change.reason.is_empty() { String::new() } else { format!(": {}", printable(&change.reason)) };
        Line::from(vec![clock.dim(), what.into(), bare(&change.net).bold(), by.into(), reason.into()])
    };
    model.decisions().take(64).map(line).collect()
}

/// What is not up first: there may not be room for all.
fn feed_lines(model: &Model) -> Vec<Line<'static>> {
    let mut feeds: Vec<_> = model.feeds.iter().collect();
    feeds.sort_by_key(|feed| feed.state == State::Up);
    let line = |feed: &&vos_engine::feed::View| {
        let line = printable(&feeds::line(feed)).into_owned();
        if feed.state == State::Up { line.into() } else { line.red().into() }
    };
    feeds.iter().map(line).collect()
}

/// A number in at most seven columns.
fn human(number: f64) -> String {
    match number {
        n if n < 0.05 => "0".to_owned(),
        n if n < 9.95 && n.fract() != 0.0 => format!("{n:.1}"),
        n if n < 99_999.5 => format!("{n:.0}"),
        n if n < 9_999_500.0 => format!("{:.0}k", n / 1e3),
        n if n < 9_999_500_000.0 => format!("{:.0}M", n / 1e6),
        n => format!("{:.0}G", n / 1e9),
    }
}

#[cfg(test)]
#[path = "draw_tests.rs"]
mod tests;
