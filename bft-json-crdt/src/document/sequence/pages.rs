//! A table that only grows, in pages: growth costs one page, whatever is there already, where a `Vec` would copy all of itself and then hold
//! up to as much again in reserve.

use std::ops::{Index, IndexMut};

/// About how many bytes a page takes.
const PAGE_BYTES: usize = 32 * 1024;

/// The table. Items are numbered from 0 in the order of their arrival.
#[derive(Debug, Clone)]
pub(crate) struct Pages<T> {
    /// Invariant: every page but the last is full. The first grows as a `Vec` does, so that small tables stay small.
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Pages<T> {
    /// Binary logarithm of the items in a page.
    const SHIFT: u32 = (PAGE_BYTES / size_of::<T>()).ilog2();
    const PAGE: usize = 1 << Self::SHIFT;

    pub(crate) const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    pub(crate) fn len(&self) -> usize {
        match self.pages.last() {
            None => 0,
            Some(last) => ((self.pages.len() - 1) << Self::SHIFT) + last.len(),
        }
    }

    /// Adds an item and returns its number.
    pub(crate) fn push(&mut self, item: T) -> u32 {
        let number = self.len() as u32;
        match self.pages.last_mut() {
            Some(last) if last.len() < Self::PAGE => last.push(item),
            last => {
                let mut page = Vec::with_capacity(if last.is_some() { Self::PAGE } else { 1 });
                page.push(item);
                self.pages.push(page);
            }
        }
        number
    }

    pub(crate) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.pages.get(number >> Self::SHIFT)?.get(number & (Self::PAGE - 1))
    }

    /// The items in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    /// Bytes held on the heap, spare capacity included, without what items hold themselves.
    pub(crate) fn heap_bytes(&self) -> usize {
        let items: usize = self.pages.iter().map(Vec::capacity).sum();
        items * size_of::<T>() + self.pages.capacity() * size_of::<Vec<T>>()
    }
}

impl<T> Index<u32> for Pages<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        &self.pages[number as usize >> Self::SHIFT][number as usize & (Self::PAGE - 1)]
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        &mut self.pages[number as usize >> Self::SHIFT][number as usize & (Self::PAGE - 1)]
    }
}
