//! Which refusals have a line of the log of their own, and whose they are there.
//!
//! In:    dialogs in which a hop, a verdict or gatepost says no.
//! Out:   of a hop's words the first line, where the client heard it and no transaction's record tells of it; of a verdict's
//!        the stage; gatepost's own.
//! Never: reads a line of the log.

use crate::script::play::Play;

/// Each line: a dialog, and what is logged of the refusals in it.
const REFUSALS: &str = "
# Of the greeting, EHLO, AUTH, STARTTLS and other commands.
identity-told-first-greeting-refused: hop a: 450 4.7.1 Client host rejected: cannot find your hostname
identity-xclient-client-refused: hop a: 554 5.7.1 <unknown[192.0.2.1]>: Client host rejected, gatepost: 503 Only QUIT is served
ehlo-refused: hop a: 502 5.5.1 What is EHLO
auth-login-step-by-step: hop a: 535 5.7.8 No
passthrough-refused: hop a: 454 4.7.0 TLS not available, gatepost: 500 Command not recognized
hello-comes-after-all: hop a: 503 5.5.1 Say EHLO, gatepost: 500 Command not recognized
# The last word is one, and logged once.
auth-421-is-the-last-word: hop a: 421 4.3.0 Too many failures
hop-says-521: hop a: 521 5.7.1 We are done
# Also of a host that is gone since.
failover-temporary-wins: hop b: 450 4.3.2 b will, in a while, gatepost: 503 Only QUIT is served
# In another's words it is that one's.
auth-reply-substitute-text: rule plain-words at auth-reply: 535
helo-reply-substitute: rule no-ehlo at helo-reply: 550
# A verdict's is that of its stage.
connect-421-is-followed-by-close: rule busy at connect: 421
helo-reply-verdict-at-helo: rule not-us at helo: 550
auth-reply-verdict-at-auth: rule no-login at auth: 534
mail-reply-verdict-at-mail: rule no-submission-from-lab at mail: 550, gatepost: 503 Need MAIL command
callout-order: callout first at rcpt: 550
data-reply-verdict-at-data: rule frozen at data: 451
other-disconnect: rule hang-up at other: 421
# What a transaction's record tells of.
d4-reply-codes-are-not-folded:
d6-no-2xx-without-the-hops:
mail-reply-substitute-text: rule plain-words at mail-reply: 553
retry-all-refused-first-reply-heard:
# What gatepost says for itself.
command-sequence: gatepost: 503 Need MAIL command, gatepost: 503 Need MAIL command, gatepost: 503 Nested MAIL command
failover-none-reached: gatepost: 421 No next hop can be reached
";

#[test]
fn whose_a_refusal_is_in_the_log() {
    for line in REFUSALS.trim().lines().filter(|line| !line.starts_with('#')) {
        let (name, expected) = line.split_once(':').unwrap();
        assert_eq!(Play::named(name).run_and_leave().refusals.join(", "), expected.trim_start(), "{name}");
    }
}
