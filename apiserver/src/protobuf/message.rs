//! Writing protobuf: numbers and lengths, nothing of what they mean.

/// A message as far as it has been written.
#[derive(Debug, Default)]
pub struct Message(pub Vec<u8>);

impl Message {
    /// A number, seven bits at a time.
    pub fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A field that is a number.
    pub fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    /// A field that is a float.
    pub fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// A field of bytes or text.
    pub fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.head(field, bytes.len());
        self.0.extend_from_slice(bytes);
    }

    /// What comes before a field of so many bytes.
    pub fn head(&mut self, field: u64, length: usize) {
        self.varint(field << 3 | 2);
        self.varint(length as u64);
    }

    /// A field that is a message.
    pub fn message(&mut self, field: u64, inner: &Message) {
        self.bytes(field, &inner.0);
    }
}
