//! Sets of paths, as trees.
//!
//! A node is a step that is a member itself, or has members below it, or both. Siblings are
//! sorted, so every operation of the algebra is one walk over both trees.

use std::cmp::Ordering;

use super::element::{Element, Path};

/// A set of paths. The root itself is never a member: nobody owns "the object".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    nodes: Vec<Node>,
}

/// One step. Invariant: it is a member or has children.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) element: Element,
    pub(super) member: bool,
    pub(super) children: Set,
}

static EMPTY: Set = Set { nodes: Vec::new() };

impl Set {
    /// A set of some paths.
    pub fn of(paths: impl IntoIterator<Item = Path>) -> Set {
        let mut set = Set::default();
        for path in paths {
            set.insert(&path.0);
        }
        set
    }

    /// A set of paths of field names.
    pub fn of_names(paths: &[&[&str]]) -> Set {
        Set::of(paths.iter().map(|names| Path::of(names)))
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|node| usize::from(node.member) + node.children.len()).sum()
    }

    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    fn find(&self, element: &Element) -> Result<usize, usize> {
        // Walks insert in order, mostly.
        match self.nodes.last().map(|last| last.element.cmp(element)) {
            None | Some(Ordering::Less) => Err(self.nodes.len()),
            Some(Ordering::Equal) => Ok(self.nodes.len() - 1),
            Some(Ordering::Greater) => {
                self.nodes.binary_search_by(|node| node.element.cmp(element))
            }
        }
    }

    /// Adds one path; the steps on its way do not become members.
    pub fn insert(&mut self, path: &[Element]) {
        let [first, rest @ ..] = path else { return };
        let at = self.find(first).unwrap_or_else(|at| {
            let node = Node { element: first.clone(), member: false, children: Set::default() };
            self.nodes.insert(at, node);
            at
        });
        if rest.is_empty() {
            self.nodes[at].member = true;
        } else {
            self.nodes[at].children.insert(rest);
        }
    }

    /// Adds a step with what is below it.
    pub fn attach(&mut self, element: Element, member: bool, children: Set) {
        if !member && children.is_empty() {
            return;
        }
        match self.find(&element) {
            Ok(at) => {
                let node = &mut self.nodes[at];
                node.member |= member;
                if node.children.is_empty() {
                    node.children = children;
                } else if !children.is_empty() {
                    node.children = node.children.union(&children);
                }
            }
            Err(at) => self.nodes.insert(at, Node { element, member, children }),
        }
    }

    fn node(&self, element: &Element) -> Option<&Node> {
        self.find(element).ok().map(|at| &self.nodes[at])
    }

    /// Whether a single step is a member.
    pub fn has_element(&self, element: &Element) -> bool {
        self.node(element).is_some_and(|node| node.member)
    }

    /// Whether a path is a member.
    pub fn has(&self, path: &[Element]) -> bool {
        match path {
            [] => false,
            [last] => self.has_element(last),
            [first, rest @ ..] => self.below(first).has(rest),
        }
    }

    /// The members below a step.
    pub fn below(&self, element: &Element) -> &Set {
        self.node(element).map_or(&EMPTY, |node| &node.children)
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Set) -> Set {
        self.join(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.member || b.member, a.children.union(&b.children)),
            (Some(only), None) | (None, Some(only)) => (only.member, only.children.clone()),
            (None, None) => (false, Set::default()),
        })
    }

    /// What is in both.
    #[must_use]
    pub fn intersection(&self, other: &Set) -> Set {
        self.join(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.member && b.member, a.children.intersection(&b.children)),
            _ => (false, Set::default()),
        })
    }

    /// What is here and not in the other; members below a member of the other stay.
    #[must_use]
    pub fn difference(&self, other: &Set) -> Set {
        self.join(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => (a.member && !b.member, a.children.difference(&b.children)),
            (Some(a), None) => (a.member, a.children.clone()),
            _ => (false, Set::default()),
        })
    }

    /// What is here and neither in the other nor below a member of it.
    #[must_use]
    pub fn without(&self, other: &Set) -> Set {
        self.join(other, |a, b| match (a, b) {
            (Some(_), Some(b)) if b.member => (false, Set::default()),
            (Some(a), Some(b)) => (a.member, a.children.without(&b.children)),
            (Some(a), None) => (a.member, a.children.clone()),
            _ => (false, Set::default()),
        })
    }

    /// What is here and in the other or below a member of it.
    #[must_use]
    pub fn within(&self, other: &Set) -> Set {
        self.join(other, |a, b| match (a, b) {
            (Some(a), Some(b)) if b.member => (a.member, a.children.clone()),
            (Some(a), Some(b)) => (false, a.children.within(&b.children)),
            _ => (false, Set::default()),
        })
    }

    /// Takes out a step and what is below it; its parents go too if nothing else keeps them.
    pub fn cut(&mut self, path: &[&str]) {
        self.prune(path, |node| {
            node.member = false;
            node.children = Set::default();
        });
    }

    /// Takes out a step, and leaves what is below it.
    pub fn disown(&mut self, path: &[&str]) {
        self.prune(path, |node| node.member = false);
    }

    fn prune(&mut self, path: &[&str], change: fn(&mut Node)) {
        let [first, rest @ ..] = path else { return };
        let known = self.nodes.iter().position(|node| match &node.element {
            Element::Field(name) => name == first,
            _ => false,
        });
        let Some(at) = known else { return };
        let node = &mut self.nodes[at];
        if rest.is_empty() {
            change(node);
        } else {
            node.children.prune(rest, change);
        }
        if !node.member && node.children.is_empty() {
            self.nodes.remove(at);
        }
    }

    /// Walks over both in order and keeps what the function makes of each step.
    fn join(
        &self,
        other: &Set,
        mut keep: impl FnMut(Option<&Node>, Option<&Node>) -> (bool, Set),
    ) -> Set {
        let mut joined = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        let (mut ours, mut theirs) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return Set { nodes: joined },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order == Ordering::Greater { None } else { ours.next() };
            let b = if order == Ordering::Less { None } else { theirs.next() };
            let (member, children) = keep(a, b);
            if let Some(node) = a.or(b)
                && (member || !children.is_empty())
            {
                joined.push(Node { element: node.element.clone(), member, children });
            }
        }
    }

    /// All members; of each step first the members, then what is below them.
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::with_capacity(self.len());
        self.gather(&mut Vec::new(), &mut paths);
        paths
    }

    fn gather(&self, prefix: &mut Vec<Element>, paths: &mut Vec<Path>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            let mut path = prefix.clone();
            path.push(node.element.clone());
            paths.push(Path(path));
        }
        for node in &self.nodes {
            prefix.push(node.element.clone());
            node.children.gather(prefix, paths);
            prefix.pop();
        }
    }
}
