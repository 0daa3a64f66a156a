//! Units as the catalogue writes them, `100` or `2.5`, and as they are counted: whole numbers of the smallest unit.

use rust_decimal::Decimal;
use toml::de::DeValue;

use super::read::{Reader, Value};

/// What the store can hold, in the smallest unit.
pub(super) const AMOUNT_MAX: u64 = i64::MAX as u64;

/// The units in `value`, in the smallest unit of a meter with so many decimals; `None` for a meter that is wrong itself.
pub(super) fn amount(reader: &mut Reader<'_>, path: &str, value: &Value<'_>, decimals: Option<u8>) -> Option<u64> {
    let written = decimal(value);
    let Some(decimals) = decimals else {
        return written.map(|_| 0);
    };
    let amount = written.and_then(|written| smallest(written, decimals));
    if amount.is_none() {
        let max = Decimal::from_i128_with_scale(AMOUNT_MAX.into(), decimals.into());
        let message = match decimals {
            0 => format!("must be a whole number from 0 to {max}"),
            1 => format!("must be a number from 0 to {max} with at most 1 digit after the point"),
            _ => format!("must be a number from 0 to {max} with at most {decimals} digits after the point"),
        };
        reader.fault(value.span().start, path, message);
    }
    amount
}

/// The number in `value` exactly as it is written, also in quotes: no float is made of it on the way.
pub(super) fn decimal(value: &Value<'_>) -> Option<Decimal> {
    match value.get_ref() {
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Decimal::from),
        DeValue::Float(number) => Decimal::from_str_exact(number.as_str()).ok(),
        DeValue::String(text) => Decimal::from_str_exact(text).ok(),
        _ => None,
    }
}

/// `written` in units of `10^-decimals`, if that is a whole number that the store can hold.
fn smallest(written: Decimal, decimals: u8) -> Option<u64> {
    let written = written.normalize();
    let shift = u32::from(decimals).checked_sub(written.scale())?;
    let amount = written.mantissa().checked_mul(10_i128.checked_pow(shift)?)?;
    u64::try_from(amount).ok().filter(|amount| *amount <= AMOUNT_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str, decimals: u8) -> Option<u64> {
        smallest(Decimal::from_str_exact(text).ok()?, decimals)
    }

    #[test]
    fn units_become_whole_numbers_of_the_smallest_unit() {
        for (text, decimals, expected) in [
            ("0", 0, Some(0)),
            ("-0", 2, Some(0)),
            ("2.5", 1, Some(25)),
            ("2.50", 1, Some(25)),
            ("2.55", 1, None),
            ("2.5", 9, Some(2_500_000_000)),
            ("0.000000001", 9, Some(1)),
            ("0.0000000001", 9, None),
            ("-1", 0, None),
            ("9223372036854775807", 0, Some(AMOUNT_MAX)),
            ("9223372036854775808", 0, None),
            ("9223372036.854775807", 9, Some(AMOUNT_MAX)),
            ("9223372036.854775808", 9, None),
            ("79228162514264337593543950335", 9, None),
        ] {
            assert_eq!(of(text, decimals), expected, "{text} with {decimals} decimals");
        }
    }

    proptest! {
        #[test]
        fn every_amount_survives_being_written(amount in 0..=AMOUNT_MAX, decimals in 0_u8..=9) {
            let written = Decimal::from_i128_with_scale(amount.into(), decimals.into()).to_string();
            prop_assert_eq!(of(&written, decimals), Some(amount));
        }
    }
}
