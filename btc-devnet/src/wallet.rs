//! The wallet that a new chain's first coins go to: a mnemonic that everybody knows, so that any BIP86 wallet can open it.

use bip39::Mnemonic;
use bitcoin::bip32::{ChildNumber, DerivationPath, Xpriv};
use bitcoin::key::Secp256k1;
use bitcoin::{Address, Network};

/// The mnemonic that development chains of other kinds use too. It is public: never send real coins to it.
pub const MNEMONIC: &str = "test test test test test test test test test test test junk";

/// The mnemonic is not one of BIP39's English phrases.
#[derive(Debug, thiserror::Error)]
#[error("not a BIP39 mnemonic: {0}")]
pub struct BadMnemonic(#[from] bip39::Error);

/// A BIP86 account: single keys as taproot outputs, `m/86'/1'/0'`.
#[derive(Clone)]
pub struct FundedWallet {
    mnemonic: Mnemonic,
    account: Xpriv,
}

impl FundedWallet {
    /// The wallet of a mnemonic without passphrase.
    pub fn new(mnemonic: &str) -> Result<Self, BadMnemonic> {
        let mnemonic = Mnemonic::parse(mnemonic)?;
        let master =
            Xpriv::new_master(Network::Regtest, &mnemonic.to_seed("")).expect("a seed of 64 bytes makes a key");
        let path: DerivationPath = [86, 1, 0].map(|index| ChildNumber::Hardened { index }).as_slice().into();
        let account = master.derive_priv(&Secp256k1::new(), &path).expect("three steps stay within the depth");
        Ok(Self { mnemonic, account })
    }

    /// The words.
    pub fn mnemonic(&self) -> String {
        self.mnemonic.to_string()
    }

    /// The receiving address of this number: `m/86'/1'/0'/0/index`.
    pub fn address(&self, index: u32) -> Address {
        let secp = Secp256k1::new();
        let path = [ChildNumber::Normal { index: 0 }, ChildNumber::Normal { index }];
        let key = self.account.derive_priv(&secp, &path).expect("two steps stay within the depth");
        let (internal, _) = key.to_keypair(&secp).x_only_public_key();
        Address::p2tr(&secp, internal, None, Network::Regtest)
    }

    /// The output descriptors of receiving and of change addresses, with the private key.
    pub fn descriptors(&self) -> [String; 2] {
        [0, 1].map(|branch| format!("tr({}/{branch}/*)", self.account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a user types into another wallet leads to the same coins.
    #[test]
    fn addresses_are_those_of_bdk() {
        use bdk_wallet::keys::bip39::Mnemonic;
        use bdk_wallet::keys::{DerivableKey, ExtendedKey};
        use bdk_wallet::template::Bip86;
        use bdk_wallet::{KeychainKind, Wallet};

        let words = Mnemonic::parse(MNEMONIC).unwrap();
        let key: ExtendedKey = words.into_extended_key().unwrap();
        let key = key.into_xprv(Network::Regtest.into()).unwrap();
        let (external, internal) = (Bip86(key, KeychainKind::External), Bip86(key, KeychainKind::Internal));
        let theirs = Wallet::create(external, internal).network(Network::Regtest).create_wallet_no_persist().unwrap();
        let ours = FundedWallet::new(MNEMONIC).unwrap();
        for index in [0, 1, 9] {
            assert_eq!(ours.address(index), theirs.peek_address(KeychainKind::External, index).address);
        }
    }

    #[test]
    fn a_wrong_word_is_told() {
        assert!(FundedWallet::new("test test test").is_err());
    }
}
