//! A refusal in Core's words, before it is known who asked.

use std::borrow::Cow;

use crate::node::Rejection;

/// What a refusal means for what comes next (a part of `TxValidationResult`, `consensus/validation.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Breaks a rule whatever accompanies it.
    Final,
    /// Its inputs are not known; a package may bring them.
    MissingInputs,
    /// Pays too little alone; a package may pay for it.
    Reconsiderable,
}

/// Why a transaction is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    /// Core's reject reason.
    pub(crate) reason: Cow<'static, str>,
    /// Core's debug message, which may be empty.
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { kind: Kind::Final, reason: reason.into(), detail: String::new() }
    }

    pub(crate) fn with(reason: impl Into<Cow<'static, str>>, detail: String) -> Refusal {
        Refusal { kind: Kind::Final, reason: reason.into(), detail }
    }

    pub(crate) fn reconsiderable(reason: impl Into<Cow<'static, str>>, detail: String) -> Refusal {
        Refusal { kind: Kind::Reconsiderable, reason: reason.into(), detail }
    }

    pub(crate) fn missing_inputs() -> Refusal {
        Refusal { kind: Kind::MissingInputs, ..Refusal::new("bad-txns-inputs-missingorspent") }
    }

    /// Reason and detail as Core joins them (`ValidationState::ToString`).
    pub(crate) fn text(&self) -> String {
        if self.detail.is_empty() { self.reason.to_string() } else { format!("{}, {}", self.reason, self.detail) }
    }
}

impl From<Refusal> for Rejection {
    /// The code of Core's `sendrawtransaction` (`HandleATMPError`, `node/transaction.cpp`).
    fn from(refusal: Refusal) -> Rejection {
        let code = if refusal.kind == Kind::MissingInputs { Rejection::ERROR } else { Rejection::REJECTED };
        Rejection { code, reason: refusal.text() }
    }
}

/// An amount in BTC as Core writes it in messages: at least two decimals, no further zeros at the end (`FormatMoney`).
pub(crate) fn format_money(satoshis: u64) -> String {
    let mut text = format!("{}.{:08}", satoshis / 100_000_000, satoshis % 100_000_000);
    let shortest = text.len() - 6;
    while text.len() > shortest && text.ends_with('0') {
        text.pop();
    }
    text
}
