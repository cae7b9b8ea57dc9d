//! Brotli of kept files, made on one thread while nobody waits for anything else.

use std::io::{self, Read, Write};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use brotli::CompressorWriter;
use flate2::read::MultiGzDecoder;

use super::{Cache, File, Work};
use crate::rules::asset::Coding;

/// 9 takes 0.5 s for a 5.6 MB script and makes it a sixth smaller than gzip; 11 takes 10 s for another twentieth.
const QUALITY: u32 = 9;
/// The window, as a power of two: 4 MB, what browsers hold anyway (RFC 7932 allows 16 MB).
const WINDOW: u32 = 22;
/// Between two looks at whether the gateway is idle: a few milliseconds of work.
const PIECE: usize = 64 << 10;
/// Of a file's bytes, in percent, its brotli must be below this.
const WORTH: usize = 97;
/// How long a piece waits while requests are in flight. It does not wait for ever: a site that is never idle gets its brotli with
/// some hundredths of one core.
const PAUSE: Duration = Duration::from_millis(5);
const MOST_PAUSES: u32 = 20;
/// The most that a file may be unpacked: the container's largest script has 19 MB, and what claims more is none of its files.
const LARGEST: u64 = 64 << 20;
/// How often the thread looks whether the cache is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Compresses what is waiting until the cache is gone. Blocks.
pub fn compress(cache: &Weak<Cache>, work: &Work, busy: impl Fn() -> bool) {
    loop {
        let file = match work.worker.recv_timeout(LOOK) {
            Ok(file) => file,
            Err(RecvTimeoutError::Timeout) if cache.strong_count() > 0 => continue,
            Err(_) => return,
        };
        let Some(file) = file.upgrade() else { continue };
        let made = brotli(&file, || {
            for _ in 0..MOST_PAUSES {
                if !busy() {
                    break;
                }
                thread::sleep(PAUSE);
            }
            cache.strong_count() > 0
        });
        let Some(cache) = cache.upgrade() else { return };
        // A file that cannot be unpacked is served as it is: a browser may see more in it. So is one that hardly shrinks: a second
        // copy of it would push out others.
        if let Ok(Some(made)) = made
            && made.len() * 100 < file.bytes.len() * WORTH
        {
            file.has_brotli(made);
            again(&cache, &file);
        }
    }
}

/// Weighs a file again, if it is still there.
fn again(cache: &Cache, file: &Arc<File>) {
    if cache.file(&file.id).is_some() {
        cache.put(file);
    }
}

/// The brotli of a file; `None` when `go_on` says no.
fn brotli(file: &File, go_on: impl Fn() -> bool) -> io::Result<Option<Vec<u8>>> {
    let plain: &mut dyn Read = match file.coding {
        Coding::Gzip => &mut MultiGzDecoder::new(&*file.bytes),
        Coding::Identity | Coding::Brotli => &mut &*file.bytes,
    };
    let mut plain = plain.take(LARGEST + 1);
    let mut packed = CompressorWriter::new(Vec::new(), PIECE, QUALITY, WINDOW);
    let (mut piece, mut unpacked) = (vec![0; PIECE], 0);
    loop {
        if !go_on() {
            return Ok(None);
        }
        let read = plain.read(&mut piece)?;
        if read == 0 {
            break;
        }
        unpacked += read as u64;
        if unpacked > LARGEST {
            return Ok(None);
        }
        packed.write_all(piece.get(..read).unwrap_or_default())?;
    }
    packed.flush()?;
    Ok(Some(packed.into_inner()))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::ops::metrics::Metrics;

    fn file(bytes: Bytes) -> Arc<File> {
        File::new([0; 32], bytes, Coding::Gzip, Arc::new(Metrics::new()))
    }

    fn gzip(plain: &[u8]) -> Arc<File> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(plain).unwrap();
        let bytes = packed.finish().unwrap().into();
        file(bytes)
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        for length in [0, 1, PIECE - 1, PIECE, 3 * PIECE + 5] {
            let plain: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let packed = brotli(&gzip(&plain), || true).unwrap().unwrap();
            let mut unpacked = Vec::new();
            ::brotli::BrotliDecompress(&mut &*packed, &mut unpacked).unwrap();
            assert!(unpacked == plain, "{length}");
        }
    }

    #[test]
    fn rubbish_bombs_and_an_end_of_the_gateway_make_none() {
        assert!(brotli(&file("no gzip".into()), || true).is_err());
        let whole = gzip(&[7; 1_000]);
        let cut = file(whole.bytes.slice(..whole.bytes.len() - 9));
        assert!(brotli(&cut, || true).is_err());
        let bomb = gzip(&vec![0; usize::try_from(LARGEST).unwrap() + 1]);
        assert!(brotli(&bomb, || true).unwrap().is_none());
        assert!(brotli(&bomb, || false).unwrap().is_none());
    }
}
