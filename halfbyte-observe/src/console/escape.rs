use std::fmt;

/// What stands for the rest of a text that was cut.
const MARK: char = '…';

/// Writes text as the inside of a string of JSON, up to so many bytes. Besides what JSON asks for it escapes every
/// control character and the line separators of Unicode, which could break a line or drive a terminal.
pub(super) struct Escape<'a> {
    to: &'a mut String,
    left: usize,
    cut: bool,
}

impl<'a> Escape<'a> {
    pub(super) fn new(to: &'a mut String, most: usize) -> Self {
        Self { to, left: most, cut: false }
    }

    /// Whether something did not fit.
    pub(super) fn was_cut(&self) -> bool {
        self.cut
    }

    /// Takes what fits; an error when it was not all, so that whoever formats need not go on.
    fn push(&mut self, text: &str) -> fmt::Result {
        if self.cut {
            return Err(fmt::Error);
        }
        if text.len() <= self.left {
            self.left -= text.len();
            self.to.push_str(text);
            return Ok(());
        }
        self.cut = true;
        // An escape is left out whole.
        if !text.starts_with('\\') {
            self.to.push_str(&text[..text.floor_char_boundary(self.left)]);
        }
        self.to.push(MARK);
        Err(fmt::Error)
    }
}

impl fmt::Write for Escape<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            let escape = match c {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\u{2028}' | '\u{2029}' => "",
                c if c.is_control() => "",
                _ => continue,
            };
            self.push_plain(&text[plain..at])?;
            plain = at + c.len_utf8();
            match escape {
                "" => self.push(&format!("\\u{:04x}", u32::from(c)))?,
                escape => self.push(escape)?,
            }
        }
        self.push_plain(&text[plain..])
    }
}

impl Escape<'_> {
    fn push_plain(&mut self, text: &str) -> fmt::Result {
        if text.is_empty() { Ok(()) } else { self.push(text) }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn escaped(text: &str, most: usize) -> (String, bool) {
        let mut to = String::new();
        let mut escape = Escape::new(&mut to, most);
        let _cut = escape.write_str(text);
        let cut = escape.was_cut();
        (to, cut)
    }

    #[test]
    fn what_could_break_a_line_is_escaped() {
        for (text, expected) in [
            ("a", "a"),
            ("\"\\", "\\\"\\\\"),
            ("a\nb\rc\td", "a\\nb\\rc\\td"),
            ("\x1b[2J\0\x7f", "\\u001b[2J\\u0000\\u007f"),
            ("\u{85}\u{9b}\u{2028}\u{2029}", "\\u0085\\u009b\\u2028\\u2029"),
            ("größe 🦀", "größe 🦀"),
        ] {
            assert_eq!(escaped(text, 100), (expected.to_owned(), false));
            assert_eq!(serde_json::from_str::<String>(&format!("\"{expected}\"")).expect("valid"), text);
        }
    }

    #[test]
    fn what_does_not_fit_is_cut_between_characters_with_a_mark() {
        for (text, most, expected) in [
            ("abc", 3, ("abc", false)),
            ("abcd", 3, ("abc…", true)),
            ("aé", 2, ("a…", true)),
            ("a\"", 2, ("a…", true)),
            ("", 0, ("", false)),
        ] {
            assert_eq!(escaped(text, most), (expected.0.to_owned(), expected.1), "{text}");
        }
    }
}
