//! The bytes of one entry, inflated a block at a time and compared with what the directory promised: size, CRC, and that the
//! packed bytes are used up.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::super::{BLOCK, Fault, File};
use super::directory::{Directory, Entry};
use super::{bad, shown};

/// Buffers for one entry after the other.
pub(in crate::document) struct Unpacker {
    input: Box<[u8]>,
    output: Box<[u8]>,
    inflate: Decompress,
}

impl Unpacker {
    pub(in crate::document) fn new() -> Self {
        Self {
            input: vec![0; BLOCK].into_boxed_slice(),
            output: vec![0; BLOCK].into_boxed_slice(),
            inflate: Decompress::new(false),
        }
    }

    /// Reads an entry to its end; `take` gets its bytes before it is known whether they are the right ones.
    pub(in crate::document) fn unpack(
        &mut self,
        file: &mut File<'_>,
        directory: &Directory,
        entry: &Entry,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        let name = || shown(directory.name(entry));
        let mut crc = Crc::new();
        let mut take = |bytes: &[u8]| {
            crc.update(bytes);
            take(bytes);
        };
        if entry.deflated {
            self.inflate(file, entry, &name, &mut take)?;
        } else {
            self.copy(file, entry, &name, &mut take)?;
        }
        if crc.sum() == entry.crc {
            Ok(())
        } else {
            Err(bad(format!("the entry {} has another CRC", name())))
        }
    }

    /// The next packed bytes of an entry of which `done` have been read.
    fn next(
        &mut self,
        file: &mut File<'_>,
        entry: &Entry,
        done: u64,
        name: &dyn Fn() -> String,
    ) -> Result<usize, Fault> {
        file.in_time()?;
        let want = usize::try_from(entry.packed - done).unwrap_or(BLOCK).min(BLOCK);
        let Some(buffer) = self.input.get_mut(..want) else { return Ok(0) };
        if file.read_at(entry.data + done, buffer)? < want {
            return Err(bad(format!("the archive ends within the entry {}", name())));
        }
        Ok(want)
    }

    fn copy(
        &mut self,
        file: &mut File<'_>,
        entry: &Entry,
        name: &dyn Fn() -> String,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        let mut done = 0;
        while done < entry.packed {
            let count = self.next(file, entry, done, name)?;
            take(self.input.get(..count).unwrap_or_default());
            done += count as u64;
        }
        Ok(())
    }

    fn inflate(
        &mut self,
        file: &mut File<'_>,
        entry: &Entry,
        name: &dyn Fn() -> String,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<(), Fault> {
        self.inflate.reset(false);
        let (mut read, mut start, mut end) = (0, 0, 0);
        loop {
            if start == end && read < entry.packed {
                (start, end) = (0, self.next(file, entry, read, name)?);
                read += end as u64;
            }
            file.in_time()?;
            let (before_in, before_out) = (self.inflate.total_in(), self.inflate.total_out());
            let input = self.input.get(start..end).unwrap_or_default();
            let status = self
                .inflate
                .decompress(input, &mut self.output, FlushDecompress::None)
                .map_err(|_| bad(format!("the entry {} does not inflate", name())))?;
            let used = usize::try_from(self.inflate.total_in() - before_in).unwrap_or(0);
            let made = usize::try_from(self.inflate.total_out() - before_out).unwrap_or(0);
            start += used;
            if self.inflate.total_out() > entry.size {
                return Err(bad(format!(
                    "the entry {} inflates to more than its {} bytes",
                    name(),
                    entry.size
                )));
            }
            take(self.output.get(..made).unwrap_or_default());
            match status {
                Status::StreamEnd => break,
                _ if used == 0 && made == 0 && read == entry.packed => {
                    return Err(bad(format!("the entry {} breaks off", name())));
                }
                _ => {}
            }
        }
        if self.inflate.total_out() == entry.size && self.inflate.total_in() == entry.packed {
            Ok(())
        } else {
            Err(bad(format!("the entry {} has another size than the directory says", name())))
        }
    }
}
