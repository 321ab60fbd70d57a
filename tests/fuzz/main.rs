//! Hostile octets against everything that reads them: what they may be refused for, and what must hold when they are
//! not.
//!
//! **In**: octets by chance (`cargo test --test fuzz`, some thousand for each target), or by what they reach in the code
//! (`just fuzz TARGET TIME`, libFuzzer). **Out**: nothing, or the shortest octets found that break a property.
//! **Never**: says what octets mean beyond what the property says: tables of values stand beside the code.
//!
//! Each target is a function from octets to nothing, and has a folder `__fuzz__/TARGET`: what stands in its `corpus` and
//! `crashes` is tried first by every run. `BOLERO_RANDOM_ITERATIONS=N` tries more; a failure names the
//! `BOLERO_RANDOM_SEED` that repeats it.

#[allow(dead_code, unused_imports, reason = "each test crate uses its own part of it")]
#[path = "../script/mod.rs"]
mod script;

mod answer;
mod command;
mod content;
mod milter;
mod octets;
mod proxy_header;
mod reply;
mod session;
