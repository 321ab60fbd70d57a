//! Which refusals of a hop's have a line of the log of their own.
//!
//! In:    dialogs in which a hop, a verdict or gatepost says no.
//! Out:   the hop and the first line of what it said, where the client heard that and no transaction's record tells of it.
//! Never: reads a line of the log.

use crate::script::play::Play;

/// Each line: a dialog, and what is logged of it.
const REFUSALS: &str = "
# Of the greeting, EHLO, AUTH, STARTTLS and other commands.
identity-told-first-greeting-refused: hop a: 450 4.7.1 Client host rejected: cannot find your hostname
identity-xclient-client-refused: hop a: 554 5.7.1 <unknown[192.0.2.1]>: Client host rejected
ehlo-refused: hop a: 502 5.5.1 What is EHLO
auth-login-step-by-step: hop a: 535 5.7.8 No
passthrough-refused: hop a: 454 4.7.0 TLS not available
hello-comes-after-all: hop a: 503 5.5.1 Say EHLO
# The last word is one, and logged once.
auth-421-is-the-last-word: hop a: 421 4.3.0 Too many failures
hop-says-521: hop a: 521 5.7.1 We are done
# In another's words it is that one's.
auth-reply-substitute-text:
helo-reply-substitute:
# What a transaction's record tells of.
d4-reply-codes-are-not-folded:
mail-reply-substitute-text:
retry-all-refused-first-reply-heard:
# What gatepost says for itself.
command-sequence:
failover-none-reached:
";

#[test]
fn a_hops_refusal_that_no_record_tells_of() {
    for line in REFUSALS.trim().lines().filter(|line| !line.starts_with('#')) {
        let (name, expected) = line.split_once(':').unwrap();
        assert_eq!(Play::named(name).run_and_leave().refusals.join(", "), expected.trim_start(), "{name}");
    }
}
