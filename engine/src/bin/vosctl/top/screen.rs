//! The terminal: taken, drawn on, and given back as it was, whatever ends the program.

use std::io::{self, IsTerminal, Stdout};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal;
use ratatui::layout::Size;
use tokio::sync::mpsc::Sender;

use super::model::Model;
use super::{News, draw};

/// What is drawn on where there is no terminal.
const USUAL: Size = Size { width: 80, height: 24 };

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Quit,
    Pause,
    Reset,
    /// No key, but to be obeyed as well: the terminal has another size.
    Resize,
}

impl Key {
    fn of(event: &Event) -> Option<Self> {
        match event {
            Event::Resize(..) => Some(Self::Resize),
            Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                // in raw mode Ctrl-C is a key
                KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Self::Quit),
                KeyCode::Char('q' | 'Q') | KeyCode::Esc => Some(Self::Quit),
                KeyCode::Char('p' | 'P' | ' ') => Some(Self::Pause),
                KeyCode::Char('r' | 'R') => Some(Self::Reset),
                _ => None,
            },
            _ => None,
        }
    }
}

/// Ours until it is dropped.
pub(super) struct Screen(Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Raw mode, the other screen, and a panic that gives both back before it speaks. Keys become news.
    pub(super) fn take(sender: Sender<News>) -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        // Reading a key cannot be given up; the thread ends with the process.
        std::thread::spawn(move || {
            while let Ok(event) = event::read() {
                if let Some(key) = Key::of(&event)
                    && sender.blocking_send(News::Key(key)).is_err()
                {
                    return;
                }
            }
            let _it_has_ended = sender.blocking_send(News::End);
        });
        Ok(Self(terminal))
    }

    pub(super) fn draw(&mut self, model: &Model) -> io::Result<()> {
        self.0.draw(|frame| draw::all(frame, model)).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _it_may_be_gone = self.0.show_cursor();
        let _it_may_be_gone = ratatui::try_restore();
    }
}

/// The size of the terminal, if there is one.
pub(super) fn size() -> Size {
    let size = if io::stdout().is_terminal() { terminal::size().ok() } else { None };
    size.map_or(USUAL, |(width, height)| Size { width, height })
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn keys_mean_what_the_last_line_says() {
        let key = |code, modifiers| Key::of(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |c| key(KeyCode::Char(c), KeyModifiers::NONE);
        assert_eq!((plain('q'), plain('p'), plain('r')), (Some(Key::Quit), Some(Key::Pause), Some(Key::Reset)));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!((plain('c'), plain('x'), Key::of(&Event::Resize(1, 1))), (None, None, Some(Key::Resize)));
    }
}
