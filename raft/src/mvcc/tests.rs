//! Transcripts of the model: commands in, replies and state out. See `testdata/mvcc/*.txt`.
