//! `tracestate`: what other tracing systems have to say of a trace, handed on as it came.

use opentelemetry::trace::TraceState;

/// The most that a list may have; a longer one is invalid.
const MEMBERS: usize = 32;

/// The longest list that is handed on, with its commas. The specification asks for at least this much.
const LONGEST: usize = 512;

/// Members over this length go first where a list is too long.
const LARGE: usize = 128;

/// A key or a value is at most this long.
const LONGEST_PART: usize = 256;

type Member<'a> = (&'a str, &'a str);

/// Reads the headers as the one list that they are. A list with a malformed member, with a key twice or with more than 32
/// members says nothing at all; of one over 512 characters the largest and then the last members are left out.
///
/// Empty members are skipped and do not count: whoever sends several headers cannot avoid them. A key of several `@`, or
/// with more than 13 characters behind one, is well formed in level 2 but cannot be kept in a [`TraceState`], which
/// follows level 1: that member alone is left out.
pub(super) fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> TraceState {
    let mut list = List::default();
    for text in values.flat_map(|value| value.split(|byte| *byte == b',')).map(trim) {
        if !text.is_empty() && member(text).is_none_or(|member| !list.push(member)) {
            return TraceState::NONE;
        }
    }
    list.retain(|(key, _)| is_kept(key));
    list.shorten();
    if list.members().is_empty() {
        return TraceState::NONE;
    }
    TraceState::from_key_value(list.members().iter().copied()).unwrap_or(TraceState::NONE)
}

/// The list to be sent, unless it is empty. What a product has put in and is not well formed is left out.
pub(super) fn render(state: &TraceState) -> Option<String> {
    let mut list = List::default();
    for (key, value) in state {
        if is_key(key.as_bytes()) && is_value(value.as_bytes()) {
            let _only_the_first_counts = list.push((key, value));
        }
    }
    list.shorten();
    let mut text = String::with_capacity(list.length());
    for (key, value) in list.members() {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend([key, "=", value]);
    }
    (!text.is_empty()).then_some(text)
}

fn member(text: &[u8]) -> Option<Member<'_>> {
    let equals = text.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&text[..equals], &text[equals + 1..]);
    if !is_key(key) || !is_value(value) {
        return None;
    }
    Some((str::from_utf8(key).ok()?, str::from_utf8(value).ok()?))
}

/// `( lcalpha / DIGIT ) 0*255 ( lcalpha / DIGIT / "_" / "-" / "*" / "/" / "@" )`
fn is_key(key: &[u8]) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= LONGEST_PART
        && key.first().is_some_and(|first| plain(*first))
        && key.iter().all(|byte| plain(*byte) || b"_-*/@".contains(byte))
}

/// `0*255 ( chr ) nblk-chr`: printable, without comma and equals sign, and no space at its end.
fn is_value(value: &[u8]) -> bool {
    value.len() <= LONGEST_PART
        && value.last().is_some_and(|last| *last != b' ')
        && value.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !b",=".contains(byte))
}

/// Whether a [`TraceState`] takes the key, which is well formed.
fn is_kept(key: &str) -> bool {
    match key.split_once('@') {
        None => true,
        Some((_, system)) => {
            system.len() <= 13
                && !system.contains('@')
                && system.as_bytes().first().is_none_or(u8::is_ascii_alphanumeric)
        }
    }
}

/// Spaces and tabs around a member are optional.
fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The members of a list, without a key twice.
struct List<'a> {
    members: [Member<'a>; MEMBERS],
    count: usize,
}

impl Default for List<'_> {
    fn default() -> Self {
        Self { members: [("", ""); MEMBERS], count: 0 }
    }
}

impl<'a> List<'a> {
    fn members(&self) -> &[Member<'a>] {
        &self.members[..self.count]
    }

    /// Answers whether there was room for it, and none of its key.
    fn push(&mut self, member: Member<'a>) -> bool {
        let fits = self.count < MEMBERS && self.members().iter().all(|(key, _)| *key != member.0);
        if fits {
            self.members[self.count] = member;
            self.count += 1;
        }
        fits
    }

    fn retain(&mut self, keep: impl Fn(Member<'a>) -> bool) {
        let mut kept = Self::default();
        for member in self.members().iter().copied().filter(|member| keep(*member)) {
            let _there_is_room = kept.push(member);
        }
        *self = kept;
    }

    fn length(&self) -> usize {
        let commas = self.count.saturating_sub(1);
        self.members().iter().map(length).sum::<usize>() + commas
    }

    /// Leaves out whole members until the rest is short enough: large ones first, each time the last one.
    fn shorten(&mut self) {
        while self.length() > LONGEST {
            let large = self.members().iter().rposition(|member| length(member) > LARGE);
            let at = large.unwrap_or(self.count - 1);
            self.members[at..self.count].rotate_left(1);
            self.count -= 1;
        }
    }
}

fn length((key, value): &Member<'_>) -> usize {
    key.len() + "=".len() + value.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&str]) -> String {
        parse(values.iter().map(|value| value.as_bytes())).header()
    }

    #[test]
    fn well_formed_lists_are_kept_in_order() {
        let long_key = "k".repeat(256);
        let long_value = "v".repeat(256);
        let thirty_two: Vec<String> = (0..32).map(|number| format!("k{number}=1")).collect();
        let printable: String = (' '..='~').filter(|char| !",=".contains(*char)).collect();
        for (values, kept) in [
            (&["a=1"][..], "a=1"),
            (&["a=1,b=2"], "a=1,b=2"),
            (&["a=1,b=2", "rojo=1,congo=2", "c=3"], "a=1,b=2,rojo=1,congo=2,c=3"),
            (&["", "a=1"], "a=1"),
            (&["a=1", ""], "a=1"),
            (&["", " ", ",", "\t,\t"], ""),
            (&[",a=1,,b=2, ,\t"], "a=1,b=2"),
            (&["a=1 \t , \t b=2, \t c=3"], "a=1,b=2,c=3"),
            (&["\t a=1 \t"], "a=1"),
            (&["a= 1"], "a= 1"),
            (&["a=1 2  3 "], "a=1 2  3"),
            (&["0=0"], "0=0"),
            (&["abcdefghijklmnopqrstuvwxyz0123456789_-*/=1"], "abcdefghijklmnopqrstuvwxyz0123456789_-*/=1"),
            (&["tenant@system=1,0t@s=2"], "tenant@system=1,0t@s=2"),
            (&["tenant@=1"], "tenant@=1"),
            (&["a=1,b@two@three=2,c=3"], "a=1,c=3"),
            (&["a=1,b@fourteen-chars=2,c=3"], "a=1,c=3"),
            (&[&format!("a={printable}")], &format!("a={}", printable.as_str())),
            (&[&format!("{long_key}=1")], &format!("{long_key}=1")),
            (&[&format!("a={long_value}")], &format!("a={long_value}")),
            (&[&thirty_two.join(",")], &thirty_two.join(",")),
            (&[&thirty_two.join(", ,")], &thirty_two.join(",")),
        ] {
            assert_eq!(read(values), kept, "{values:?}");
        }
    }

    #[test]
    fn one_malformed_member_makes_the_list_say_nothing() {
        let long = "x".repeat(257);
        let thirty_three: Vec<String> = (0..33).map(|number| format!("k{number}=1")).collect();
        for values in [
            &["a=1,nonsense"][..],
            &["a=1", "nonsense"],
            &["=1"],
            &["a="],
            &["a= "],
            &["a=1=2"],
            &["a =1"],
            &["A=1"],
            &["aB=1"],
            &["a.b=1"],
            &["a b=1"],
            &["ä=1"],
            &["@a=1"],
            &["_a=1"],
            &["-a=1"],
            &["*a=1"],
            &["/a=1"],
            &["a=1\t2"],
            &["a=ä"],
            &["a=\u{7f}"],
            &["a=1,a=1"],
            &["a=1,a=2"],
            &["a=1", "b=2,a=3"],
            &["a@x@y=1,a@x@y=2"],
            &[&format!("{long}=1")],
            &[&format!("a={long}")],
            &[&thirty_three.join(",")],
            &[&thirty_three[..20].join(","), &thirty_three[20..].join(",")],
        ] {
            assert_eq!(read(values), "", "{values:?}");
        }
    }

    /// A member of that length.
    fn sized(key: &str, length: usize) -> String {
        let value = "v".repeat(length - key.len() - 1);
        format!("{key}={value}")
    }

    #[test]
    fn a_list_that_is_too_long_loses_whole_members_large_ones_first_and_then_the_last() {
        let join = |members: &[(&str, usize)]| {
            members.iter().map(|(key, length)| sized(key, *length)).collect::<Vec<_>>().join(",")
        };
        for (list, kept) in [
            // 128 + 3 * (1 + 127) = 512, the most there may be.
            (&[("a", 128), ("b", 127), ("c", 127), ("d", 127)][..], &["a", "b", "c", "d"][..]),
            (&[("a", 128), ("b", 128), ("c", 127), ("d", 127)], &["a", "b", "c"]),
            (&[("a", 129), ("b", 127), ("c", 127), ("d", 127)], &["b", "c", "d"]),
            (&[("a", 200), ("b", 129), ("c", 128), ("d", 100)], &["a", "c", "d"]),
            (&[("a", 258), ("b", 258), ("c", 258), ("d", 4)], &["a", "d"]),
            (&[("a", 120), ("b", 120), ("c", 120), ("d", 120), ("e", 120), ("f", 9)], &["a", "b", "c", "d"]),
        ] {
            let expected: Vec<_> = list.iter().copied().filter(|(key, _)| kept.contains(key)).collect();
            let expected = join(&expected);
            assert_eq!(read(&[&join(list)]), expected);
            let whole =
                TraceState::from_key_value(join(list).split(',').map(|member| member.split_once('=').expect("a pair")));
            assert_eq!(render(&whole.expect("valid")), Some(expected));
        }
    }

    #[test]
    fn what_a_product_puts_in_and_cannot_be_sent_is_left_out_alone() {
        let state = TraceState::from_key_value([
            ("a", "1"),
            ("b", "line\nbreak"),
            ("c", ""),
            ("d", "ü"),
            ("e", "5"),
            ("f", "6 "),
        ]);
        assert_eq!(render(&state.expect("it takes anything")).as_deref(), Some("a=1,e=5"));
        assert_eq!(render(&TraceState::NONE), None);
        assert_eq!(render(&TraceState::from_key_value([("a", "")]).expect("it takes anything")), None);
    }

    #[test]
    fn no_header_is_no_allocation() {
        let counted = allocation_counter::measure(|| drop(parse(std::iter::empty())));
        assert_eq!(counted.count_total, 0);
    }

    const KEY: &str = "[a-z0-9][a-z0-9_*/@-]{0,20}";
    const VALUE: &str = "[ -+.-<>-~]{0,40}[!-+.-<>-~]";

    proptest! {
        #[test]
        fn anything_is_read_without_a_panic(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4)) {
            parse(values.iter().map(Vec::as_slice));
        }

        #[test]
        fn lists_of_any_shape_are_read_without_a_panic(values in prop::collection::vec("[ab=,@ \t]{0,40}", 0..4)) {
            parse(values.iter().map(String::as_bytes));
        }

        #[test]
        fn what_is_written_is_read_as_it_was(members in prop::collection::btree_map("[a-z][a-z0-9@]{0,3}", VALUE, 0..9)) {
            let members = members.into_iter().filter(|(key, _)| is_kept(key));
            let state = TraceState::from_key_value(members).expect("valid");
            let text = render(&state).unwrap_or_default();
            prop_assert_eq!(parse([text.as_bytes()].into_iter()).header(), state.header());
        }

        #[test]
        fn what_is_read_is_well_formed_and_short(values in prop::collection::vec("[a-c]=[ -~]{0,200}", 0..40)) {
            let state = parse(values.iter().map(String::as_bytes));
            prop_assert!(state.header().len() <= LONGEST);
            prop_assert!((&state).into_iter().all(|(key, value)| is_key(key.as_bytes()) && is_value(value.as_bytes())));
        }

        #[test]
        fn a_key_is_kept_exactly_when_a_trace_state_takes_it(key in KEY) {
            let taken = TraceState::from_key_value([(&key, "1")]).is_ok();
            prop_assert_eq!(is_kept(&key), taken);
        }
    }
}
