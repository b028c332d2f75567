//! Names of destinations, and texts of statements, that are sent as numbers.
use std::collections::{HashMap, VecDeque};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::fast::RandomState;
use smol_str::SmolStr;

use crate::protocol::Id;
use crate::protocol::call::{Call, Query, Text};
use crate::protocol::message::{Detail, Message};

/// Names that are remembered. Half of what a table of 8192 places holds.
const MAX_NAMES: usize = 3584;

/// Names by number, the oldest of which is forgotten first.
#[derive(Debug, Default)]
pub(super) struct Topics {
    names: HashMap<Id, SmolStr, RandomState>,
    order: VecDeque<Id>,
}

impl Topics {
    /// A number stands for a name.
    pub(super) fn named(&mut self, id: Id, name: SmolStr) {
        if self.names.insert(id, name).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MAX_NAMES
            && let Some(oldest) = self.order.pop_front()
        {
            self.names.remove(&oldest);
        }
    }

    /// Gives a message the name of its destination; where none is known, the number as Kafka's tools show it.
    pub(super) fn name(&self, message: &mut Message) {
        let Some(id) = message.content.topic.filter(|_| message.destination.is_empty()) else {
            return;
        };
        match self.names.get(&id) {
            Some(name) => message.destination = name.clone(),
            None => {
                let shown = Detail::Text(shown(id));
                message.content.details.push(("clew.messaging.kafka.topic.id", shown));
            }
        }
    }

    /// Gives a statement its text, where it was prepared on another connection.
    pub(super) fn recall(&self, call: &mut Call) {
        if let Query::Sql(statement) = &mut call.query
            && let Some(text) = statement.id.and_then(|id| self.names.get(&id))
        {
            statement.text = Some(Text {
                text: text.as_str().into(),
                cut: false,
            });
        }
    }
}

/// A number in base 64.
fn shown(id: Id) -> SmolStr {
    URL_SAFE_NO_PAD.encode(id).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_the_tools_of_kafka_do() {
        assert_eq!(shown(Id::default()), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(
            shown(0x3dc3_ce20_072b_4a4d_bdbe_e13f_80c9_2bb7_u128.to_be_bytes()),
            "PcPOIAcrSk29vuE_gMkrtw"
        );
    }

    #[test]
    fn the_oldest_name_is_forgotten() {
        let mut topics = Topics::default();
        for id in (0..=MAX_NAMES as u128).map(u128::to_be_bytes) {
            topics.named(id, "name".into());
            topics.named(id, "name".into());
        }
        assert_eq!((topics.names.len(), topics.order.len()), (MAX_NAMES, MAX_NAMES));
        assert!(!topics.names.contains_key(&Id::default()));
    }
}
