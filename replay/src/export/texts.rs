//! The texts of a column, each once: the same few come again and again.

use arrow::array::{StringArray, StringBuilder};
use hashbrown::HashMap;

/// Numbers texts in the order of their first coming.
#[derive(Default)]
pub struct Texts {
    values: StringBuilder,
    /// As the rows gave them, which need not be UTF-8.
    numbers: HashMap<Box<[u8]>, i32>,
    /// Looked at first: the text that came last from about the same place in memory.
    recent: [Option<(Box<[u8]>, i32)>; RECENT],
    bytes: usize,
}

/// More than the texts that alternate in a busy server's column.
const RECENT: usize = 32;

impl Texts {
    #[inline]
    pub fn number(&mut self, text: &[u8]) -> i32 {
        // Where a text lies says only where to look for it: what lies there is compared.
        let place = (text.as_ptr() as usize >> 3) ^ (text.as_ptr() as usize >> 8);
        let place = place % RECENT;
        match &self.recent[place] {
            Some((recent, number)) if **recent == *text => *number,
            _ => self.look_up(text, place),
        }
    }

    fn look_up(&mut self, text: &[u8], place: usize) -> i32 {
        let number = match self.numbers.get(text) {
            Some(number) => *number,
            None => {
                // Whoever collects rows takes fewer than this can count.
                let number = self.numbers.len() as i32;
                self.values.append_value(String::from_utf8_lossy(text));
                self.numbers.insert(text.into(), number);
                self.bytes += text.len();
                number
            }
        };
        self.recent[place] = Some((text.into(), number));
        number
    }

    /// Of all texts together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The texts by their numbers; what comes next is numbered anew.
    pub fn take(&mut self) -> StringArray {
        self.numbers.clear();
        self.recent = Default::default();
        self.bytes = 0;
        self.values.finish()
    }
}
