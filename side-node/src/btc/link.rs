//! The payment link of an address, for wallets that read it from a QR code.

/// The payment link of an address (BIP 321; BIP 21 before it). Upper case where it may be, for a bech32 address: the code is smaller.
pub fn link(address: &str) -> String {
    let bech32 = !address.chars().any(|c| c.is_ascii_uppercase());
    if bech32 { format!("BITCOIN:{}", address.to_ascii_uppercase()) } else { format!("bitcoin:{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_addresses_are_written_in_upper_case_and_old_ones_keep_theirs() {
        let text = link("tb1p4s6w2e0gk7a3wvjx5q0p4u5mkkcu9p3jjj8e2p5w8x0pyl8h0q5q3mzfkw");
        assert!(text.starts_with("BITCOIN:TB1P"));
        assert_eq!(link("mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn"), "bitcoin:mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn");
    }
}
