//! Which rules a verification applies, as in Core's `script/interpreter.h`.

use std::ops::{BitOr, BitOrAssign};

/// A set of script rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// Evaluate P2SH (BIP16).
    pub(crate) const P2SH: Flags = Flags(1);
    /// Keys and hash types must be well-formed.
    pub(crate) const STRICTENC: Flags = Flags(1 << 1);
    /// Signatures must be strict DER (BIP66).
    pub(crate) const DERSIG: Flags = Flags(1 << 2);
    /// S must be low (BIP62).
    pub(crate) const LOW_S: Flags = Flags(1 << 3);
    /// The dummy of a multisig must be empty (BIP147).
    pub(crate) const NULLDUMMY: Flags = Flags(1 << 4);
    /// A scriptSig holds pushes only (BIP62).
    pub(crate) const SIGPUSHONLY: Flags = Flags(1 << 5);
    /// Pushes and numbers must be minimal (BIP62).
    pub(crate) const MINIMALDATA: Flags = Flags(1 << 6);
    /// NOP1, NOP4 to NOP10 are kept for later rules.
    pub(crate) const DISCOURAGE_UPGRADABLE_NOPS: Flags = Flags(1 << 7);
    /// One element remains (BIP62).
    pub(crate) const CLEANSTACK: Flags = Flags(1 << 8);
    /// OP_CHECKLOCKTIMEVERIFY (BIP65).
    pub(crate) const CHECKLOCKTIMEVERIFY: Flags = Flags(1 << 9);
    /// OP_CHECKSEQUENCEVERIFY (BIP112).
    pub(crate) const CHECKSEQUENCEVERIFY: Flags = Flags(1 << 10);
    /// Segregated witness (BIP141).
    pub(crate) const WITNESS: Flags = Flags(1 << 11);
    /// Unknown witness versions are kept for later rules.
    pub(crate) const DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM: Flags = Flags(1 << 12);
    /// The argument of OP_IF in a witness script must be empty or 1.
    pub(crate) const MINIMALIF: Flags = Flags(1 << 13);
    /// A signature that fails must be empty (BIP146).
    pub(crate) const NULLFAIL: Flags = Flags(1 << 14);
    /// Keys in witness scripts must be compressed (BIP143).
    pub(crate) const WITNESS_PUBKEYTYPE: Flags = Flags(1 << 15);
    /// No OP_CODESEPARATOR and no signature inside its own script before segwit.
    pub(crate) const CONST_SCRIPTCODE: Flags = Flags(1 << 16);
    /// Taproot (BIP341, BIP342).
    pub(crate) const TAPROOT: Flags = Flags(1 << 17);
    /// Unknown leaf versions are kept for later rules.
    pub(crate) const DISCOURAGE_UPGRADABLE_TAPROOT_VERSION: Flags = Flags(1 << 18);
    /// OP_SUCCESS is kept for later rules.
    pub(crate) const DISCOURAGE_OP_SUCCESS: Flags = Flags(1 << 19);
    /// Unknown key types in tapscript are kept for later rules.
    pub(crate) const DISCOURAGE_UPGRADABLE_PUBKEYTYPE: Flags = Flags(1 << 20);

    /// What Core applies to every new transaction (`MANDATORY_SCRIPT_VERIFY_FLAGS`, policy/policy.h): today's consensus.
    pub(crate) const MANDATORY: Flags = Flags(
        Self::P2SH.0
            | Self::DERSIG.0
            | Self::NULLDUMMY.0
            | Self::CHECKLOCKTIMEVERIFY.0
            | Self::CHECKSEQUENCEVERIFY.0
            | Self::WITNESS.0
            | Self::TAPROOT.0,
    );
    /// What Core's mempool applies (`STANDARD_SCRIPT_VERIFY_FLAGS`, policy/policy.h).
    pub(crate) const STANDARD: Flags = Flags(
        Self::MANDATORY.0
            | Self::STRICTENC.0
            | Self::MINIMALDATA.0
            | Self::DISCOURAGE_UPGRADABLE_NOPS.0
            | Self::CLEANSTACK.0
            | Self::MINIMALIF.0
            | Self::NULLFAIL.0
            | Self::LOW_S.0
            | Self::DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM.0
            | Self::WITNESS_PUBKEYTYPE.0
            | Self::CONST_SCRIPTCODE.0
            | Self::DISCOURAGE_UPGRADABLE_TAPROOT_VERSION.0
            | Self::DISCOURAGE_OP_SUCCESS.0
            | Self::DISCOURAGE_UPGRADABLE_PUBKEYTYPE.0,
    );

    /// Whether any of `other`'s rules applies.
    pub(crate) fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}
