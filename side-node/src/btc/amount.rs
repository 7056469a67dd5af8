//! Amounts of bitcoin as people write them and as they are shown: always in sats, and in BTC beside it.

use bitcoin::{Amount, Denomination, FeeRate};

/// All bitcoin that will ever be (consensus): more is a slip of the keyboard.
const MAX_MONEY: Amount = Amount::MAX_MONEY;
/// Weight units of one virtual byte (BIP 141).
const WU_PER_VB: u64 = 4;

/// Reads an amount: `25000`, `25_000`, `25000sat`, `0.00025btc`. A bare number is sats; a fraction without a unit is refused, since it would mean BTC to
/// one person and sats to another.
pub fn parse(text: &str) -> Result<Amount, String> {
    let compact: String = text.trim().chars().filter(|c| *c != '_').collect::<String>().to_ascii_lowercase();
    let (number, denomination) = if let Some(number) = compact.strip_suffix("btc") {
        (number, Denomination::Bitcoin)
    } else if let Some(number) = compact.strip_suffix("sats").or_else(|| compact.strip_suffix("sat")) {
        (number, Denomination::Satoshi)
    } else {
        (compact.as_str(), Denomination::Satoshi)
    };
    let how = "write sats, like 25000, or BTC, like 0.00025btc";
    let amount =
        Amount::from_str_in(number.trim(), denomination).map_err(|_| format!("{text:?} is no amount; {how}"))?;
    if amount > MAX_MONEY {
        return Err(format!("{text:?} is more than all bitcoin there will ever be"));
    }
    Ok(amount)
}

/// Reads a fee rate in sats a virtual byte: `1`, `2.5`, `0.1`.
pub fn parse_fee_rate(text: &str) -> Result<FeeRate, String> {
    let rate: f64 = text.trim().parse().map_err(|_| format!("{text:?} is no fee rate; write sat/vB, like 2.5"))?;
    fee_rate_from(rate).ok_or_else(|| format!("{text:?} is no fee rate; write sat/vB, like 2.5"))
}

/// A fee rate from sats a virtual byte, rounded up; `None` for what is no positive number that fits.
pub fn fee_rate_from(sat_per_vb: f64) -> Option<FeeRate> {
    // Sats a thousand weight units: BIP 141 has four units in a virtual byte.
    let rate = (sat_per_vb * 1000.0 / WU_PER_VB as f64).ceil();
    (rate.is_finite() && rate >= 1.0 && rate <= f64::from(u32::MAX)).then(|| FeeRate::from_sat_per_kwu(rate as u64))
}

/// A fee rate as sats a virtual byte.
pub fn sat_per_vb(rate: FeeRate) -> f64 {
    rate.to_sat_per_kwu() as f64 * WU_PER_VB as f64 / 1000.0
}

/// A fee rate for people.
pub fn show_rate(rate: FeeRate) -> String {
    let mut text = format!("{:.3}", sat_per_vb(rate));
    while text.ends_with('0') {
        text.pop();
    }
    format!("{} sat/vB", text.trim_end_matches('.'))
}

/// An amount for people: `25,000 sats (0.00025000 BTC)`.
pub fn show(amount: Amount) -> String {
    let unit = if amount == Amount::ONE_SAT { "sat" } else { "sats" };
    format!("{} {unit} ({})", grouped(amount.to_sat()), btc(amount))
}

/// An amount in BTC with all its digits: `0.00025000 BTC`.
pub fn btc(amount: Amount) -> String {
    let sats = amount.to_sat();
    let one = Amount::ONE_BTC.to_sat();
    format!("{}.{:08} BTC", sats / one, sats % one)
}

/// A number with commas between thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_write_them() {
        for text in ["25000", "25_000", " 25000 sats", "25000SAT", "0.00025btc", "0.00025 BTC"] {
            assert_eq!(parse(text), Ok(Amount::from_sat(25_000)), "{text}");
        }
        for bad in ["", "-1", "1.5", "0.000000001btc", "much", "1e3", "21000001btc", "99999999999999999999"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn amounts_are_shown_in_sats_and_in_btc() {
        assert_eq!(show(Amount::from_sat(1_234_567)), "1,234,567 sats (0.01234567 BTC)");
        assert_eq!(show(Amount::from_sat(1)), "1 sat (0.00000001 BTC)");
        assert_eq!(show(Amount::from_sat(250_000_000)), "250,000,000 sats (2.50000000 BTC)");
    }

    #[test]
    fn fee_rates_are_sats_a_virtual_byte() {
        assert_eq!(parse_fee_rate("1"), Ok(FeeRate::from_sat_per_vb_u32(1)));
        assert_eq!(parse_fee_rate("0.1").unwrap().to_sat_per_kwu(), 25);
        assert_eq!(show_rate(parse_fee_rate("2.5").unwrap()), "2.5 sat/vB");
        assert_eq!(show_rate(parse_fee_rate("20").unwrap()), "20 sat/vB");
        for bad in ["0", "-1", "NaN", "inf", "1e300", "", "fast"] {
            assert!(parse_fee_rate(bad).is_err(), "{bad}");
        }
    }
}
