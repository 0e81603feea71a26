//! A few short texts in one piece of memory: a cluster has as many of these as it has objects.

use kontiki_api::selector;

/// What is between two texts. No label and no field that is selected by holds it: their letters
/// are validated.
const END: char = '\0';

/// Texts by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed(Box<str>);

impl Packed {
    /// Packs texts.
    pub fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Packed {
        let mut packed = String::new();
        for text in texts {
            match text.contains(END) {
                true => packed.push_str(&text.replace(END, "")),
                false => packed.push_str(text),
            }
            packed.push(END);
        }
        Packed(packed.into())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator(END)
    }

    /// The text of a place.
    pub fn get(&self, place: usize) -> Option<&str> {
        self.iter().nth(place)
    }
}

/// Labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(Packed);

impl Pairs {
    /// Packs keys with their values.
    pub fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Pairs {
        Pairs(Packed::of(pairs.flat_map(|(key, value)| [key, value])))
    }

    /// All keys with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut texts = self.0.iter();
        std::iter::from_fn(move || Some((texts.next()?, texts.next()?)))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }
}

impl selector::Labels for Pairs {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use selector::Labels;

    use super::*;

    #[test]
    fn texts_come_back_as_they_went_in() {
        let texts = ["", "a", "", "bc", ""];
        let packed = Packed::of(texts.into_iter());
        assert_eq!(packed.iter().collect::<Vec<_>>(), texts);
        assert_eq!((packed.get(3), packed.get(4), packed.get(5)), (Some("bc"), Some(""), None));
        assert_eq!(Packed::default().get(0), None);
        assert_eq!(Packed::of(["a\0b", "c"].into_iter()).get(1), Some("c"));
    }

    #[test]
    fn labels_are_found_by_their_keys() {
        let labels = Pairs::of([("a", "b"), ("b", ""), ("c", "a")].into_iter());
        let found = ["a", "b", "c", ""].map(|key| labels.label(key));
        assert_eq!(found, [Some("b"), Some(""), Some("a"), None]);
        assert!(!labels.is_empty());
        assert!(Pairs::of([].into_iter()).is_empty());
    }
}
