//! Plays a script on paper and hands back the session it leaves, for tests that look at more than the dialog.
//!
//! **In**: a script of `tests/dialogs` by its name, or one that stands in a test. **Out**: its [`World`], and the
//! session with all it reported.
//! **Never**: plays one that goes another way than it is written.

use std::path::Path;
use std::sync::Arc;

use super::parse::{Party, Script};
use super::run::{Manner, run};
use super::settings::{Asked, World, world, world_asking};
use super::{Driver, Pure};

/// The folder of the scripts.
fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dialogs"))
}

/// A script with its configuration.
pub struct Play {
    script: Script,
    /// What surrounds its session.
    pub world: World,
}

impl Play {
    /// One of `tests/dialogs`.
    pub fn named(name: &str) -> Play {
        Play::of(Script::read(&folder().join(format!("{name}.txt"))))
    }

    /// One that has a configuration of its own and stands in the test itself.
    pub fn written(yaml: &str, dialog: &str) -> Play {
        let text = format!("# In a test.\n---\n{yaml}\n---\n{dialog}");
        Play::of(Script::of(&folder().join("in a test"), &text))
    }

    fn of(script: Result<Script, String>) -> Play {
        let script = script.unwrap_or_else(|error| panic!("{error}"));
        let world = world(&script.yaml).unwrap_or_else(|error| panic!("{}: {error}", script.name));
        Play { script, world }
    }

    /// With other callouts than the script's.
    pub fn asking(mut self, asked: Asked) -> Play {
        self.world = world_asking(&self.script.yaml, asked).unwrap();
        self
    }

    /// With both dialogs traced.
    pub fn traced(mut self) -> Play {
        Arc::get_mut(&mut self.world.settings).expect("nobody holds it yet").trace = true;
        self
    }

    /// The session where the script ends.
    pub fn run(&self) -> Pure {
        let mut pure = Pure::new(&self.world, usize::MAX);
        run(&self.script, Manner::Written, &mut pure, false)
            .unwrap_or_else(|mismatch| panic!("{}", mismatch.0));
        pure
    }

    /// The session behind it, whose client has left.
    pub fn run_and_leave(&self) -> Pure {
        let mut pure = self.run();
        pure.lost(&Party::Client);
        pure
    }
}
