//! A message as it is edited: a list of lines of the header, and a body, neither of them copied.
//!
//! In:    edits, one by one.
//! Out:   the fields as they are now; a [`Rope`] of what goes out.
//! Never: copies what was not edited; joins the header and a body that nothing parted.

use std::ops::Range;
use std::sync::Arc;

use super::edit::Edit;
use super::{Field, Message, name_of};

/// A message, edited or not.
#[derive(Clone, Debug)]
pub struct Draft {
    message: Arc<Message>,
    /// The fields as they are now; `None`: as they came.
    fields: Option<Vec<Line>>,
    /// Another body.
    body: Option<Arc<[u8]>>,
}

/// A field.
#[derive(Clone, Debug)]
enum Line {
    /// The one that came in this place.
    Came(usize),
    /// One that was put in.
    Put(Arc<[u8]>),
}

/// What goes out, in order.
pub type Rope = Vec<Strand>;

/// A part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Strand {
    /// Octets of the spool.
    Spool(Range<u64>),
    /// Octets put in.
    Put(Arc<[u8]>),
}

impl Strand {
    /// How many octets it has.
    pub fn len(&self) -> u64 {
        match self {
            Strand::Spool(range) => range.end - range.start,
            Strand::Put(octets) => octets.len() as u64,
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Draft {
    pub(super) fn new(message: Arc<Message>) -> Draft {
        Draft { message, fields: None, body: None }
    }

    /// As it came.
    pub fn message(&self) -> &Arc<Message> {
        &self.message
    }

    /// Whether anything is changed.
    pub fn is_edited(&self) -> bool {
        self.fields.is_some() || self.body.is_some()
    }

    /// Whether the body is another than came.
    pub fn has_another_body(&self) -> bool {
        self.body.is_some()
    }

    /// The fields as they are now.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        let came = self.fields.is_none().then(|| self.message.fields());
        let now = self.fields.iter().flatten().filter_map(|line| self.field(line));
        came.into_iter().flatten().chain(now)
    }

    /// The body: another one, or where it lies in the spool.
    pub fn body(&self) -> Strand {
        match &self.body {
            Some(body) => Strand::Put(Arc::clone(body)),
            None => Strand::Spool(self.message.body()),
        }
    }

    /// Changes it.
    pub fn apply(&mut self, edit: &Edit) {
        match edit {
            Edit::Insert { at, field } => {
                let lines = self.lines();
                let at = usize::try_from(*at).unwrap_or(usize::MAX).min(lines.len());
                lines.insert(at, Line::Put(field[..].into()));
            }
            Edit::Append(field) => self.lines().push(Line::Put(field[..].into())),
            Edit::Change { name, nth, field } => {
                let place = self.place(name, *nth);
                let lines = self.lines();
                let line = Line::Put(field[..].into());
                match place {
                    Some(place) => lines[place] = line,
                    None => lines.push(line),
                }
            }
            Edit::Delete { name, nth } => {
                if let Some(place) = self.place(name, *nth) {
                    self.lines().remove(place);
                }
            }
            Edit::DeleteAll(name) => {
                // At once: whoever sends it may have written the name ten thousand times.
                let mut goes = self.fields().map(|field| field.is(name)).collect::<Vec<_>>().into_iter();
                self.lines().retain(|_| !goes.next().unwrap_or_default());
            }
            Edit::Header(fields) => {
                self.fields = Some(fields.iter().map(|field| Line::Put(field[..].into())).collect());
            }
            Edit::Body(body) => self.body = Some(Arc::clone(body)),
        }
    }

    /// What goes out.
    pub fn rope(&self) -> Rope {
        let mut rope = Rope::new();
        if !self.is_edited() {
            join(&mut rope, Strand::Spool(0..self.message.size()));
            return rope;
        }
        let header = self.message.header.len() as u64;
        let line_end = || Strand::Put(b"\r\n"[..].into());
        // The last field of a message that ends with it may lack its line end: what follows is not of it.
        let mut is_cut_off = false;
        match &self.fields {
            None => {
                is_cut_off = header > 0 && !self.message.header.ends_with(b"\n");
                join(&mut rope, Strand::Spool(0..header));
            }
            Some(lines) => lines.iter().for_each(|line| {
                if std::mem::take(&mut is_cut_off) {
                    join(&mut rope, line_end());
                }
                join(
                    &mut rope,
                    match line {
                        Line::Put(octets) => Strand::Put(Arc::clone(octets)),
                        Line::Came(place) => {
                            let octets = &self.message.fields[*place].octets;
                            let (start, end) = (octets.start as usize, octets.end as usize);
                            is_cut_off = !self.message.header[start..end].ends_with(b"\n");
                            Strand::Spool(u64::from(octets.start)..u64::from(octets.end))
                        }
                    },
                );
            }),
        }
        let separator = u64::from(self.message.separator);
        let body = self.body();
        if is_cut_off && !body.is_empty() {
            join(&mut rope, line_end());
        }
        match separator {
            // Nothing parted them: a body that begins without an empty line is no header's next line.
            0 if !body.is_empty() => join(&mut rope, line_end()),
            0 => {}
            _ => join(&mut rope, Strand::Spool(header..header + separator)),
        }
        join(&mut rope, body);
        rope
    }

    fn lines(&mut self) -> &mut Vec<Line> {
        let came = self.message.fields.len();
        self.fields.get_or_insert_with(|| (0..came).map(Line::Came).collect())
    }

    /// Where the n-th field of a name is, counted from 1 (0 is the first, too).
    fn place(&self, name: &str, nth: u32) -> Option<usize> {
        let nth = usize::try_from(nth.max(1)).ok()?;
        let named = self.fields().enumerate().filter(|(_, field)| field.is(name));
        named.map(|(place, _)| place).nth(nth - 1)
    }

    fn field<'a>(&'a self, line: &'a Line) -> Option<Field<'a>> {
        match line {
            Line::Came(place) => self.message.nth(*place),
            Line::Put(octets) => Some(Field { octets, name: name_of(octets)? }),
        }
    }
}

/// Appends a strand; one that goes on where the last of them ends is that one.
fn join(rope: &mut Rope, strand: Strand) {
    if strand.is_empty() {
        return;
    }
    match (rope.last_mut(), strand) {
        (Some(Strand::Spool(last)), Strand::Spool(next)) if last.end == next.start => last.end = next.end,
        (_, strand) => rope.push(strand),
    }
}
