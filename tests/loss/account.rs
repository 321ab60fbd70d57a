//! The account: what clients were told against what hops stored and answered.
//!
//! In:    what each client was told 250 for; each hop's records.
//! Out:   sums, and by name whatever does not come out even.
//! Never: excuses what it cannot explain. A duplicate is explained by a storing that was not answered, because the hop
//!        died; everything answered must have been told once.

use std::collections::HashMap;
use std::fmt;

use super::client::Told;

#[derive(Debug, Default)]
pub struct Account {
    /// Messages clients were told 250 for.
    pub told: usize,
    stored: usize,
    /// Storings that were not answered, of messages that another hop stored and answered.
    pub duplicates: usize,
    deferred: usize,
    closing: usize,
    gone: usize,
    wrong: Vec<String>,
}

/// What the hops say of one message.
#[derive(Debug, Default)]
struct Kept {
    /// Length and sum, for each time it was stored.
    stored: Vec<(usize, u64)>,
    answered: usize,
}

impl Account {
    pub fn of(clients: &[Told], records: &[String]) -> Self {
        let mut account = Self::default();
        let mut kept = read(records);
        for client in clients {
            account.told += client.accepted.len();
            account.deferred += client.deferred;
            account.closing += client.closing;
            account.gone += client.gone;
            for (id, octets, sum) in &client.accepted {
                account.settle(id, (*octets, *sum), kept.remove(id).unwrap_or_default());
            }
        }
        account.wrong.extend(kept.into_keys().map(|id| format!("{id}: stored, and nobody was told")));
        account
    }

    /// One message that a client was told 250 for.
    fn settle(&mut self, id: &str, sent: (usize, u64), kept: Kept) {
        self.stored += kept.stored.len();
        self.duplicates += kept.stored.len().saturating_sub(1);
        let why = match (kept.stored.len(), kept.answered) {
            (0, _) => "lost",
            (_, 0) => "told 250, which no hop had answered",
            _ if kept.stored.iter().any(|stored| *stored != sent) => "altered",
            (_, 1) => return,
            (_, _) => "a duplicate although a hop had answered",
        };
        self.wrong.push(format!("{id}: {why}: sent {sent:?}, {kept:?}"));
    }

    pub fn is_clean(&self) -> bool {
        self.wrong.is_empty()
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "told 250         {:6}", self.told)?;
        writeln!(
            f,
            "tried again      {:6}  {} after a 4xx, {} after 421, {} after the end of the connection",
            self.deferred + self.closing + self.gone,
            self.deferred,
            self.closing,
            self.gone
        )?;
        writeln!(f, "stored           {:6}", self.stored)?;
        writeln!(
            f,
            "duplicates       {:6}  where a hop died between storing and answering",
            self.duplicates
        )?;
        write!(f, "lost, altered, unexplained: {}", self.wrong.len())?;
        self.wrong.iter().take(20).try_for_each(|wrong| write!(f, "\n  {wrong}"))
    }
}

fn read(records: &[String]) -> HashMap<String, Kept> {
    let mut all: HashMap<String, Kept> = HashMap::new();
    for line in records.iter().flat_map(|records| records.lines()) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["stored", id, octets, sum] => {
                let stored = (octets.parse().unwrap(), u64::from_str_radix(sum, 16).unwrap());
                all.entry(id.to_owned()).or_default().stored.push(stored);
            }
            ["answered", id] => all.entry(id.to_owned()).or_default().answered += 1,
            _ => panic!("a record of another kind: {line}"),
        }
    }
    all
}

/// The account finds what it is for: one line of records, one message told, and the word it should have for it.
pub fn finds_what_is_wrong() {
    let cases = [
        ("stored a 3 7\nanswered a\n", ""),
        ("stored a 3 7\nstored a 3 7\nanswered a\n", ""),
        ("", "lost"),
        ("answered a\n", "lost"),
        ("stored a 3 7\n", "told 250"),
        ("stored a 3 8\nanswered a\n", "altered"),
        ("stored a 3 7\nanswered a\nstored a 3 7\nanswered a\n", "a duplicate"),
        ("stored a 3 7\nanswered a\nstored b 3 7\nanswered b\n", "nobody was told"),
    ];
    for (records, word) in cases {
        let told = Told { accepted: vec![("a".to_owned(), 3, 7)], ..Told::default() };
        let account = Account::of(&[told], &[records.to_owned()]);
        assert_eq!(account.is_clean(), word.is_empty(), "{records}{account}");
        assert!(account.to_string().contains(word), "{records}{account}");
    }
}
