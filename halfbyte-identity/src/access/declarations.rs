//! Where a schema declares what: Cedar itself does not tell.

use std::collections::HashMap;
use std::sync::Arc;

use super::source::{Finding, SourceFile};
use super::tokens::{Token, Tokens};

/// What is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Entity,
    Action,
    Type,
}

/// File and line of each declaration, by its name with the namespace. In several files, or with several namespaces, there may be more than
/// one.
#[derive(Debug, Default)]
pub(super) struct Declarations(HashMap<(Kind, String), Vec<Place>>);

/// A file and a line in it.
type Place = (Arc<str>, usize);

impl Declarations {
    /// Looks through files that parse; of others it finds what it can.
    pub(super) fn of(files: &[SourceFile]) -> Self {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        for file in files {
            for (kind, name, line) in declarations(&file.text) {
                found.entry((kind, name)).or_default().push((file.name.clone(), line));
            }
        }
        Self(found)
    }

    /// Where it is declared first; no file and line 0 if that is not known.
    pub(super) fn place(&self, kind: Kind, name: &str) -> (Arc<str>, usize) {
        self.places(kind, name).first().cloned().unwrap_or_default()
    }

    /// All places where it is declared.
    pub(super) fn places(&self, kind: Kind, name: &str) -> &[Place] {
        self.0.get(&(kind, name.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// A finding at the place.
    pub(super) fn finding(&self, kind: Kind, name: &str, reason: String) -> Finding {
        let (file, line) = self.place(kind, name);
        Finding { file, line, reason: reason.into() }
    }
}

fn declarations(text: &str) -> Vec<(Kind, String, usize)> {
    let (mut found, mut namespace) = (Vec::new(), String::new());
    let mut tokens = Tokens::of(text).peekable();
    while let Some((token, ..)) = tokens.next() {
        let kind = match token {
            Token::Word("namespace") => {
                namespace.clear();
                while let Some((token, ..)) = tokens.next_if(|(token, ..)| *token != Token::Mark('{')) {
                    match token {
                        Token::Word(part) => namespace.push_str(part),
                        Token::Mark(mark) => namespace.push(mark),
                        Token::String(_) => {}
                    }
                }
                let _brace = tokens.next();
                continue;
            }
            Token::Mark('}') => {
                namespace.clear();
                continue;
            }
            Token::Mark('@') => {
                let _key = tokens.next();
                continue;
            }
            Token::Word("entity") => Kind::Entity,
            Token::Word("action") => Kind::Action,
            Token::Word("type") => Kind::Type,
            _ => continue,
        };
        while let Some((Token::Word(name) | Token::String(name), _, line)) = tokens.next() {
            let name = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}::{name}") };
            found.push((kind, name, line));
            if tokens.next_if(|(token, ..)| *token == Token::Mark(',')).is_none() {
                break;
            }
        }
        // The rest of the declaration: attributes may be called as declarations begin.
        while tokens.next().is_some_and(|(token, ..)| token != Token::Mark(';')) {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_are_found_with_namespace_and_line() {
        let text = r#"// entity No;
entity Label, Box in [Folder] = {
    tenant: HalfByte::Tenant, entity: String, "action": Bool, // type Never = {};
};
@doc("entity Neither;")
entity Folder;
namespace A::B {
    type Address = { type: String };
    @scope("x;y")
    action "make it", Send in [Read] appliesTo { principal: [User], resource: [Label], context: { action: Long } };
    entity Colour enum ["red", "entity X;"];
}
action Last;"#;
        let found = declarations(text);
        let expected = [
            (Kind::Entity, "Label", 2),
            (Kind::Entity, "Box", 2),
            (Kind::Entity, "Folder", 6),
            (Kind::Type, "A::B::Address", 8),
            (Kind::Action, "A::B::make it", 10),
            (Kind::Action, "A::B::Send", 10),
            (Kind::Entity, "A::B::Colour", 11),
            (Kind::Action, "Last", 13),
        ];
        assert_eq!(found, expected.map(|(kind, name, line)| (kind, name.to_owned(), line)));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_looked_through_to_its_end(text in ".{0,80}") {
            let lines = text.matches('\n').count() + 1;
            proptest::prop_assert!(declarations(&text).iter().all(|(_, _, line)| *line <= lines));
        }
    }
}
