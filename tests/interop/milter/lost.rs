//! A filter that is killed, or frozen, and comes back while mail flows.
//!
//! In:    Postfix's test-milter, which marks each message; a gatepost that puts mail off without it and one that lets mail
//!        pass, before one Postfix; clients that come without a pause; `LOST_SEED`, by which the filter's fate is cast.
//! Out:   trials: `on_error` holds while the filter is away, and no longer; no message is lost, doubled, or stored where it was
//!        refused; the breaker opens and closes, and says so everywhere; nothing is left open in the end.
//! Never: repeats a run exactly: what is under way when the filter dies is the scheduler's.

mod filter;
mod load;
mod reckoning;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;

use self::filter::{Fault, Filter};
use self::load::{Account, Client, Step, Way};
use self::reckoning::{figures, stored};
use crate::rng::Rng;
use crate::support::gatepost::Gatepost;
use crate::support::mta::Mta as _;
use crate::support::peers::{Peer, trial};
use crate::support::postfix::{Postfix, Spec};
use crate::support::scratch::{PATIENCE, wait_for};

pub fn trials() -> Vec<Trial> {
    let needs = [Peer::Postfix, Peer::TestMilter];
    vec![
        trial("milter::lost::killed", needs, || lost(Fault::Killed)),
        trial("milter::lost::frozen", needs, || lost(Fault::Frozen)),
        trial("milter::lost::one_of_two", needs, || lost(Fault::OneOfTwo)),
    ]
}

/// For how long the filter has short absences.
const SHORT: Duration = Duration::from_secs(5);

/// A gatepost, and what its clients were told.
struct Gate {
    gatepost: Gatepost,
    account: Account,
    passes: bool,
}

impl Gate {
    fn before(postfix: &Postfix, filter: &Filter, on_error: &'static str) -> Self {
        let callout = format!(
            "callouts:\n  - {{ name: filter, type: milter, address: {}, on_error: {on_error}, timeout: {}s }}\n",
            filter.address(),
            filter.fault.timeout().as_secs()
        );
        let gatepost = Gatepost::start(&[("main", &[postfix.address()])], &callout);
        let account = Account::new(on_error, gatepost.listener());
        Self { gatepost, account, passes: on_error == "pass" }
    }

    fn is_asked(&self) -> bool {
        self.gatepost.metric("gatepost_callout_up", &[]) > 0.5
    }

    fn failures(&self, label: &str) -> f64 {
        self.gatepost.metric("gatepost_callout_failures_total", &[label])
    }

    fn questions(&self, labels: &[&str]) -> f64 {
        self.gatepost.metric("gatepost_callout_questions_total", labels)
    }
}

fn lost(fault: Fault) {
    let seed = std::env::var("LOST_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let mut rng = Rng::new(seed);
    let postfix = Postfix::start(&Spec::receiving("a.example"));
    let mut filter = Filter::start(fault);
    let gates = ["tempfail", "pass"].map(|on_error| Gate::before(&postfix, &filter, on_error));

    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for gate in &gates {
            for way in Way::ALL {
                let (rng, is_over) = (rng.fork(), &is_over);
                scope.spawn(move || gate.account.load(way, rng, is_over));
            }
        }
        all_is_well(&gates);
        short_absences(&mut filter, &gates, &mut rng);
        all_is_well(&gates);
        match fault {
            Fault::OneOfTwo => (0..2).for_each(|_| absence_of_one(&mut filter, &gates)),
            Fault::Killed | Fault::Frozen => long_absence(&mut filter, &gates),
        }
        all_is_well(&gates);
    });
    gates.iter().for_each(|gate| figures(gate, fault));
    postfix.settle(0);
    stored(&postfix, &filter, &gates);
}

/// Mail goes through, and the filter is asked and answers: each time.
fn all_is_well(gates: &[Gate]) {
    for gate in gates {
        let marked = || gate.questions(&["stage=\"message\"", "verdict=\"edit\""]);
        let (before, failures) = (marked(), gate.failures(""));
        let accepted = Way::ALL.map(|way| gate.account.accepted(way));
        wait_for("mail to go through", PATIENCE, || {
            let more = |(way, before)| gate.account.accepted(way) >= before + 2;
            Way::ALL.into_iter().zip(accepted).all(more).then_some(())
        });
        // Of each client's two the first may have been marked before.
        assert!(marked() >= before + 3.0, "the filter is asked: {before}, {}", marked());
        assert_eq!(gate.failures(""), failures, "{}: nothing fails while it is there", gate.account.name);
    }
}

fn short_absences(filter: &mut Filter, gates: &[Gate], rng: &mut Rng) {
    let longest = if filter.fault == Fault::Frozen { 3_500 } else { 200 };
    let begun = Instant::now();
    while begun.elapsed() < SHORT {
        passes_by(rng.below(400));
        filter.goes_away();
        passes_by(rng.below(longest));
        filter.comes_back();
        // What was asked before may fail yet, and keep it from being asked.
        passes_by(rng.below(3) * 100);
    }
    recovers(filter, gates);
}

/// Until the breaker has opened. At each step somebody goes on meanwhile, and somebody else waits until it is over.
fn long_absence(filter: &mut Filter, gates: &[Gate]) {
    let (meanwhile, later) = (Held::at_each_step(gates), Held::at_each_step(gates));
    filter.goes_away();
    Held::all_go_on(meanwhile, |gate| gate.passes);
    for gate in gates {
        wait_for("the breaker to open", PATIENCE, || (!gate.is_asked()).then_some(()));
        let ready = gate.gatepost.http("/readyz");
        let told = "callout filter: not asked, it has failed too often of late\n";
        assert!(ready.starts_with("HTTP/1.1 200") && ready.contains(told), "{ready}");
        gate.gatepost.logged("callout filter: not asked any more");
    }
    filter.comes_back();
    recovers(filter, gates);
    // To those who began before, the filter is told all anew.
    Held::all_go_on(later, |_| true);
}

/// Nobody notices: the other one is asked, and told all anew.
fn absence_of_one(filter: &mut Filter, gates: &[Gate]) {
    let meanwhile = Held::at_each_step(gates);
    filter.goes_away();
    Held::all_go_on(meanwhile, |_| true);
    filter.comes_back();
    recovers(filter, gates);
}

/// A client that waits before one step.
struct Held<'a> {
    gate: &'a Gate,
    step: Step,
    client: Client<'a>,
}

impl<'a> Held<'a> {
    fn at_each_step(gates: &'a [Gate]) -> Vec<Self> {
        let bdat = [(Step::Message, Way::Bdat)];
        let all = || Step::ALL.into_iter().map(|step| (step, Way::Data)).chain(bdat);
        let held = |gate: &'a Gate| {
            all().map(move |(step, way)| Self {
                gate,
                step,
                client: Client::before(&gate.account, way, step),
            })
        };
        let all = gates.iter().flat_map(held).collect();
        assert!(gates.iter().all(|gate| !gate.gatepost.left_open().is_empty()), "they are connected");
        all
    }

    /// All at once; whether that step is done, and all behind it then.
    fn all_go_on(held: Vec<Self>, is_done: impl Fn(&Gate) -> bool) {
        thread::scope(|scope| {
            for Self { gate, step, mut client } in held {
                let is_done = is_done(gate);
                scope.spawn(move || {
                    let name = gate.account.name;
                    assert_eq!(client.goes_on(step), is_done, "{name}: {step:?}");
                    if is_done && step < Step::Message {
                        assert!(client.goes_on(Step::Message), "{name}: behind {step:?}");
                    }
                    client.leaves();
                });
            }
        });
    }
}

/// The breakers close, and nothing that was asked before can fail any more.
fn recovers(filter: &mut Filter, gates: &[Gate]) {
    let since = Instant::now();
    let latest = if filter.fault == Fault::Frozen { filter.fault.timeout() } else { Duration::from_secs(1) };
    wait_for("the breakers to close", PATIENCE, || {
        (since.elapsed() > latest && gates.iter().all(Gate::is_asked)).then_some(())
    });
    for gate in gates {
        assert!(!gate.gatepost.http("/readyz").contains("callout "), "{}", gate.gatepost.http("/readyz"));
    }
    filter.is_back();
}

/// By chance, not for anything to happen.
fn passes_by(milliseconds: usize) {
    thread::sleep(Duration::from_millis(milliseconds as u64));
}

/// Ends the clients, where an assertion failed, too.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
