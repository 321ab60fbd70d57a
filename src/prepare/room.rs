//! Whether there is room for messages that somebody is asked about.
//!
//! In:    a configuration; the file system, as whoever runs this has it.
//! Out:   a warning where messages are to be kept and cannot be.
//! Never: leaves anything behind, or warns where all messages stream.

use crate::config::types::{Config, Content};
use crate::session::verdict::Stage;

/// What is wrong with where they are kept.
pub fn no_room(config: &Config) -> Option<String> {
    let stages = config.rules.iter().map(|rule| &rule.stages);
    let mut stages = stages.chain(config.callouts.iter().map(|callout| &callout.stages));
    if !stages.any(|stages| stages.contains(&Stage::Message)) {
        return None;
    }
    let Content { spool, memory, .. } = &config.content;
    let error = tempfile::tempfile_in(spool).err()?;
    Some(format!(
        "content.spool: {}: {error}; messages of more than {memory} octets will be refused, 452 4.3.1",
        spool.display()
    ))
}
