//! Copies for the archive on disk: names beside the save's own for the same bytes, so that a copy costs nothing until the save
//! is settled, and each is let go without asking the other.
//!
//! ```text
//! <directory>/archive/<id>/record    hard links to what lies in `saves/<id>`
//! <directory>/archive/<id>/document
//! ```
//!
//! Order: links in `incoming`, fsync of their folder, rename to `archive`, fsync of `archive`; the save's own name goes after
//! that. A crash leaves the save as it was, or the copy as well.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::{Record, Role, Spool, Step, absent_is_fine, folder_name, ids_in, read_checked};
use crate::rules::save::Id;

/// A copy found on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// The save's number.
    pub id: Id,
    /// The document's length.
    pub bytes: u64,
    /// Whether the save still holds the document, too.
    pub shared: bool,
}

impl Spool {
    /// Keeps a save's document for the archive. `None`: there is none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn copy(&self, id: Id) -> io::Result<Option<Kept>> {
        let folder = self.copy_folder(id);
        let from = self.folder(id);
        if !folder.exists() {
            if !self.document(id, Role::Document).exists() {
                return Ok(None);
            }
            self.prepare()?;
            self.disk.before(Step::Create)?;
            let draft = self.root.join("incoming").join(format!("copy-{}", folder_name(id)));
            fs::remove_dir_all(&draft).or_else(absent_is_fine)?;
            fs::create_dir_all(&draft)?;
            for name in ["record", Role::Document.name()] {
                fs::hard_link(from.join(name), draft.join(name))?;
            }
            self.sync(&draft)?;
            self.disk.before(Step::Rename)?;
            fs::rename(&draft, &folder)?;
            self.sync(&self.root.join("archive"))?;
        }
        self.kept_copy(id).map(Some)
    }

    /// Copies that wait, oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn copies(&self) -> io::Result<Vec<Kept>> {
        let ids =
            ids_in(&self.root.join("archive")).or_else(|error| absent_is_fine(error).map(|()| Vec::new()))?;
        Ok(ids.into_iter().filter_map(|id| self.kept_copy(id).ok()).collect())
    }

    fn kept_copy(&self, id: Id) -> io::Result<Kept> {
        let bytes = fs::metadata(self.copied(id))?.len();
        Ok(Kept { id, bytes, shared: self.document(id, Role::Document).exists() })
    }

    /// What came with a copied save.
    ///
    /// # Errors
    /// When it is not there or its checksum does not hold.
    pub fn copy_record(&self, id: Id) -> io::Result<Record> {
        read_checked(&self.copy_folder(id).join("record"))
    }

    /// Where a copied document lies.
    pub fn copied(&self, id: Id) -> PathBuf {
        self.copy_folder(id).join(Role::Document.name())
    }

    /// Lets a copy go.
    ///
    /// # Errors
    /// What the disk says.
    pub fn forget_copy(&self, id: Id) -> io::Result<()> {
        fs::remove_dir_all(self.copy_folder(id)).or_else(absent_is_fine)
    }

    fn copy_folder(&self, id: Id) -> PathBuf {
        self.root.join("archive").join(folder_name(id))
    }
}
