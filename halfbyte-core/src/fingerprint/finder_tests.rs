use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

/// All places by looking for each form at each place.
fn naive(secrets: &[Vec<u8>], text: &[u8]) -> Vec<bool> {
    let mut covered = vec![false; text.len()];
    for secret in secrets.iter().filter(|secret| secret.len() >= SHORTEST) {
        forms(secret, |form| {
            for start in 0..(text.len() + 1).saturating_sub(form.bytes.len()) {
                if !text[start..].starts_with(form.bytes) {
                    continue;
                }
                let end = start + form.bytes.len();
                covered[start..end].fill(true);
                if form.before && start > 0 && is_base64(text[start - 1]) {
                    covered[start - 1] = true;
                }
                if form.after && end < text.len() && is_base64(text[end]) {
                    covered[end] = true;
                }
            }
        });
    }
    covered
}

fn covered(finder: &Finder, text: &[u8]) -> Vec<bool> {
    let mut covered = vec![false; text.len()];
    finder.find_all(text).into_iter().for_each(|range| covered[range].fill(true));
    covered
}

fn finder(secrets: &[Vec<u8>]) -> Finder {
    Finder::new(secrets.iter().map(Vec::as_slice))
}

/// As it may stand in a log line.
fn encoded(secret: &str, how: usize) -> String {
    let bytes = secret.as_bytes();
    match how % 12 {
        0 => secret.to_owned(),
        1 => format!("{secret:?}"),
        2 => serde_json::to_string(secret).expect("serialized"),
        3 => serde_json::to_string(&serde_json::to_string(secret).expect("serialized")).expect("serialized"),
        4 => percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string(),
        5 => url::form_urlencoded::byte_serialize(bytes).collect(),
        6 => STANDARD.encode(secret),
        7 => STANDARD.encode(format!("u:{secret}")),
        8 => URL_SAFE_NO_PAD.encode(format!("a{secret}?")),
        9 => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        10 => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
        _ => format!("{bytes:?}"),
    }
}

fn secret() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{8,40}", "\\PC{8,20}", "[aé\"\\\\\n]{8,12}", "[A-Za-z0-9]{8,64}"]
}

proptest! {
    #[test]
    fn a_planted_secret_is_masked_wherever_and_however_it_stands(
        secret in secret(), before in "\\PC{0,20}", after in "\\PC{0,20}", how in 0..12_usize,
    ) {
        let finder = Finder::new([secret.as_bytes()]);
        let text = format!("{before}{}{after}", encoded(&secret, how));
        let masked = finder.mask(&text);
        prop_assert!(masked.contains(REDACTED), "{} in {}", secret, text);
        prop_assert!(!masked.contains(&secret) || REDACTED.contains(&secret));
        prop_assert_eq!(finder.find(text.as_bytes()).map(|found| found.secret), Some(0));
    }

    /// Few letters, so that secrets overlap and begin within each other.
    #[test]
    fn it_finds_what_a_naive_search_finds_and_nothing_else(
        secrets in prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab\xc3\xa9".to_vec()), 0..14), 0..5),
        text in prop::collection::vec(prop::sample::select(b"ab\xc3\xa9%\\".to_vec()), 0..60),
        plants in prop::collection::vec((any::<Index>(), any::<Index>()), 0..4),
    ) {
        let mut text = text;
        for (which, at) in plants {
            if !secrets.is_empty() {
                let at = at.index(text.len() + 1);
                text.splice(at..at, which.get(&secrets).iter().copied());
            }
        }
        let finder = finder(&secrets);
        let found = finder.find_all(&text);
        prop_assert!(found.is_sorted_by(|one, next| one.end <= next.start), "{:?}", found);
        prop_assert_eq!(covered(&finder, &text), naive(&secrets, &text));
        prop_assert_eq!(finder.find(&text).is_some(), naive(&secrets, &text).contains(&true));
    }

    #[test]
    fn what_is_masked_is_text_in_which_no_character_was_cut(
        secrets in prop::collection::vec(prop::collection::vec(prop::sample::select(b"\xa9\xc3a".to_vec()), 8..12), 1..4),
        text in "[aéé]{0,30}",
    ) {
        let finder = finder(&secrets);
        let masked = finder.mask(&text);
        // What is left of the text is a part of it, in its order.
        let mut rest = text.as_str();
        for part in masked.split(REDACTED) {
            let at = rest.find(part);
            prop_assert!(at.is_some(), "{} of {}", part, masked);
            rest = &rest[at.unwrap_or_default() + part.len()..];
        }
        prop_assert_eq!(matches!(masked, Cow::Borrowed(_)), !naive(&secrets, text.as_bytes()).contains(&true));
    }

    #[test]
    fn a_text_without_a_secret_is_borrowed(secrets in prop::collection::vec("[0-9]{8,20}", 0..8), text in "\\PC{0,200}") {
        let secrets: Vec<_> = secrets.into_iter().map(String::into_bytes).collect();
        prop_assume!(!naive(&secrets, text.as_bytes()).contains(&true));
        let finder = finder(&secrets);
        prop_assert!(matches!(finder.mask(&text), Cow::Borrowed(_)));
        prop_assert!(matches!(finder.mask_bytes(text.as_bytes()), Cow::Borrowed(_)));
    }

    #[test]
    fn what_is_no_text_is_masked_as_well(
        secret in prop::collection::vec(any::<u8>(), 8..20),
        before in prop::collection::vec(any::<u8>(), 0..8),
        after in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let finder = Finder::new([secret.as_slice()]);
        let text = [before, secret.clone(), after].concat();
        let masked = finder.mask_bytes(&text);
        prop_assert!(!masked.windows(secret.len()).any(|part| part == secret));
        let shown = format!("{secret:?}");
        prop_assert!(finder.mask(&shown).contains(REDACTED));
    }
}

#[test]
fn secrets_that_overlap_are_masked_as_one_and_neighbours_each() {
    let secrets = [b"abcdefghij".to_vec(), b"fghijklmno".to_vec(), b"bcdefghi".to_vec()];
    let finder = finder(&secrets);
    assert_eq!(finder.mask("<abcdefghijklmno>"), "<[REDACTED]>");
    assert_eq!(finder.mask("<abcdefghijfghijklmno>"), "<[REDACTED][REDACTED]>");
    assert!(finder.find(b"<abcdefghijklmno>").is_some());
}

#[test]
fn a_part_of_a_character_that_a_secret_ends_in_goes_with_it() {
    let finder = Finder::new([b"\xa9secrets\xc3".as_slice()]);
    assert_eq!(finder.mask("aésecretsäb"), "a[REDACTED]b");
    let finder = Finder::new([b"secrets1\xc3".as_slice(), b"\xa91234567"]);
    assert_eq!(finder.mask("<secrets1é1234567>"), "<[REDACTED][REDACTED]>", "both have a part of the same one");
}

/// A run may be far from where its secret begins, and that of one within it near.
#[test]
fn a_secret_that_is_found_before_the_one_around_it_is_masked_with_it() {
    let secrets = [b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-0123456".to_vec(), b"aaaaaaaaa".to_vec()];
    let finder = finder(&secrets);
    assert_eq!(finder.mask("<aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-0123456>"), "<[REDACTED]>");
    assert_eq!(finder.mask("<aaaaaaaaaaaaaaaaaaaaa-0123456>"), "<[REDACTED]-0123456>");
}

/// What they hold of the secret would be a hint, and what they hold of its neighbours is no loss.
#[test]
fn the_letters_of_base64_that_a_secret_shares_with_its_neighbours_go_with_it() {
    let finder = Finder::new([b"correct horse".as_slice()]);
    // `dTpj…NzZQ==`: the `p` has bits of `:` and of `c`, the `Q` those of `e` alone.
    for (text, masked) in [
        ("correct horse", "[REDACTED]=="),
        ("u:correct horse", "dT[REDACTED]"),
        ("us:correct horse", "dXM6[REDACTED]=="),
        ("me:correct horse?", "bWU6[REDACTED]8="),
    ] {
        assert_eq!(finder.mask(&STANDARD.encode(text)), masked);
    }
}

/// One of eight bytes has all places looked at, for the others too.
#[test]
fn the_shortest_secrets_are_found_at_each_place_beside_longer_ones() {
    let (long, short) = (b"nine-or-more".as_slice(), b"eight-XY".as_slice());
    for secrets in [vec![long], vec![short], vec![long, short]] {
        let finder = Finder::new(secrets.iter().copied());
        for (secret, before) in secrets.iter().flat_map(|secret| (0..20).map(move |before| (secret, before))) {
            let text = [&vec![b'.'; before][..], secret, b"..."].concat();
            let found = finder.find(&text).map(|found| found.range);
            assert_eq!(found, Some(before..before + secret.len()));
        }
    }
}

#[test]
fn many_secrets_are_all_found() {
    let secrets: Vec<_> = (0..3000).map(|n| format!("{n:x}-secret-{:x}", n * 7919).into_bytes()).collect();
    let finder = finder(&secrets);
    for (index, secret) in secrets.iter().enumerate() {
        assert_eq!(finder.find(secret).map(|found| found.secret), Some(index));
    }
    assert_eq!(finder.find(b"a line without any, though it says secret"), None);
}

#[test]
fn it_shows_nothing_of_what_it_looks_for() {
    let finder = Finder::new([b"correct horse".as_slice()]);
    assert_eq!(format!("{finder:?}"), "Finder");
}

const PUBLIC: &str = r#"{"type":"service_account","project_id":"public-project-12","x":""#;

fn digested(finder: &Finder, text: &str) -> usize {
    finder.scan(text.as_bytes(), |_, _| true)
}

/// Letters that nobody can guess.
fn letters(count: usize) -> String {
    let keys = RandomState::new();
    (0..count).map(|n| char::from(b'a' + u8::try_from(keys.hash_one(n) % 26).expect("a letter"))).collect()
}

#[test]
fn whoever_knows_how_a_secret_begins_makes_little_work_by_writing_that() {
    let text = PUBLIC.repeat((1 << 17) / PUBLIC.len());
    for len in [300, 2300, 16 << 10] {
        let secret = format!("{PUBLIC}{}", letters(len - PUBLIC.len()));
        let mut all: Vec<_> = (0..9).map(|_| digested(&Finder::new([secret.as_bytes()]), &text)).collect();
        all.sort_unstable();
        assert!(all[8] <= DIGESTED + TIMES * text.len(), "{len}: {all:?}");
        assert!(len < 2300 || all[4] == 0, "where the runs are was guessed: {len}: {all:?}");
    }
}

#[test]
fn of_a_text_in_which_all_but_the_secret_part_is_known_no_more_is_digested_than_a_few_times_its_length() {
    let public = letters(8 << 10);
    for secret in [format!("{public}{}", letters(12)), "a".repeat(8 << 10) + "b"] {
        let known = &secret[..secret.len() - 12];
        let text = known.repeat(8);
        let finder = Finder::new([secret.as_bytes()]);
        assert!(digested(&finder, &text) <= DIGESTED + TIMES * text.len());
        let masked = finder.mask(&format!("{text}{secret}{text}")).into_owned();
        assert!(!masked.contains(&secret), "a secret is masked however much there is to look at");
    }
}

#[test]
fn a_line_with_no_design_is_masked_by_what_it_says_and_on_no_hint() {
    let secrets: Vec<_> = (0..10).map(|n| format!("{PUBLIC}{n:03}{}\"}}", letters(40)).into_bytes()).collect();
    let finder = finder(&secrets);
    let line = format!("a line with {PUBLIC} and another end");
    assert_eq!(finder.mask(&line), line);
    let line = String::from_utf8(secrets.concat()).expect("text");
    assert_eq!(finder.mask(&line), REDACTED.repeat(10));
    assert!(digested(&finder, &line) <= DIGESTED, "far from the bound");
}

#[test]
fn what_is_not_confirmed_by_another_run_is_not_digested() {
    let mut text = letters(200).into_bytes();
    let finder = Finder::new([text.as_slice()]);
    assert!(finder.scan(&text, |_, _| true) >= 200);
    let whole = finder.patterns.iter().find(|pattern| pattern.len == 200).expect("as it is");
    text[whole.other_at as usize + 4] = b'#';
    assert_eq!(finder.scan(&text, |_, _| true), 0);
}
