//! How things look: by what they mean. Without colours the same is told by weight and signs.

use ratatui::style::{Color, Modifier, Style};

#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    colors: bool,
}

impl Theme {
    pub(super) fn new(colors: bool) -> Self {
        Self { colors }
    }

    fn color(self, color: Color) -> Style {
        if self.colors { Style::new().fg(color) } else { Style::new() }
    }

    /// For shapes, which take a colour alone.
    pub(super) fn paint(self, color: Color) -> Color {
        if self.colors { color } else { Color::Reset }
    }

    pub(super) fn chosen(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn strong(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Sealed, in sync, connected.
    pub(super) fn good(self) -> Style {
        self.color(Color::Green)
    }

    /// Pending, catching up.
    pub(super) fn waits(self) -> Style {
        self.color(Color::Yellow)
    }

    /// Forked, rejected, away.
    pub(super) fn bad(self) -> Style {
        self.color(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What is one's own.
    pub(super) fn own(self) -> Style {
        self.color(Color::Cyan)
    }
}
