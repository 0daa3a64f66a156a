//! What the tour prints, for people.

use std::error::Error;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

pub struct Screen {
    coloured: bool,
    steps: Vec<(String, String, Duration)>,
    step: Option<(String, Instant)>,
}

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "31";
const CYAN: &str = "36";

impl Screen {
    pub fn new() -> Self {
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { coloured, steps: Vec::new(), step: None }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub fn title(&self, text: &str) {
        println!("\n{}\n{}", self.paint(BOLD, text), "─".repeat(text.chars().count()));
    }

    /// Begins a step: a number, what happens, and why it matters.
    pub fn step(&mut self, name: &str, why: &str) {
        let number = self.steps.len() + 1;
        println!("\n{} {}", self.paint(CYAN, &format!("{number}.")), self.paint(BOLD, name));
        for line in why.lines() {
            println!("   {}", self.paint(DIM, line));
        }
        self.step = Some((name.to_owned(), Instant::now()));
    }

    pub fn say(&self, line: &str) {
        println!("   {line}");
    }

    /// An indented line of detail.
    pub fn detail(&self, line: &str) {
        println!("     {}", self.paint(DIM, line));
    }

    /// What was seen, as a good line.
    pub fn good(&self, line: &str) {
        println!("   {} {line}", self.paint(GREEN, "✓"));
    }

    /// Ends a step with what was seen, for the table at the end.
    pub fn seen(&mut self, what: &str) {
        self.good(what);
        self.end(what);
    }

    /// Ends a step that was left out.
    pub fn left_out(&mut self, why: &str) {
        let line = format!("left out: {why}");
        println!("   {} {line}", self.paint(DIM, "–"));
        self.end(&line);
    }

    fn end(&mut self, what: &str) {
        if let Some((name, began)) = self.step.take() {
            self.steps.push((name, what.to_owned(), began.elapsed()));
        }
    }

    pub fn failed(&mut self, error: &(dyn Error + Send + Sync + 'static)) {
        let line = halfbyte::core::error_chain(error);
        println!("   {} {line}", self.paint(RED, "✗"));
        if let Some((name, began)) = self.step.take() {
            self.steps.push((name, format!("FAILED: {line}"), began.elapsed()));
        }
    }

    /// The table of all steps.
    pub fn summary(&self, took: Duration, good: bool) {
        self.title("What was seen");
        let width = self.steps.iter().map(|(name, ..)| name.chars().count()).max().unwrap_or(0);
        for (number, (name, seen, took)) in self.steps.iter().enumerate() {
            println!("{:>3}. {name:width$}  {:>6.2} s  {seen}", number + 1, took.as_secs_f64());
        }
        let verdict =
            if good { self.paint(GREEN, "Everything as promised") } else { self.paint(RED, "Not as promised") };
        println!("\n{verdict}, in {:.1} s.\n", took.as_secs_f64());
    }
}
