//! Header fields that go before a message's own.
//!
//! In:    fields that callouts say, of MAIL and RCPT or of DATA.
//! Out:   their octets, in the order in which they were said.
//! Never: has one of a DATA that was refused.

/// Header fields that go before a message's own.
#[derive(Clone, Default, Debug)]
pub struct Prepended {
    octets: Vec<u8>,
    /// So many of them were said before DATA.
    lasting: usize,
}

impl Prepended {
    /// All of them, each with its line end.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Each of them, to be put into a message; they are taken.
    pub fn take(&mut self) -> Vec<Box<[u8]>> {
        let mut fields: Vec<Vec<u8>> = Vec::new();
        for line in std::mem::take(self).octets.split_inclusive(|&octet| octet == b'\n') {
            match fields.last_mut() {
                Some(field) if line.starts_with(b" ") || line.starts_with(b"\t") => {
                    field.extend_from_slice(line)
                }
                _ => fields.push(line.to_vec()),
            }
        }
        fields.into_iter().map(Vec::into_boxed_slice).collect()
    }

    /// One more, said of DATA or before.
    pub fn add(&mut self, field: &[u8], of_data: bool) {
        if !of_data {
            self.data_again();
        }
        self.octets.extend_from_slice(field);
        if !of_data {
            self.lasting = self.octets.len();
        }
    }

    /// DATA is said anew: what was said of one that was refused is void.
    pub fn data_again(&mut self) {
        self.octets.truncate(self.lasting);
    }
}
