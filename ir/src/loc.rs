//! Where an op came from: locations survive every pass, so that anything said about an op can use
//! the source model's own names.

use indexmap::IndexSet;

/// Index of a location in a module's [`LocTable`]; 0 is "unknown".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, PartialOrd, Ord)]
pub struct LocId(pub u32);

/// An op's origin.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Loc {
    /// Nothing is known.
    Unknown,
    /// A node of the source model: its name there, and its index in that file's order.
    Node { name: String, index: Option<u32> },
    /// Made by `pass` out of several ops.
    Fused { pass: String, from: Vec<LocId> },
}

/// All locations of a module; equal locations share an id.
#[derive(Clone, Debug)]
pub struct LocTable {
    locs: IndexSet<Loc>,
}

impl Default for LocTable {
    fn default() -> Self {
        LocTable { locs: IndexSet::from([Loc::Unknown]) }
    }
}

impl LocTable {
    /// The id of `loc`, added if new.
    pub fn add(&mut self, loc: Loc) -> LocId {
        LocId(self.locs.insert_full(loc).0 as u32)
    }
    /// A node of the source model.
    pub fn node(&mut self, name: &str, index: Option<u32>) -> LocId {
        self.add(Loc::Node { name: name.to_string(), index })
    }
    /// The location of an op that `pass` made from ops at `from`. One distinct origin stays itself.
    pub fn fused(&mut self, pass: &str, from: &[LocId]) -> LocId {
        let mut origins: Vec<LocId> = Vec::new();
        for &id in from {
            match self.get(id) {
                Loc::Unknown => {}
                _ if origins.contains(&id) => {}
                _ => origins.push(id),
            }
        }
        match origins.as_slice() {
            [] => LocId(0),
            [one] => *one,
            _ => self.add(Loc::Fused { pass: pass.to_string(), from: origins }),
        }
    }
    /// The location behind `id`; unknown if there is none.
    pub fn get(&self, id: LocId) -> &Loc {
        self.locs.get_index(id.0 as usize).unwrap_or(&Loc::Unknown)
    }
    /// For people: the node's name, or the names it was fused from.
    pub fn describe(&self, id: LocId) -> String {
        match self.get(id) {
            Loc::Unknown => "<unknown>".to_string(),
            Loc::Node { name, .. } => name.clone(),
            Loc::Fused { from, .. } => {
                from.iter().map(|&l| self.describe(l)).collect::<Vec<_>>().join(" + ")
            }
        }
    }
    /// The first source node's index in its file, if known.
    pub fn node_index(&self, id: LocId) -> Option<u32> {
        match self.get(id) {
            Loc::Unknown => None,
            Loc::Node { index, .. } => *index,
            Loc::Fused { from, .. } => from.iter().find_map(|&l| self.node_index(l)),
        }
    }
}
