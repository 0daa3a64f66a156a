//! What waits for the collector to come back, in order: on disk, and in memory where there is no disk or it fails.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use crate::spool::{Batch, Spool};

/// What is held in memory at most, in bytes, of one signal.
pub(super) const MOST_IN_MEMORY: usize = 32 << 20;

/// What is on disk is older than what is in memory.
#[derive(Debug)]
pub(super) struct Backlog {
    disk: Option<Spool>,
    memory: Memory,
    /// Where the first batch is, once somebody has looked at it: it makes no room for others.
    held: Option<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Disk,
    Memory,
}

#[derive(Debug)]
struct Memory {
    batches: VecDeque<Batch>,
    items: u64,
    bytes: usize,
    most: usize,
}

impl Backlog {
    pub(super) fn in_memory(most: usize) -> Self {
        let memory = Memory { batches: VecDeque::new(), items: 0, bytes: 0, most };
        Self { disk: None, memory, held: None }
    }

    /// On disk, with what processes before have left there.
    pub(super) fn on_disk(folder: &Path, most: u64) -> io::Result<Self> {
        let disk = Some(Spool::open(folder, most)?);
        Ok(Self { disk, ..Self::in_memory(MOST_IN_MEMORY) })
    }

    /// Takes over what others have left meanwhile: how many items of it are lost, if there was anything. It comes next.
    pub(super) fn adopt(&mut self) -> Option<u64> {
        // What cannot be read now is there the next time.
        let (found, lost) = self.disk.as_mut()?.adopt().ok()?;
        (found > 0 || lost > 0).then_some(lost)
    }

    /// Lets go what is over the cap after that: how many items.
    pub(super) fn trim(&mut self) -> u64 {
        self.disk.as_mut().map_or(0, Spool::trim)
    }

    /// Puts `batch` at the end. Answers how many items had to go for it, the oldest first.
    pub(super) fn push(&mut self, batch: Batch) -> u64 {
        self.memory.push(batch);
        let evicted = self.spill();
        evicted + self.memory.make_room(self.held == Some(Place::Memory))
    }

    /// The oldest one; it stays, and makes no room for others, until it is popped. `None` also while it cannot be read.
    pub(super) fn front(&mut self) -> Option<Batch> {
        if let Some(disk) = &mut self.disk {
            let front = disk.front();
            if front.is_some() || disk.items() > 0 {
                self.held = front.is_some().then_some(Place::Disk);
                return front;
            }
        }
        let front = self.memory.batches.front().cloned();
        self.held = front.is_some().then_some(Place::Memory);
        front
    }

    /// Removes what [`front`](Self::front) has shown.
    pub(super) fn pop(&mut self) {
        match (self.held.take(), &mut self.disk) {
            (Some(Place::Disk), Some(disk)) => disk.pop(),
            (Some(Place::Memory), _) => drop(self.memory.remove(0)),
            _ => {}
        }
    }

    pub(super) fn items(&self) -> u64 {
        self.disk.as_ref().map_or(0, Spool::items) + self.memory.items
    }

    /// How many of the items outlive this process.
    pub(super) fn safe(&self) -> u64 {
        self.disk.as_ref().map_or(0, |disk| disk.items() - disk.loose())
    }

    /// Whether it is there for longer than this process, all of it that there is room for.
    pub(super) fn is_safe(&self) -> bool {
        self.disk.is_some() && self.memory.items == 0
    }

    /// How many items could not be read since this was last asked.
    pub(super) fn take_corrupt(&mut self) -> u64 {
        self.disk.as_mut().map_or(0, Spool::take_corrupt)
    }

    /// Gets to disk what it can, whatever it has to overtake: how many items had to go for that, and how many end with
    /// this process.
    pub(super) fn close(&mut self) -> (u64, u64) {
        self.held = self.held.filter(|held| *held == Place::Disk);
        let mut evicted = 0;
        let mut left = VecDeque::new();
        loop {
            evicted += self.spill();
            let Some(refused) = self.memory.remove(0) else { break };
            left.push_back(refused);
        }
        left.into_iter().for_each(|batch| self.memory.push(batch));
        // What is shown has made room, perhaps just now.
        evicted += self.disk.as_mut().map_or(0, Spool::let_go);
        (evicted, self.memory.items)
    }

    fn spill(&mut self) -> u64 {
        let Some(disk) = &mut self.disk else { return 0 };
        let mut evicted = 0;
        while self.held != Some(Place::Memory)
            && let Some(first) = self.memory.batches.front()
        {
            // A disk that is full, or a batch that no disk would take: memory has it, and what comes later stays behind it.
            let Ok(went) = disk.push(first) else { break };
            evicted += went;
            self.memory.remove(0);
        }
        evicted
    }
}

impl Memory {
    fn push(&mut self, batch: Batch) {
        self.items += batch.items;
        self.bytes += batch.payload.len();
        self.batches.push_back(batch);
    }

    fn remove(&mut self, index: usize) -> Option<Batch> {
        let batch = self.batches.remove(index)?;
        self.items -= batch.items;
        self.bytes -= batch.payload.len();
        Some(batch)
    }

    fn make_room(&mut self, held: bool) -> u64 {
        let mut evicted = 0;
        while self.bytes > self.most
            && let Some(oldest) = self.remove(usize::from(held))
        {
            evicted += oldest.items;
        }
        evicted
    }
}
