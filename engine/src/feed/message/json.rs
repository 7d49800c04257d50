//! Forms that serde does not read by itself: what may be a number or a text, an object or an array.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{ENTRIES_MAX, Entry, Params, Ttl};

/// What is in a text that begins as JSON; of more than [`ENTRIES_MAX`] one more.
pub(super) fn entries(text: &str) -> serde_json::Result<Vec<Entry>> {
    if text.starts_with('[') {
        return serde_json::from_str::<List>(text).map(|List(entries)| entries);
    }
    serde_json::from_str::<Element>(text).map(|Element(entry)| vec![entry])
}

struct List(Vec<Entry>);

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = List;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of addresses and objects")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List, A::Error> {
                let mut entries = Vec::new();
                while entries.len() <= ENTRIES_MAX {
                    let Some(Element(entry)) = seq.next_element()? else { return Ok(List(entries)) };
                    entries.push(entry);
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(List(entries))
            }
        }

        deserializer.deserialize_seq(Form)
    }
}

struct Element(Entry);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Element;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address such as \"203.0.113.7\", or an object such as {\"ip\":\"203.0.113.7\"}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Element, E> {
                Ok(Element(Entry::address(text)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
                Entry::deserialize(MapAccessDeserializer::new(map)).map(Element)
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl Visitor<'_> for Form {
            type Value = Ttl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds, or a time such as \"15m\" or \"forever\"")
            }

            fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Ttl, E> {
                Ok(Ttl::Seconds(seconds))
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Ttl, E> {
                Ok(Ttl::Other(seconds.to_string()))
            }

            fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Ttl, E> {
                Ok(Ttl::Other(seconds.to_string()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Ttl, E> {
                Ok(Ttl::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Form)
    }
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;

        impl<'de> Visitor<'de> for Form {
            type Value = Params;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event's params, such as {\"ip\":\"203.0.113.7\"}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params, A::Error> {
                let mut params = Params::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "ip" if params.ip.is_some() => return Err(de::Error::duplicate_field("ip")),
                        "ip" => params.ip = Some(map.next_value()?),
                        "ttl" => params.ttl = Some(map.next_value()?),
                        "reason" => params.reason = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(params)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Params, A::Error> {
                let (ip, ttl, reason) = (seq.next_element()?, seq.next_element()?, seq.next_element()?);
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Params { ip, ttl, reason })
            }
        }

        deserializer.deserialize_any(Form)
    }
}
