//! What reading from a map or list yields: a node to look at, or one to write to.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::node::CrdtNode;
use super::place::Place;

/// A node within a map or list, to look at.
pub struct Ref<'a, T>(Looked<'a, T>);

enum Looked<'a, T> {
    Draft(&'a T),
    Handle(T, PhantomData<&'a T>),
}

impl<'a, T> Ref<'a, T> {
    pub(crate) fn draft(node: &'a T) -> Self {
        Self(Looked::Draft(node))
    }

    pub(crate) fn handle(node: T) -> Self {
        Self(Looked::Handle(node, PhantomData))
    }
}

impl<T> Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Looked::Draft(node) => node,
            Looked::Handle(node, _) => node,
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A node within a map or list, to write to. Fields that were assigned are written when it is dropped.
pub struct Mut<'a, T: CrdtNode>(Held<'a, T>);

enum Held<'a, T> {
    Draft(&'a mut T),
    Handle { node: T, place: Place, ensure: bool },
}

impl<'a, T: CrdtNode> Mut<'a, T> {
    pub(crate) fn draft(node: &'a mut T) -> Self {
        Self(Held::Draft(node))
    }

    /// `ensure`: make the node present, though empty, if nothing was written by the time it is dropped.
    pub(crate) fn owned(node: T, place: Place, ensure: bool) -> Self {
        Self(Held::Handle { node, place, ensure })
    }
}

impl<T: CrdtNode> Deref for Mut<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Held::Draft(node) => node,
            Held::Handle { node, .. } => node,
        }
    }
}

impl<T: CrdtNode> DerefMut for Mut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Held::Draft(node) => node,
            Held::Handle { node, .. } => node,
        }
    }
}

impl<T: CrdtNode> Drop for Mut<'_, T> {
    fn drop(&mut self) {
        if let Held::Handle { node, place, ensure } = &mut self.0
            && place.session().is_writing()
        {
            node.settle(place);
            if *ensure && !place.is_present() {
                place.ensure();
            }
        }
    }
}

impl<T: CrdtNode + fmt::Debug> fmt::Debug for Mut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
