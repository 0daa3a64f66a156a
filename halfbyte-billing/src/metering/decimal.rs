//! Exact decimals: from the text of a number to a whole number of the smallest unit, and back.

use rust_decimal::Decimal;

/// The largest amount of one event, in the smallest unit: nine thousand of them still fit into one sum.
pub(crate) const MAX_UNITS: i64 = 1_000_000_000_000_000;

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecimalFault {
    /// It is not a number as JSON writes them.
    NoNumber,
    /// It has more digits after the point than are counted.
    TooFine,
    /// It is beyond [`MAX_UNITS`].
    TooLarge,
}

/// An amount in units.
pub(crate) fn decimal(units: u64, decimals: u8) -> Decimal {
    Decimal::from_i128_with_scale(i128::from(units), u32::from(decimals))
}

/// The number `text` times `10^decimals`, if that is whole.
pub(super) fn scaled(text: &str, decimals: u8) -> Result<i64, DecimalFault> {
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, self::exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(DecimalFault::NoNumber),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let digits = whole.bytes().chain(fraction.bytes());
    if whole.is_empty() || (whole.len() > 1 && whole.starts_with('0')) || !digits.clone().all(|b| b.is_ascii_digit()) {
        return Err(DecimalFault::NoNumber);
    }

    // The digits from the first that is not zero to the last, and by how many zeros they are followed (or cut off).
    let trailing = digits.clone().rev().take_while(|digit| *digit == b'0').count();
    let significant = digits.clone().skip_while(|digit| *digit == b'0').count().saturating_sub(trailing);
    if significant == 0 {
        return Ok(0);
    }
    let zeros = exponent.saturating_add(i64::from(decimals)) + length(trailing) - length(fraction.len());
    if zeros < 0 {
        return Err(DecimalFault::TooFine);
    }
    if zeros > 15 || significant > 16 {
        return Err(DecimalFault::TooLarge);
    }
    let digits = digits.skip_while(|digit| *digit == b'0').take(significant);
    let mantissa = digits.fold(0_i64, |number, digit| number * 10 + i64::from(digit - b'0'));
    let power = 10_i64.pow(u32::try_from(zeros).map_err(|_| DecimalFault::TooLarge)?);
    let units = mantissa.checked_mul(power).filter(|units| *units <= MAX_UNITS).ok_or(DecimalFault::TooLarge)?;
    Ok(if negative { -units } else { units })
}

/// An exponent; one that no amount has becomes a million.
fn exponent(text: &str) -> Result<i64, DecimalFault> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecimalFault::NoNumber);
    }
    let size = digits.iter().fold(0_i64, |size, digit| (size * 10 + i64::from(digit - b'0')).min(1_000_000));
    Ok(if negative { -size } else { size })
}

fn length(of: usize) -> i64 {
    i64::try_from(of).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_is_taken_exactly_as_it_is_written() {
        for (text, decimals, units) in [
            ("0", 0, 0),
            ("-0", 3, 0),
            ("0.000", 0, 0),
            ("0e-999999999999999999999", 0, 0),
            ("0e999999999999999999999", 0, 0),
            ("1.25", 2, 125),
            ("1.25", 9, 1_250_000_000),
            ("-1.25", 2, -125),
            ("1e3", 0, 1000),
            ("1E+3", 2, 100_000),
            ("1e-3", 3, 1),
            ("1.50", 1, 15),
            ("100e-2", 0, 1),
            ("0.1", 1, 1),
            ("0.10", 1, 1),
            ("0.0000000000001e13", 0, 1),
            ("1000000000000000", 0, MAX_UNITS),
            ("1e15", 0, MAX_UNITS),
            ("-1000000", 9, -MAX_UNITS),
            ("999999999999999", 0, 999_999_999_999_999),
            ("123456789.123456", 6, 123_456_789_123_456),
        ] {
            assert_eq!(scaled(text, decimals), Ok(units), "{text} with {decimals} decimals");
        }
        let long = format!("1{}e-10000", "0".repeat(10_000));
        assert_eq!(scaled(&long, 0), Ok(1));
    }

    #[test]
    fn what_is_not_a_number_too_fine_or_too_large_is_refused() {
        use DecimalFault::{NoNumber, TooFine, TooLarge};
        for (text, decimals, fault) in [
            ("", 0, NoNumber),
            ("-", 0, NoNumber),
            ("00", 0, NoNumber),
            ("01", 0, NoNumber),
            ("+1", 0, NoNumber),
            ("--1", 0, NoNumber),
            (".5", 1, NoNumber),
            ("5.", 1, NoNumber),
            ("5.e1", 1, NoNumber),
            ("1_000", 0, NoNumber),
            ("1,5", 1, NoNumber),
            (" 1", 0, NoNumber),
            ("0x10", 0, NoNumber),
            ("NaN", 0, NoNumber),
            ("1e", 0, NoNumber),
            ("1e+", 0, NoNumber),
            ("1e1e1", 0, NoNumber),
            ("1.2.3", 0, NoNumber),
            ("1e1.5", 0, NoNumber),
            ("١", 0, NoNumber),
            ("0.1", 0, TooFine),
            ("1.251", 2, TooFine),
            ("1e-400", 9, TooFine),
            ("1000000000000000.5", 0, TooFine),
            ("1000000000000001", 0, TooLarge),
            ("1000000.000000001", 9, TooLarge),
            ("1e16", 0, TooLarge),
            ("1E400", 0, TooLarge),
            ("1e99999999999999999999", 0, TooLarge),
            ("99999999999999999999999999", 0, TooLarge),
        ] {
            assert_eq!(scaled(text, decimals), Err(fault), "{text} with {decimals} decimals");
        }
    }

    #[test]
    fn an_amount_is_shown_with_the_digits_that_are_counted() {
        assert_eq!(decimal(1250, 2).to_string(), "12.50");
        assert_eq!(decimal(u64::MAX, 9).to_string(), "18446744073.709551615");
    }

    proptest! {
        #[test]
        fn what_a_decimal_prints_is_read_back(units in -MAX_UNITS..=MAX_UNITS, scale in 0_u32..10, more in 0_u8..3) {
            let text = Decimal::new(units, scale).to_string();
            let decimals = u8::try_from(scale).unwrap() + more;
            let expected = i128::from(units) * 10_i128.pow(u32::from(more));
            let expected = i64::try_from(expected).ok().filter(|units| units.abs() <= MAX_UNITS);
            prop_assert_eq!(scaled(&text, decimals), expected.ok_or(DecimalFault::TooLarge));
        }

        #[test]
        fn an_exponent_moves_the_point(mantissa in 1_i64..1_000_000, exponent in -12_i32..12, decimals in 0_u8..10) {
            let text = format!("{mantissa}e{exponent}");
            let shift = exponent + i32::from(decimals);
            let expected = if shift >= 0 {
                let units = i128::from(mantissa) * 10_i128.pow(shift.unsigned_abs());
                i64::try_from(units).ok().filter(|units| *units <= MAX_UNITS).ok_or(DecimalFault::TooLarge)
            } else {
                let power = 10_i64.checked_pow(shift.unsigned_abs()).unwrap();
                if mantissa % power == 0 { Ok(mantissa / power) } else { Err(DecimalFault::TooFine) }
            };
            prop_assert_eq!(scaled(&text, decimals), expected);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.eE]{0,40}|.{0,20}", decimals in 0_u8..10) {
            _ = scaled(&text, decimals);
        }
    }
}
