//! A disk in memory that loses what was not synced.
//!
//! The log keeps a random prefix of its un-synced writes in a crash, and the state goes back to
//! its last flush, which also happens by itself now and then, as memtables are flushed.

use std::{
    collections::{BTreeMap, VecDeque},
    fs, io,
    ops::{ControlFlow, Range},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

use super::{Mutation, dice::Dice, is_mutated};
use crate::{
    codec,
    log::{LogDisk, LogWrite, VisitEntry, other},
    mvcc::{
        Space, View,
        view::{Memory, Visit},
    },
    state::{StateDisk, Write},
};

/// Writes that flush the state by themselves, of ten thousand.
const SPONTANEOUS_FLUSHES: u64 = 300;
/// The file of a checkpoint.
const CHECKPOINT: &str = "state";

/// A row of a checkpoint.
type Record = (u8, Vec<u8>, Bytes);

/// The disk of one machine. It outlives the processes that use it.
pub(super) struct Disk {
    dice: Dice,
    /// Counts the processes: a handle of an ended one writes no more.
    life: u64,
    log: LogImage,
    synced_log: LogImage,
    unsynced: VecDeque<Vec<LogWrite>>,
    flushed_state: Arc<Memory>,
    /// Which open state is the machine's.
    current_state: u64,
    states: u64,
}

#[derive(Clone, Default)]
struct LogImage {
    meta: BTreeMap<String, Vec<u8>>,
    entries: BTreeMap<u64, Bytes>,
}

impl LogImage {
    fn write(&mut self, writes: Vec<LogWrite>) {
        for write in writes {
            match write {
                LogWrite::Meta(key, value) => {
                    self.meta.insert(key, value);
                }
                LogWrite::Entry(index, entry) => {
                    self.entries.insert(index, entry.into());
                }
                LogWrite::Remove(Range { start, end }) => {
                    let mut behind = self.entries.split_off(&start);
                    self.entries.append(&mut behind.split_off(&end));
                }
            }
        }
    }
}

/// Shared access to a disk.
#[derive(Clone)]
pub(super) struct SharedDisk(Arc<Mutex<Disk>>);

impl SharedDisk {
    /// An empty disk.
    pub(super) fn new(dice: Dice) -> SharedDisk {
        SharedDisk(Arc::new(Mutex::new(Disk {
            dice,
            life: 0,
            log: LogImage::default(),
            synced_log: LogImage::default(),
            unsynced: VecDeque::new(),
            flushed_state: Arc::default(),
            current_state: 0,
            states: 0,
        })))
    }

    /// The machine loses power, or its process is killed: says how many writes are lost.
    pub(super) fn crash(&self) -> usize {
        let mut disk = self.0.lock();
        disk.life += 1;
        let waiting = disk.unsynced.len();
        let survivors = disk.dice.index(waiting + 1);
        let mut unsynced = std::mem::take(&mut disk.unsynced);
        for writes in unsynced.drain(..survivors) {
            disk.synced_log.write(writes);
        }
        disk.log = disk.synced_log.clone();
        waiting - survivors
    }

    /// Its log, for a process that starts.
    pub(super) fn open_log(&self) -> SimLog {
        SimLog { disk: self.clone(), life: self.0.lock().life }
    }

    /// Its state, for a process that starts.
    pub(super) fn open_state(&self) -> SimState {
        let memory = self.0.lock().flushed_state.clone();
        let state = self.state(memory);
        self.0.lock().current_state = state.number;
        state
    }

    fn state(&self, memory: Arc<Memory>) -> SimState {
        let mut disk = self.0.lock();
        disk.states += 1;
        let (number, life) = (disk.states, disk.life);
        SimState { disk: self.clone(), life, number, memory: RwLock::new(memory) }
    }
}

fn ended() -> io::Error {
    other("the process has ended")
}

/// The log of a process.
pub(super) struct SimLog {
    disk: SharedDisk,
    life: u64,
}

impl SimLog {
    fn on_disk<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> io::Result<T> {
        let mut disk = self.disk.0.lock();
        if disk.life == self.life { Ok(work(&mut disk)) } else { Err(ended()) }
    }
}

impl LogDisk for SimLog {
    fn meta(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        self.on_disk(|disk| disk.log.meta.get(key).cloned())
    }

    fn write(&self, writes: Vec<LogWrite>) -> io::Result<()> {
        self.on_disk(|disk| {
            disk.log.write(writes.clone());
            disk.unsynced.push_back(writes);
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.on_disk(|disk| {
            let kept_back = if is_mutated(Mutation::LyingSync) { 20 } else { 0 };
            while disk.unsynced.len() > kept_back {
                let writes = disk.unsynced.pop_front().expect("there are some");
                disk.synced_log.write(writes);
            }
        })
    }

    fn last(&self) -> io::Result<Option<Vec<u8>>> {
        self.on_disk(|disk| disk.log.entries.last_key_value().map(|(_, entry)| entry.to_vec()))
    }

    fn walk(&self, from: u64, visit: &mut VisitEntry<'_>) -> io::Result<()> {
        let entries: Vec<(u64, Bytes)> = self.on_disk(|disk| {
            disk.log.entries.range(from..).map(|(index, entry)| (*index, entry.clone())).collect()
        })?;
        for (index, entry) in entries {
            if visit(index, &entry)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn reclaim(&self, _removed: Range<u64>) -> io::Result<()> {
        Ok(())
    }
}

/// An open state.
pub(super) struct SimState {
    disk: SharedDisk,
    life: u64,
    number: u64,
    memory: RwLock<Arc<Memory>>,
}

impl SimState {
    fn flush_to(&self, disk: &mut Disk) {
        if disk.life == self.life && disk.current_state == self.number {
            disk.flushed_state = self.memory.read().clone();
        }
    }
}

/// A state as it was when somebody began to read it.
struct Frozen(Arc<Memory>);

impl View for Frozen {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.0.get(space, key)
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        self.0.walk(space, start, end, visit)
    }
}

/// The newest state. Its only writer reads it, so it may not be held on to.
struct Live<'a>(&'a RwLock<Arc<Memory>>);

impl View for Live<'_> {
    fn get(&self, space: Space, key: &[u8]) -> io::Result<Option<Bytes>> {
        self.0.read_recursive().get(space, key)
    }

    fn walk(
        &self,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
        visit: &mut Visit<'_>,
    ) -> io::Result<()> {
        self.0.read_recursive().walk(space, start, end, visit)
    }
}

impl StateDisk for SimState {
    fn read(&self) -> Box<dyn View + '_> {
        Box::new(Frozen(self.memory.read().clone()))
    }

    fn live(&self) -> Box<dyn View + '_> {
        Box::new(Live(&self.memory))
    }

    fn write(&self, writes: &mut dyn Iterator<Item = Write>) -> io::Result<()> {
        Arc::make_mut(&mut self.memory.write()).commit(writes);
        let mut disk = self.disk.0.lock();
        if disk.dice.chance(SPONTANEOUS_FLUSHES) {
            self.flush_to(&mut disk);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.flush_to(&mut self.disk.0.lock());
        Ok(())
    }

    fn bytes(&self) -> u64 {
        0
    }

    fn checkpoint(&self, path: &Path) -> io::Result<()> {
        self.flush()?;
        fs::create_dir_all(path)?;
        let records: Vec<Record> = self.memory.read().records().collect();
        fs::write(path.join(CHECKPOINT), codec::seal(&records))
    }

    fn open_checkpoint(&self, path: &Path) -> io::Result<Box<dyn StateDisk>> {
        let records: Vec<Record> =
            codec::unseal("a checkpoint", &fs::read(path.join(CHECKPOINT))?)?;
        let mut memory = Memory::default();
        memory.commit(
            records
                .into_iter()
                .map(|(space, key, value)| ((Space::ALL[usize::from(space)], key), Some(value))),
        );
        Ok(Box::new(self.disk.state(Arc::new(memory))))
    }

    fn successor(&self, _root: &Path, from: &Path) -> io::Result<Box<dyn StateDisk>> {
        let successor = self.open_checkpoint(from)?;
        fs::remove_dir_all(from)?;
        Ok(successor)
    }

    fn make_current(&self, _root: &Path) -> io::Result<()> {
        let mut disk = self.disk.0.lock();
        if disk.life != self.life {
            return Err(ended());
        }
        disk.current_state = self.number;
        self.flush_to(&mut disk);
        Ok(())
    }

    fn discard(&self) {}
}
