//! The notation of dialog scripts, read into steps.
//!
//! **In**: the text of a script, and the folder its `include` lines look into.
//! **Out**: a [`Script`]: a title, the configuration, and [`Step`]s, each of which remembers its file and line so
//! that a failure can name them and `BLESS=1` can rewrite them.
//! **Never**: runs anything. A line that is no notation is an error with its place, not a comment.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use gatepost::session::route::NotFound;

use super::handshake::{Handshake, handshake};

/// Who stands at the other end of one of gatepost's connections.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Party {
    /// The client, left column.
    Client,
    /// A host, right column, by its name in the pool.
    Host(Rc<str>),
    /// A callout, between them, by its name.
    Callout(Rc<str>),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Client => f.write_str("client"),
            Party::Host(name) => write!(f, "[{name}]"),
            Party::Callout(name) => write!(f, "callout {name}"),
        }
    }
}

/// What one line of a script does.
#[derive(Clone, Debug)]
pub enum Action {
    /// The party says these octets.
    Feed(Party, Vec<u8>),
    /// Gatepost says exactly this line to the party.
    Line(Party, Vec<u8>),
    /// Gatepost says a line that begins with this; its text is not filled in yet.
    Begins(Party, Vec<u8>),
    /// Gatepost says exactly these octets.
    Octets(Party, Vec<u8>),
    /// The party sends its FIN.
    Eof(Party),
    /// The party's connection breaks.
    Lost(Party),
    /// Gatepost has sent its FIN there.
    Finished(Party),
    /// Gatepost has closed the connection.
    Closed(Party),
    /// The connection gatepost asked for is refused.
    Refused(Party),
    /// The connection gatepost asked for is not answered.
    Silent(Party),
    /// The connection gatepost asked for stands, but does not come from the client's address.
    Untold(Party),
    /// The connection gatepost asked for stands.
    Opened(Party),
    /// The host takes no more octets.
    Stalls(Party),
    /// The handshake gatepost asked for is done, or fails.
    Secure(Party, Handshake),
    /// Gatepost has something to log.
    Logged(String),
    /// Whatever gatepost has said to the host so far.
    Anything(Party),
    /// Gatepost looks this domain up, and hears so.
    LookUp(String, LookUp),
    /// A callout answers its latest question; `late`: although nobody waits for that any more.
    Told { callout: Party, answer: Rc<str>, late: bool },
    /// Time passes.
    Pass(Duration),
    /// The process is asked to stop.
    Shutdown,
    /// Dialogs with hosts are running out, or are not any more.
    Stress(bool),
}

/// What DNS says to a lookup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookUp {
    /// These hosts, in order.
    Hosts(Vec<Rc<str>>),
    /// That there are none.
    NotFound(NotFound),
    /// Nothing.
    Silent,
}

impl Action {
    /// Whether it only looks at what gatepost did.
    pub fn compares(&self) -> bool {
        match self {
            Action::Line(..) | Action::Begins(..) | Action::Octets(..) | Action::Anything(_) => true,
            Action::Closed(_) | Action::Finished(_) | Action::Opened(_) | Action::Logged(_) => true,
            Action::Feed(..) | Action::Eof(_) | Action::Lost(_) | Action::Refused(_) | Action::Silent(_) => {
                false
            }
            Action::Untold(_)
            | Action::Stalls(_)
            | Action::LookUp(..)
            | Action::Told { .. }
            | Action::Pass(_) => false,
            Action::Secure(..) | Action::Shutdown | Action::Stress(_) => false,
        }
    }

    /// Whose line it is.
    pub fn party(&self) -> Option<&Party> {
        match self {
            Action::Feed(party, _) | Action::Line(party, _) | Action::Begins(party, _) => Some(party),
            Action::Octets(party, _) | Action::Eof(party) | Action::Lost(party) => Some(party),
            Action::Closed(party) | Action::Refused(party) | Action::Silent(party) => Some(party),
            Action::Opened(party) | Action::Stalls(party) | Action::Anything(party) => Some(party),
            Action::Secure(party, _) | Action::Finished(party) | Action::Untold(party) => Some(party),
            Action::Told { callout, .. } => Some(callout),
            Action::LookUp(..) | Action::Logged(_) | Action::Pass(_) => None,
            Action::Shutdown | Action::Stress(_) => None,
        }
    }
}

/// One line of a script.
#[derive(Clone, Debug)]
pub struct Step {
    /// The file it stands in: the script or one it includes.
    pub file: Rc<Path>,
    /// Its line there, from 1.
    pub line: usize,
    /// The line as written.
    pub text: String,
    /// Whether a blank line or a comment stands before it: it is not sent together with what is above.
    pub apart: bool,
    /// What it does.
    pub action: Action,
}

/// A whole script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its file's stem.
    pub name: String,
    /// Its first line: the behaviour it shows.
    pub title: String,
    /// `proxy.yaml`, as far as it differs from the runner's own.
    pub yaml: String,
    /// Whether it may be run with all client lines early.
    pub early: bool,
    /// Whether it may be run one octet at a time.
    pub split: bool,
    /// Whether it may be run over sockets.
    pub sockets: bool,
    /// Whether it may be run with callouts that it knows nothing of.
    pub asked: bool,
    /// Whether it begins under stress.
    pub stressed: bool,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Script {
    /// Reads a script and what it includes.
    pub fn read(path: &Path) -> Result<Script, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Script::of(path, &text)
    }

    /// The script with this text, as if it stood in this file.
    pub fn of(path: &Path, text: &str) -> Result<Script, String> {
        let mut script = Script {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            title: String::new(),
            yaml: String::new(),
            early: true,
            split: true,
            sockets: true,
            asked: true,
            stressed: false,
            steps: Vec::new(),
        };
        match text.lines().next().and_then(|line| line.strip_prefix("# ")) {
            Some(title) => script.title = title.to_owned(),
            None => return Err(format!("{}:1: the first line says the behaviour: # ...", path.display())),
        }
        script.add(Rc::from(path), text, 0)?;
        // Time and the client's own end have no meaning when all its lines are early.
        let timed = script.steps.iter().any(|step| {
            matches!(
                step.action,
                Action::Pass(_)
                    | Action::Shutdown
                    | Action::Stress(_)
                    | Action::Stalls(_)
                    | Action::Eof(Party::Client)
                    | Action::Lost(Party::Client)
            )
        });
        script.early &= !timed;
        Ok(script)
    }

    fn add(&mut self, file: Rc<Path>, text: &str, depth: usize) -> Result<(), String> {
        let mut apart = true;
        let mut yaml = false;
        for (index, line) in text.lines().enumerate() {
            let at = |what: &str| format!("{}:{}: {what}: {line}", file.display(), index + 1);
            if line == "---" {
                yaml = !yaml;
                continue;
            }
            if yaml {
                self.yaml.push_str(line);
                self.yaml.push('\n');
                continue;
            }
            let words = line.trim();
            if words.is_empty() || words.starts_with('#') {
                apart = true;
                match words {
                    "# not early" => self.early = false,
                    "# not split" => self.split = false,
                    "# not over sockets" => self.sockets = false,
                    "# not asked" => self.asked = false,
                    // Sockets have the real pools.
                    "# under stress" => (self.stressed, self.sockets) = (true, false),
                    _ => {}
                }
                continue;
            }
            if let Some(name) = words.strip_prefix("include ") {
                if depth > 3 {
                    return Err(at("included too deep"));
                }
                let path = included(&file, name);
                let text = fs::read_to_string(&path).map_err(|error| at(&error.to_string()))?;
                self.add(Rc::from(path), &text, depth + 1)?;
                apart = true;
                continue;
            }
            let asked = self.steps.iter().rev().find_map(|step| match &step.action {
                Action::Line(callout @ Party::Callout(_), _) => Some(callout),
                _ => None,
            });
            let action = match between(words, asked) {
                Some(action) => action,
                None => action(line).map_err(|what| at(&what))?,
            };
            self.steps.push(Step {
                file: file.clone(),
                line: index + 1,
                text: line.to_owned(),
                apart,
                action,
            });
            apart = false;
        }
        if yaml { Err(format!("{}: the configuration has no end: ---", file.display())) } else { Ok(()) }
    }
}

fn included(from: &Path, name: &str) -> PathBuf {
    let folder = from.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("include") { folder.to_owned() } else { folder.join("include") };
    folder.join(name).with_extension("txt")
}

/// What stands between the columns: callouts asked, and what they answer. A verdict is the callout's that was asked last.
fn between(words: &str, asked: Option<&Party>) -> Option<Action> {
    let (word, rest) = words.split_once(' ')?;
    match word {
        "ask" => {
            let (name, question) = rest.split_once(' ')?;
            Some(Action::Line(Party::Callout(name.into()), format!("{question}\r\n").into_bytes()))
        }
        "log" => Some(Action::Logged(rest.to_owned())),
        "cancel" => Some(Action::Line(Party::Callout(rest.into()), b"cancel\r\n".to_vec())),
        "verdict" | "late" => {
            Some(Action::Told { callout: asked?.clone(), answer: rest.into(), late: word == "late" })
        }
        _ => None,
    }
}

fn action(line: &str) -> Result<Action, String> {
    let words = line.trim_start();
    let right = words.len() < line.len();
    if let Some(time) = words.strip_prefix("+ ") {
        return Ok(Action::Pass(duration(time.trim_end()).ok_or("no time")?));
    }
    if let Some((domain, answer)) = words.strip_prefix("lookup ").and_then(|rest| rest.rsplit_once(": ")) {
        return Ok(Action::LookUp(domain.to_owned(), look_up(answer.trim_end())));
    }
    let (party, words) = match (right, words.strip_prefix('[').and_then(|rest| rest.split_once("] "))) {
        (true, Some((host, rest))) => (Party::Host(Rc::from(host)), rest),
        (true, None) => (Party::Host(Rc::from("a")), words),
        (false, _) => (Party::Client, words),
    };
    // In every dialog C: is its client and S: its server: gatepost is S: on the left and C: on the right.
    let own = if right { 'C' } else { 'S' };
    match words.trim_end() {
        "<eof>" => return Ok(Action::Eof(party)),
        "<lost>" => return Ok(Action::Lost(party)),
        "<finished>" => return Ok(Action::Finished(party)),
        "<closed>" => return Ok(Action::Closed(party)),
        "<shutdown>" if !right => return Ok(Action::Shutdown),
        "<stress>" if !right => return Ok(Action::Stress(true)),
        "<relief>" if !right => return Ok(Action::Stress(false)),
        "<refused>" if right => return Ok(Action::Refused(party)),
        "<silent>" if right => return Ok(Action::Silent(party)),
        "<untold>" if right => return Ok(Action::Untold(party)),
        "<opened>" if right => return Ok(Action::Opened(party)),
        "<anything>" if right => return Ok(Action::Anything(party)),
        "<stalls>" if right => return Ok(Action::Stalls(party)),
        _ => {}
    }
    if let Some(outcome) = handshake(words.trim_end()) {
        return Ok(Action::Secure(party, outcome));
    }
    let mut letters = words.chars();
    let (side, kind) = (letters.next(), letters.next());
    let rest = letters.as_str();
    let rest = rest.strip_prefix(' ').unwrap_or(rest);
    match (side, kind) {
        (Some(side @ ('C' | 'S')), Some(':')) => {
            let octets = [rest.as_bytes(), b"\r\n"].concat();
            Ok(match (side == own, rest.strip_suffix("...")) {
                (false, _) => Action::Feed(party, octets),
                (true, Some(start)) if !right && start.ends_with(' ') && start.len() > 3 => {
                    Action::Begins(party, start.as_bytes().to_vec())
                }
                (true, _) => Action::Line(party, octets),
            })
        }
        (Some(side @ ('C' | 'S')), Some('=')) => {
            let octets = quoted(rest)?;
            Ok(if side == own { Action::Octets(party, octets) } else { Action::Feed(party, octets) })
        }
        _ => Err("no notation".to_owned()),
    }
}

fn look_up(text: &str) -> LookUp {
    match text {
        "<no domain>" => LookUp::NotFound(NotFound::NoDomain),
        "<null mx>" => LookUp::NotFound(NotFound::NullMx),
        "<loop>" => LookUp::NotFound(NotFound::Loop),
        "<unknown>" => LookUp::NotFound(NotFound::Unknown),
        "<silent>" => LookUp::Silent,
        hosts => LookUp::Hosts(hosts.split_whitespace().map(Rc::from).collect()),
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number * 60)),
        "h" => Some(Duration::from_secs(number * 3600)),
        _ => None,
    }
}

/// One or more strings in quotes, each of which may be repeated: `"NOOP " "x"*3000 "\r\n"`.
fn quoted(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (one, after) = string(rest.strip_prefix('"').ok_or("octets stand in quotes")?)?;
        rest = after;
        let mut times = 1;
        if let Some(after) = rest.strip_prefix('*') {
            let digits = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
            times = after[..digits].parse().map_err(|_| "no number behind *")?;
            rest = &after[digits..];
        }
        octets.extend(one.repeat(times));
        rest = rest.trim_start();
    }
    Ok(octets)
}

fn string(text: &str) -> Result<(Vec<u8>, &str), String> {
    let mut octets = Vec::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((octets, &text[at + 1..])),
            '\\' => match letters.next().map(|(_, letter)| letter) {
                Some('r') => octets.push(b'\r'),
                Some('n') => octets.push(b'\n'),
                Some('t') => octets.push(b'\t'),
                Some('0') => octets.push(0),
                Some('x') => {
                    let digits: String = letters.by_ref().take(2).map(|(_, letter)| letter).collect();
                    octets.push(u8::from_str_radix(&digits, 16).map_err(|_| "two hex digits behind \\x")?);
                }
                Some(letter @ ('\\' | '"')) => octets.push(letter as u8),
                _ => return Err("unknown escape".to_owned()),
            },
            letter => octets.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err("a string without its end".to_owned())
}
