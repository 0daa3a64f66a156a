//! The words of policies and schemas, as far as it takes to tell where one ends and how deep it is nested.

use std::iter::Peekable;
use std::str::CharIndices;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// An identifier, a keyword or a number.
    Word(&'a str),
    /// What stands in a string, as it is written.
    String(&'a str),
    Mark(char),
}

/// The tokens of a text, each with the byte and the line where it begins. Whatever the text, it comes to an end.
pub(super) struct Tokens<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    line: usize,
}

impl<'a> Tokens<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, rest: text.char_indices().peekable(), line: 1 }
    }

    fn skip_while(&mut self, is_part: impl Fn(char) -> bool) {
        while self.rest.next_if(|(_, char)| is_part(*char)).is_some() {}
    }

    /// Where the next character begins.
    fn here(&mut self) -> usize {
        self.rest.peek().map_or(self.text.len(), |(at, _)| *at)
    }

    /// The rest of a string after its first quote.
    fn string(&mut self) -> Token<'a> {
        let start = self.here();
        while let Some((at, char)) = self.rest.next() {
            match char {
                '\\' => _ = self.rest.next(),
                '\n' => self.line += 1,
                '"' => return Token::String(&self.text[start..at]),
                _ => {}
            }
        }
        Token::String(&self.text[start..])
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (Token<'a>, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (at, char) = self.rest.next()?;
            let line = self.line;
            let token = match char {
                '\n' => {
                    self.line += 1;
                    continue;
                }
                // A carriage return alone ends a comment too: what follows is a policy to Cedar.
                '/' if self.rest.next_if(|(_, next)| *next == '/').is_some() => {
                    self.skip_while(|char| !matches!(char, '\n' | '\r'));
                    continue;
                }
                char if char.is_whitespace() => continue,
                '"' => self.string(),
                char if is_of_word(char) => {
                    self.skip_while(is_of_word);
                    let end = self.here();
                    Token::Word(&self.text[at..end])
                }
                char => Token::Mark(char),
            };
            return Some((token, at, line));
        }
    }
}

fn is_of_word(char: char) -> bool {
    char == '_' || char.is_ascii_alphanumeric()
}

/// The deepest brackets in brackets that are taken. Cedar goes down into them on the stack, 56 KiB for each in a build without
/// optimisation, and a thread of a runtime has 2 MiB.
const DEEPEST: usize = 20;

/// The most `if`s in one policy, at a tenth of that.
const MOST_IFS: usize = 40;

/// The most operators in one policy, where `||` and `&&` count twice, and a clause and an attribute in brackets (`resource["a"]`) once:
/// each makes a tree one deeper, though no bracket in a bracket shows it.
const MOST_OPERATORS: usize = 64;

/// Where a text is nested deeper than it may be, and what to do.
pub(super) fn too_deep(text: &str, is_schema: bool) -> Option<(usize, String)> {
    let (mut depth, mut ifs, mut operators) = (0usize, 0, 0);
    let mut before = Token::Mark(';');
    for (token, _, line) in Tokens::of(text) {
        let is_index = !is_schema && token == Token::Mark('[') && ends_a_value(before);
        before = token;
        match token {
            Token::Mark('[') if is_index => (depth, operators) = (depth + 1, operators + 1),
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark('<') if is_schema => depth += 1,
            Token::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Token::Mark('>') if is_schema => depth = depth.saturating_sub(1),
            Token::Mark(';') => (ifs, operators) = (0, 0),
            Token::Mark('|' | '&' | '+' | '-' | '*' | '.') if !is_schema => operators += 1,
            Token::Word("when" | "unless") if !is_schema => operators += 1,
            Token::Word("if") => ifs += 1,
            _ => {}
        }
        if depth > DEEPEST {
            return Some((line, format!("there are more than {DEEPEST} brackets in each other: write it flatter")));
        }
        if operators > MOST_OPERATORS {
            let what = format!("there are more than {MOST_OPERATORS} operators in one policy (|| and && count twice)");
            return Some((line, format!("{what}: write more policies, or a set and `contains`")));
        }
        if ifs > MOST_IFS {
            return Some((line, format!("there are more than {MOST_IFS} ifs in one policy: write more policies")));
        }
    }
    None
}

/// A bracket after it takes an attribute of it, and begins no set.
fn ends_a_value(token: Token<'_>) -> bool {
    match token {
        Token::Word(word) => !matches!(word, "in" | "if" | "then" | "else"),
        // It has none.
        Token::String(_) => false,
        Token::Mark(mark) => matches!(mark, ')' | ']' | '}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_comments_and_lines_are_told_from_the_rest() {
        let text = "a /b // c \"\r\"d;\\\"//\"\n\n \u{e9}12_x \"open";
        let found: Vec<_> = Tokens::of(text).map(|(token, _, line)| (token, line)).collect();
        let expected = [
            (Token::Word("a"), 1),
            (Token::Mark('/'), 1),
            (Token::Word("b"), 1),
            (Token::String("d;\\\"//"), 1),
            (Token::Mark('\u{e9}'), 3),
            (Token::Word("12_x"), 3),
            (Token::String("open"), 3),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_nested_is_taken_up_to_the_bound() {
        let nested = |depth| format!("{}{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(too_deep(&nested(DEEPEST).repeat(3), false), None);
        assert_eq!(too_deep(&format!("\n{}", nested(DEEPEST + 1)), false).map(|(line, _)| line), Some(2));
        let ifs = |count| "if ".repeat(count);
        assert_eq!(too_deep(&format!("{};{}", ifs(MOST_IFS), ifs(MOST_IFS)), false), None);
        assert!(too_deep(&ifs(MOST_IFS + 1), false).is_some());
        for (operator, count) in [
            ("a || ", 32),
            ("a && ", 32),
            (".x", 64),
            (" + 1", 64),
            (" * 1", 64),
            (" - 1", 64),
            ("x[\"a\"]", 64),
            (")[\"a\"]", 64),
            ("}[\"a\"]", 64),
            ("when { true }", 64),
            ("unless { true }", 64),
        ] {
            assert_eq!(too_deep(&format!("{};", operator.repeat(count)).repeat(3), false), None, "{operator}");
            assert!(too_deep(&operator.repeat(count + 1), false).is_some(), "{operator}");
        }
        let index = |count| format!("x{}", "[\"a\"]".repeat(count));
        assert_eq!((too_deep(&index(64), false), too_deep(&index(65), false).is_some()), (None, true));
        for set in ["in [1, 2] ", "== [1] ", "if [1] then [1] else [1] == ", "([1], [1]) "] {
            assert_eq!(too_deep(&set.repeat(40), false), None, "{set}");
        }
        assert_eq!(too_deep(&"entity when in [unless] = { a: b };".repeat(100), true), None);
        let less = "<".repeat(DEEPEST + 1);
        assert_eq!((too_deep(&less, false), too_deep(&less, true).is_some()), (None, true));
        assert_eq!(too_deep(&format!("\"{}\" // {}", nested(99), nested(99)), false), None);
    }
}
