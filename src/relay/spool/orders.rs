//! What operators want of a save, as files that name it: `saves retry` and `saves discard` work beside a running gateway.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use super::{Id, Spool, folder_name};

impl Spool {
    /// What operators want. An order stays until it is [taken](Spool::take_order).
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn orders(&self) -> io::Result<Vec<(String, Id)>> {
        let mut orders = Vec::new();
        for entry in fs::read_dir(self.root.join("orders"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let order = name
                .split_once('-')
                .and_then(|(verb, id)| Some((verb.to_owned(), Id(u64::from_str_radix(id, 16).ok()?))));
            orders.extend(order);
        }
        Ok(orders)
    }

    /// Takes an order away. What cannot be taken away must not be carried out either: it would be every second.
    ///
    /// # Errors
    /// What the disk says.
    pub fn take_order(&self, verb: &str, id: Id) -> io::Result<()> {
        fs::remove_file(self.order_file(verb, id))
    }

    fn order_file(&self, verb: &str, id: Id) -> PathBuf {
        self.root.join("orders").join(format!("{verb}-{}", folder_name(id)))
    }

    /// Leaves an order for the gateway that owns the directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn order(&self, verb: &str, id: Id) -> io::Result<()> {
        File::create(self.order_file(verb, id)).map(drop)
    }
}
