//! A piece of config.xml as pfSense's parser sees it: a text, or elements in their order. The order is kept, so that
//! a record which comes back is the record that was taken, to the byte. Not a general JSON value: config.xml knows
//! neither numbers nor truth.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Element {
    /// `<port>1688</port>`; an empty element is the empty text.
    Text(String),
    /// Elements in their order; names are unique.
    Map(Vec<(String, Element)>),
    /// An element that may be repeated, such as `rule` or a separator's `row`.
    List(Vec<Element>),
}

impl Default for Element {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl From<&str> for Element {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl Element {
    pub fn of_texts<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let named = |(name, text): (&str, &str)| (name.to_owned(), text.into());
        Self::Map(pairs.into_iter().map(named).collect())
    }

    /// Returns the element of this name; `None` too where this is no map.
    pub fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Map(pairs) => {
                pairs.iter().find(|(key, _)| key == name).map(|(_, element)| element)
            }
            Self::Text(_) | Self::List(_) => None,
        }
    }

    /// Returns the text of the element of this name; an absent one has none, an empty one an empty text.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.get(name).map(|element| match element {
            Self::Text(text) => text.as_str(),
            Self::Map(_) | Self::List(_) => "",
        })
    }

    /// Returns whether the element of this name is present, be it empty.
    pub fn has_child(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Sets an element in its place, or appends it; an empty text becomes a map with it.
    pub fn set_child(&mut self, name: &str, element: impl Into<Self>) {
        if matches!(self, Self::Text(text) if text.is_empty()) {
            *self = Self::Map(Vec::new());
        }
        if let Self::Map(pairs) = self {
            match pairs.iter_mut().find(|(key, _)| key == name) {
                Some((_, present)) => *present = element.into(),
                None => pairs.push((name.to_owned(), element.into())),
            }
        }
    }

    pub fn remove(&mut self, name: &str) -> bool {
        let Self::Map(pairs) = self else { return false };
        let before = pairs.len();
        pairs.retain(|(key, _)| key != name);
        pairs.len() != before
    }

    /// Says whether it has all of a part: every element of a map, to any depth.
    pub fn has_part(&self, part: &Self) -> bool {
        match (self, part) {
            (Self::Map(_), Self::Map(pairs)) => pairs.iter().all(|(name, element)| {
                self.get(name).is_some_and(|present| present.has_part(element))
            }),
            _ => self.canonical_json() == part.canonical_json(),
        }
    }

    /// Returns its canonical JSON: names sorted by their bytes, no white space. Two elements that differ only in
    /// the order of names have the same.
    pub fn canonical_json(&self) -> String {
        self.sorted_value().to_string()
    }

    fn sorted_value(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => serde_json::Value::String(text.clone()),
            Self::Map(pairs) => {
                let sorted: BTreeMap<&str, serde_json::Value> = pairs
                    .iter()
                    .map(|(key, element)| (key.as_str(), element.sorted_value()))
                    .collect();
                sorted.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            }
            Self::List(items) => items.iter().map(Self::sorted_value).collect(),
        }
    }
}

impl Serialize for Element {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for (key, element) in pairs {
                    map.serialize_entry(key, element)?;
                }
                map.end()
            }
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementVisitor)
    }
}

struct ElementVisitor;

impl<'de> Visitor<'de> for ElementVisitor {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, an object or a list of those")
    }

    fn visit_str<E>(self, text: &str) -> Result<Element, E> {
        Ok(text.into())
    }

    /// PHP's null becomes an empty element when it is written.
    fn visit_unit<E>(self) -> Result<Element, E> {
        Ok(Element::default())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Element, E> {
        Ok(Element::Text(number.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Element, E> {
        Ok(Element::Text(number.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Element, A::Error> {
        let mut pairs: Vec<(String, Element)> = Vec::new();
        while let Some((key, element)) = map.next_entry::<String, Element>()? {
            if pairs.iter().any(|(present, _)| *present == key) {
                return Err(serde::de::Error::custom(format!("{key} occurs twice")));
            }
            pairs.push((key, element));
        }
        Ok(Element::Map(pairs))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Element, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Element::List(items))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_went() {
        let text = r#"{"source":{"any":""},"interface":"wan","descr":"KMS — public","row":["fr3"],"created":{"time":"1"}}"#;
        let element: Element = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&element).unwrap(), text);
        assert_eq!(element.child_text("interface"), Some("wan"));
        assert_eq!(element.child_text("source"), Some(""));
        assert_eq!(element.child_text("disabled"), None);
    }

    #[test]
    fn order_does_not_matter_to_the_canonical_form() {
        let one: Element = serde_json::from_str(r#"{"b":"1","a":{"d":"","c":"2"}}"#).unwrap();
        let other: Element = serde_json::from_str(r#"{"a":{"c":"2","d":""},"b":"1"}"#).unwrap();
        assert_ne!(one, other);
        assert_eq!(one.canonical_json(), other.canonical_json());
        assert_eq!(one.canonical_json(), r#"{"a":{"c":"2","d":""},"b":"1"}"#);
    }

    #[test]
    fn elements_are_set_in_place_and_removed_whole() {
        let mut element = Element::of_texts([("a", "1"), ("b", "2")]);
        element.set_child("a", "3");
        element.set_child("c", "4");
        assert!(element.remove("b") && !element.remove("b"));
        assert_eq!(element, Element::of_texts([("a", "3"), ("c", "4")]));
        let mut empty = Element::default();
        empty.set_child("a", "1");
        assert_eq!(empty, Element::of_texts([("a", "1")]));
    }

    #[test]
    fn what_config_xml_cannot_hold_is_read_as_php_would_write_it_or_refused() {
        assert_eq!(serde_json::from_str::<Element>("null").unwrap(), Element::default());
        assert_eq!(serde_json::from_str::<Element>("7").unwrap(), Element::from("7"));
        assert!(serde_json::from_str::<Element>("true").is_err());
        assert!(serde_json::from_str::<Element>(r#"{"a":"1","a":"2"}"#).is_err());
    }
}
