//! The commands a document tells its readers to type, taken out so that a test can type them.
//!
//! In:    Markdown; the info string of the wanted code blocks (```` ```sh run ````, say).
//! Out:   each such block with the line it begins at, in order.
//! Never: runs anything, or guesses: an info string matches whole or not at all, and a block left open is an error.
//!
//! CommonMark 4.5 (fenced code blocks).

/// A fenced code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The line of its first fence, counted from 1.
    pub line: usize,
    pub text: String,
}

/// All blocks fenced by three backticks whose info string is `info`.
pub fn blocks(markdown: &str, info: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(bool, Block)> = None;
    for (number, line) in markdown.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```").filter(|rest| !rest.contains('`'));
        open = match (open, fence) {
            (None, None) => None,
            (None, Some(rest)) => {
                Some((rest.trim() == info, Block { line: number + 1, text: String::new() }))
            }
            (Some((wanted, block)), Some("")) => {
                found.extend(wanted.then_some(block));
                None
            }
            (Some((wanted, mut block)), _) => {
                block.text.push_str(line);
                block.text.push('\n');
                Some((wanted, block))
            }
        };
    }
    assert!(open.is_none(), "a code block is never closed: {open:?}");
    found
}
