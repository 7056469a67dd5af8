//! Why a relay ends a connection: the close codes (docs/protocol.md, "Relay").

use std::fmt;

use super::limits::MAX_CLOSE_TEXT;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal;)*) => {
        /// Why a relay ended a connection. The number travels in the close frame, from the range that RFC 6455 leaves to applications, except
        /// where the standard has a code of that meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseReason { $($(#[$doc])* $name,)* }

        impl CloseReason {
            /// All reasons, for metrics and tests.
            pub const ALL: &'static [CloseReason] = &[$(CloseReason::$name,)*];

            /// The websocket close code.
            pub fn code(self) -> u16 {
                match self { $(CloseReason::$name => $code,)* }
            }

            /// A short name, for logs and metrics.
            pub fn label(self) -> &'static str {
                match self { $(CloseReason::$name => $label,)* }
            }

            /// The reason of a close code.
            pub fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(CloseReason::$name),)* _ => None }
            }
        }
    };
}

close_reasons! {
    /// The other end closed in good order.
    Normal = 1000, "normal";
    /// The relay is shutting down; come back.
    GoingAway = 1001, "going-away";
    /// The websocket protocol was broken.
    Protocol = 1002, "protocol";
    /// A message was larger than allowed.
    TooBig = 1009, "too-big";
    /// A fault of the relay.
    Internal = 1011, "internal";
    /// The relay starts this group anew; come back at once.
    Restart = 1012, "restart";
    /// The relay is full; come back later.
    Full = 1013, "full";
    /// No hello, or no complete websocket handshake, came in time.
    HandshakeTimeout = 4000, "handshake-timeout";
    /// The hello is malformed.
    HelloMalformed = 4001, "hello-malformed";
    /// The hello's signature is not good.
    HelloSignature = 4002, "hello-signature";
    /// The hello was made for another relay.
    HelloOtherRelay = 4003, "hello-other-relay";
    /// The hello answers another challenge: it is being replayed.
    HelloReplayed = 4004, "hello-replayed";
    /// The challenge had expired by the relay's clock.
    HelloExpired = 4005, "hello-expired";
    /// This key has too many connections open.
    KeyConnections = 4006, "key-connections";
    /// Too many malformed or unauthenticated messages on this connection.
    Strikes = 4007, "strikes";
    /// What was sent was not read or not acknowledged for too long.
    Slow = 4008, "slow";
    /// Nothing was heard, not even an answer to pings.
    Idle = 4009, "idle";
}

impl CloseReason {
    /// Cuts `text` to what fits into a close frame.
    pub fn text(text: &str) -> &str {
        let mut end = text.len().min(MAX_CLOSE_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        &text[..end]
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_are_distinct_and_read_back() {
        for reason in CloseReason::ALL {
            assert_eq!(CloseReason::from_code(reason.code()), Some(*reason));
        }
        assert_eq!(CloseReason::from_code(4999), None);
    }

    #[test]
    fn close_text_is_cut_between_characters() {
        let long = "é".repeat(100);
        let cut = CloseReason::text(&long);
        assert_eq!(cut.len(), 122);
        assert!(long.starts_with(cut));
        assert_eq!(CloseReason::text("short"), "short");
    }
}
