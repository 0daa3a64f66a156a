//! How high what things stand in is stacked.

use std::collections::HashMap;

use super::entity::{Entity, EntityRef};

/// How many things may stand in each other, one in the next.
pub(super) const MAX_STEPS: usize = 16;

/// What is wrong with what things stand in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stacked {
    InItself,
    TooHigh,
}

/// Whether nothing stands in itself and no way up from `names` is longer than [`MAX_STEPS`], whichever of several is taken. A walk
/// outwards takes the shortest, and Cedar goes each of them, by recursion. `thing` is what is known of a name, and of what is not
/// `counted` nothing is known.
pub(super) fn check<'a>(
    names: impl Iterator<Item = &'a EntityRef>,
    thing: impl Fn(&EntityRef) -> Option<&'a Entity>,
    counted: impl Fn(&EntityRef) -> bool,
) -> Result<(), Stacked> {
    // `None` is one that is still on the way.
    let mut known: HashMap<&EntityRef, Option<usize>> = HashMap::new();
    let mut is_too_high = false;
    let mut way: Vec<Step<'a>> = Vec::new();
    for name in names {
        if known.contains_key(name) {
            continue;
        }
        known.insert(name, None);
        way.push(Step::new(name, thing(name)));
        while let Some(step) = way.last_mut() {
            let Some((parent, rest)) = step.parents.split_first() else {
                let (name, height) = (step.name, step.height);
                known.insert(name, Some(height));
                is_too_high |= height > MAX_STEPS;
                way.pop();
                if let Some(below) = way.last_mut() {
                    below.height = below.height.max(height + 1);
                }
                continue;
            };
            step.parents = rest;
            if !counted(parent) {
                continue;
            }
            match known.get(parent) {
                Some(None) => return Err(Stacked::InItself),
                Some(Some(height)) => step.height = step.height.max(height + 1),
                None => {
                    known.insert(parent, None);
                    way.push(Step::new(parent, thing(parent)));
                }
            }
        }
    }
    if is_too_high { Err(Stacked::TooHigh) } else { Ok(()) }
}

/// One thing on the way up.
struct Step<'a> {
    name: &'a EntityRef,
    /// Those that were not gone yet.
    parents: &'a [EntityRef],
    /// By those that were.
    height: usize,
}

impl<'a> Step<'a> {
    fn new(name: &'a EntityRef, thing: Option<&'a Entity>) -> Self {
        Self { name, parents: thing.map_or(&[], Entity::parents), height: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> EntityRef {
        EntityRef::new("Folder", number.to_string())
    }

    fn checked(edges: &[(usize, usize)]) -> Result<(), Stacked> {
        let mut things: HashMap<EntityRef, Entity> = HashMap::new();
        for (from, to) in edges {
            let thing = things.remove(&name(*from)).unwrap_or_else(|| Entity::named(name(*from)));
            things.insert(name(*from), thing.parent(name(*to)));
        }
        let mut names: Vec<_> = things.keys().collect();
        names.sort_unstable();
        check(names.into_iter(), |name| things.get(name), |name| name.kind() == "Folder")
    }

    #[test]
    fn the_longest_way_up_counts_and_not_the_shortest() {
        let chain = |length: usize| (0..length).map(|at| (at, at + 1)).collect::<Vec<_>>();
        assert_eq!(checked(&chain(16)), Ok(()));
        assert_eq!(checked(&chain(17)), Err(Stacked::TooHigh));
        assert_eq!(checked(&chain(200_000)), Err(Stacked::TooHigh));
        // A short cut makes it no shorter.
        let with_short_cuts = |length: usize| [chain(length), (1..length).map(|to| (0, to)).collect()].concat();
        assert_eq!(checked(&with_short_cuts(16)), Ok(()));
        assert_eq!(checked(&with_short_cuts(17)), Err(Stacked::TooHigh));
        // However many ways there are.
        let layers = |count: usize| {
            let edges = (0..count).flat_map(|at| (0..64).map(move |edge| (at * 8 + edge / 8, at * 8 + 8 + edge % 8)));
            edges.collect::<Vec<_>>()
        };
        assert_eq!(checked(&layers(16)), Ok(()));
        assert_eq!(checked(&layers(17)), Err(Stacked::TooHigh));
    }

    #[test]
    fn what_stands_in_itself_is_told_before_what_is_too_high() {
        for edges in [&[(0, 0)][..], &[(0, 1), (1, 0)], &[(0, 1), (1, 2), (2, 3), (3, 1)]] {
            assert_eq!(checked(edges), Err(Stacked::InItself), "{edges:?}");
            let high = (100..120).map(|at| (at, at + 1));
            assert_eq!(checked(&edges.iter().copied().chain(high).collect::<Vec<_>>()), Err(Stacked::InItself));
        }
        assert_eq!(checked(&[(0, 1), (0, 2), (1, 3), (2, 3)]), Ok(()), "two ways to one thing");
    }
}
