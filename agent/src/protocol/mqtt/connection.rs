//! One connection: what is on its way in each direction, and what is to be acknowledged.
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use smol_str::{SmolStr, format_smolstr};

use super::packet::{self, Acknowledged, Publish};
use super::reader::{Packet, Read, Reader};
use crate::capture::{Direction, Moment};
use crate::protocol::call::Failure;
use crate::protocol::handled::Handled;
use crate::protocol::message::{Content as Known, Detail, Message, Outcome, Settled, Side};
use crate::protocol::{Broken, Exchange, Flow, Mark, Parser, Start, Step};
use crate::stream::{Content, Piece};

const SYSTEM: &str = "mqtt";
/// Aliases of topics that are remembered, and bytes of these topics.
const MAX_ALIASES: usize = 4096;
const MAX_ALIAS_BYTES: usize = 256 * 1024;
/// Offences against the protocol before it is called a wrong guess.
const MAX_STRIKES: u32 = 8;
/// Acknowledgements that came before their message and are kept, and how long, nanoseconds: threads report within microseconds of
/// each other.
const MAX_EARLY: usize = 64;
const EARLY_NS: u64 = 200_000_000;
/// Reasons from here on are failures (5.0, section 2.4).
const FAILED: u8 = 0x80;

/// A connection.
pub(super) struct Mqtt {
    handled: Handled,
    /// The way of what the client says, once it is known.
    client: Option<Direction>,
    version: Option<u8>,
    /// What the client calls itself.
    name: SmolStr,
    fresh: bool,
    recognized: Direction,
    ingress: Option<Box<Reader>>,
    egress: Option<Box<Reader>>,
    /// Topics by who made an alias for them, and the alias.
    aliases: HashMap<(Side, u16), SmolStr, RandomState>,
    /// Bytes of these topics.
    alias_bytes: usize,
    /// What is to be acknowledged, by who sent it and its identifier.
    waiting: HashMap<(Side, u16), Waiting, RandomState>,
    early: VecDeque<Early>,
    strikes: u32,
}

#[derive(Debug)]
struct Waiting {
    exchange: Exchange,
    /// Its own last byte.
    end: Mark,
    qos: u8,
}

/// An acknowledgement that came before its message.
#[derive(Debug)]
struct Early {
    /// Whose message it is of.
    of: Side,
    kind: u8,
    said: Acknowledged,
    begin: Moment,
    end: Mark,
}

impl Mqtt {
    pub(super) fn new(start: &Start) -> Self {
        let begins = start.bytes.first().is_some_and(|first| first >> 4 == packet::CONNECT);
        Self {
            handled: Handled::new(start),
            client: begins.then_some(start.direction),
            version: None,
            name: SmolStr::default(),
            fresh: start.from_beginning || begins,
            recognized: start.direction,
            ingress: None,
            egress: None,
            aliases: HashMap::default(),
            alias_bytes: 0,
            waiting: HashMap::default(),
            early: VecDeque::new(),
            strikes: 0,
        }
    }

    const fn reader(&mut self, direction: Direction) -> &mut Option<Box<Reader>> {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    fn take_reader(&mut self, direction: Direction, at: Mark) -> Box<Reader> {
        let begins = direction == self.recognized || (self.fresh && at.offset == 0);
        self.reader(direction)
            .take()
            .unwrap_or_else(|| Box::new(Reader::new(begins)))
    }

    fn bytes(&mut self, direction: Direction, bytes: &[u8], at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut reader = self.take_reader(direction, at);
        let mut flow = Flow::Continue;
        let mut taken = 0_usize;
        while taken < bytes.len() && flow == Flow::Continue {
            let lost = reader.is_lost();
            let (more, read) = reader.read(bytes.get(taken..).unwrap_or_default(), at.behind(taken as u64));
            taken = taken.saturating_add(more);
            let right = self.event(direction, &read, out);
            let is_packet = matches!(read, Read::Packet(_));
            match read {
                Read::Hopeless => flow = self.reject(at, out),
                Read::Invalid => flow = self.offended(direction, at, out),
                _ if !right => {
                    reader.distrust(at);
                    flow = self.offended(direction, at, out);
                }
                _ if lost && is_packet => out.push(Step::Count("protocol.mqtt.resync")),
                _ => {}
            }
        }
        *self.reader(direction) = Some(reader);
        flow
    }

    fn hole(&mut self, direction: Direction, length: u64, at: Mark, out: &mut Vec<Step>) -> Flow {
        let mut reader = self.take_reader(direction, at);
        let read = reader.hole(length, at);
        let mut flow = Flow::Continue;
        if matches!(read, Read::Lost) {
            self.lost(direction, at, out);
        } else if !self.event(direction, &read, out) {
            reader.distrust(at);
            flow = self.offended(direction, at, out);
        }
        *self.reader(direction) = Some(reader);
        flow
    }

    /// Something was read. Whether it follows the protocol.
    fn event(&mut self, direction: Direction, read: &Read<'_>, out: &mut Vec<Step>) -> bool {
        let Read::Packet(packet) = read else { return true };
        let kind = packet.first >> 4;
        let by = match kind {
            packet::CONNECT | packet::SUBSCRIBE | packet::UNSUBSCRIBE | packet::PINGREQ => Some(Side::Client),
            packet::CONNACK | packet::SUBACK | packet::UNSUBACK | packet::PINGRESP => Some(Side::Server),
            _ => None,
        };
        if let Some(by) = by {
            let client = if by == Side::Client {
                direction
            } else {
                direction.flip()
            };
            if *self.client.get_or_insert(client) != client {
                return false;
            }
        }
        match kind {
            packet::CONNECT => match packet::connect(packet.content) {
                Some((version, name)) => {
                    self.version = Some(version);
                    self.name = name;
                    true
                }
                None => !packet.is_whole(),
            },
            packet::CONNACK => {
                // Properties follow in version 5.
                self.version.get_or_insert(if packet.length > 2 { 5 } else { 4 });
                true
            }
            packet::PUBLISH => self.published(direction, packet, out),
            packet::PUBACK | packet::PUBREC | packet::PUBREL | packet::PUBCOMP => {
                if packet.length > 2 {
                    self.version.get_or_insert(5);
                }
                match packet::acknowledged(packet.content) {
                    Some(said) => self.acknowledged(direction, kind, said, packet, out),
                    None if packet.is_whole() => return false,
                    None => {}
                }
                true
            }
            _ => true,
        }
    }

    fn side(&self, direction: Direction) -> Option<Side> {
        let client = self.client?;
        Some(if direction == client {
            Side::Client
        } else {
            Side::Server
        })
    }

    fn published(&mut self, direction: Direction, packet: &Packet<'_>, out: &mut Vec<Step>) -> bool {
        let told = packet::publish(packet.first, packet.content, packet.length, &mut self.version);
        let Some(told) = told else {
            // It may be what was not seen.
            if !packet.is_whole() {
                out.push(Step::Count("protocol.mqtt.cut"));
            }
            return !packet.is_whole();
        };
        let (Some(side), Some(client)) = (self.side(direction), self.client) else {
            out.push(Step::Count("protocol.mqtt.side_unknown"));
            return true;
        };
        let (qos, id) = (told.qos, told.id);
        let message = self.message(side, told, out);
        let exchange = self.handled.whole(message, client, packet.begin, packet.end, out);
        if qos == 0 {
            self.handled.unsettled(exchange, packet.end, out);
            return true;
        }
        // What is sent again under its identifier takes the place of what was.
        if let Some(before) = self.waiting.remove(&(side, id)) {
            self.handled.unsettled(before.exchange, before.end, out);
        }
        if self.handled.is_full() {
            out.push(Step::Count("protocol.mqtt.unsettled_full"));
            self.handled.unsettled(exchange, packet.end, out);
            return true;
        }
        let end = packet.end;
        self.waiting.insert((side, id), Waiting { exchange, end, qos });
        self.forget_early(packet.end.moment);
        while let Some(place) = self.early.iter().position(|one| one.of == side && one.said.id == id)
            && let Some(early) = self.early.remove(place)
        {
            self.settle(side, early.kind, &early.said, early.begin, early.end, out);
        }
        true
    }

    /// The message, which is made where it stays.
    fn message(&mut self, side: Side, told: Publish, out: &mut Vec<Step>) -> Box<Message> {
        let topic = match told.properties.alias {
            Some(alias) if told.topic.is_empty() => self.aliases.get(&(side, alias)).cloned().unwrap_or_default(),
            Some(alias) => {
                self.alias((side, alias), &told.topic, out);
                told.topic
            }
            None => told.topic,
        };
        let (action, operation) = side.passes();
        let mut message = Box::new(Message {
            system: SYSTEM,
            action,
            operation,
            destination: topic,
            is_temporary: false,
            content: Known {
                bytes: told.bytes,
                conversation: told.properties.correlation,
                headers: told.properties.user,
                ..Known::default()
            },
        });
        let content = &mut message.content;
        if !message.destination.is_empty() {
            let identity = content.recognized_by(SYSTEM, &message.destination);
            content.identities.extend(identity);
        }
        if !self.name.is_empty() {
            content
                .details
                .push(("messaging.client.id", Detail::Text(self.name.clone())));
        }
        content
            .details
            .push(("clew.messaging.mqtt.qos", Detail::Number(told.qos.into())));
        let marks = [
            ("clew.messaging.mqtt.retained", told.retained),
            ("clew.messaging.redelivered", told.repeated),
        ];
        let marks = marks.into_iter().filter(|(_, is)| *is);
        content.details.extend(marks.map(|(key, is)| (key, Detail::Is(is))));
        message
    }

    /// An alias stands for a topic from here on.
    fn alias(&mut self, alias: (Side, u16), topic: &SmolStr, out: &mut Vec<Step>) {
        let before = self.aliases.remove(&alias).map_or(0, |topic| topic.len());
        self.alias_bytes = self.alias_bytes.saturating_sub(before);
        let bytes = self.alias_bytes.saturating_add(topic.len());
        if self.aliases.len() >= MAX_ALIASES || bytes > MAX_ALIAS_BYTES {
            out.push(Step::Count("protocol.mqtt.aliases_full"));
            return;
        }
        self.alias_bytes = bytes;
        self.aliases.insert(alias, topic.clone());
    }

    fn acknowledged(
        &mut self,
        direction: Direction,
        kind: u8,
        said: Acknowledged,
        packet: &Packet<'_>,
        out: &mut Vec<Step>,
    ) {
        let Some(side) = self.side(direction) else { return };
        // Whoever sent the message releases it.
        let of = if kind == packet::PUBREL { return } else { side.other() };
        let (begin, end) = (packet.begin.moment, packet.end);
        if self.settle(of, kind, &said, begin, end, out) {
            return;
        }
        self.forget_early(end.moment);
        if self.early.len() >= MAX_EARLY {
            self.early.pop_front();
        }
        self.early.push_back(Early {
            of,
            kind,
            said,
            begin,
            end,
        });
    }

    fn forget_early(&mut self, now: Moment) {
        let now_ns = now.time_ns;
        self.early
            .retain(|one| now_ns.saturating_sub(one.end.moment.time_ns) < EARLY_NS);
    }

    /// Ends the exchange an acknowledgement is of, if it is the last. Whether there is one.
    fn settle(
        &mut self,
        of: Side,
        kind: u8,
        said: &Acknowledged,
        begin: Moment,
        end: Mark,
        out: &mut Vec<Step>,
    ) -> bool {
        let failed = said.reason >= FAILED;
        let Entry::Occupied(waiting) = self.waiting.entry((of, said.id)) else {
            return false;
        };
        let ends = match kind {
            packet::PUBACK => waiting.get().qos == 1,
            packet::PUBREC => waiting.get().qos == 2 && failed,
            _ => waiting.get().qos == 2,
        };
        if !ends {
            return true;
        }
        let exchange = waiting.remove().exchange;
        let outcome = Outcome {
            settled: Some(if failed { Settled::Rejected } else { Settled::Accepted }),
            error: failed.then(|| Box::new(failure(said))),
            ..Outcome::default()
        };
        self.handled.settled(exchange, outcome, begin, end, out);
        true
    }

    /// Packets of a direction may have been missed.
    fn lost(&mut self, direction: Direction, at: Mark, out: &mut Vec<Step>) {
        let Some(side) = self.side(direction) else { return };
        // What they may have acknowledged.
        self.end_waiting(at, Broken::Unseen, out, |sender| sender != side);
        self.aliases.retain(|(by, _), _| *by != side);
        self.alias_bytes = self.aliases.values().map(SmolStr::len).sum();
        self.early.clear();
    }

    fn offended(&mut self, direction: Direction, at: Mark, out: &mut Vec<Step>) -> Flow {
        let at = Mark { offset: 0, ..at };
        out.push(Step::Count("protocol.mqtt.invalid"));
        self.lost(direction, at, out);
        self.strikes = self.strikes.saturating_add(1);
        if self.strikes >= MAX_STRIKES {
            return self.reject(at, out);
        }
        Flow::Continue
    }

    fn reject(&mut self, at: Mark, out: &mut Vec<Step>) -> Flow {
        self.end_waiting(at, Broken::Unseen, out, |_| true);
        Flow::Rejected
    }

    /// What waits and was sent by a side for which `is` holds ends, in one order, however the table is made.
    fn end_waiting(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>, is: impl Fn(Side) -> bool) {
        let mut broken: Vec<Exchange> = Vec::new();
        self.waiting.retain(|(sender, _), waiting| {
            if is(*sender) {
                broken.push(waiting.exchange);
            }
            !is(*sender)
        });
        broken.sort_unstable();
        for exchange in broken {
            self.handled.broken(exchange, at, reason, out);
        }
    }
}

/// How the receiver says that it does not take a message.
fn failure(said: &Acknowledged) -> Failure {
    let name = match said.reason {
        0x83 => "implementation specific error",
        0x87 => "not authorized",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
        0x97 => "quota exceeded",
        0x99 => "payload format invalid",
        _ => "unspecified error",
    };
    let message = if said.text.is_empty() {
        SmolStr::new_static(name)
    } else {
        said.text.clone()
    };
    Failure {
        code: format_smolstr!("{}", said.reason),
        message,
        sqlstate: None,
        severity: None,
        expected: false,
    }
}

impl Parser for Mqtt {
    fn piece(&mut self, piece: Piece, out: &mut Vec<Step>) -> Flow {
        let (direction, at) = (piece.direction, Mark::of(&piece));
        match piece.content {
            Content::Bytes(bytes) => return self.bytes(direction, &bytes, at, out),
            Content::Unseen(length) => return self.hole(direction, length, at, out),
            Content::End => self.end_waiting(at, Broken::Closed, out, |_| true),
            Content::Failed(errno) => self.end_waiting(at, Broken::Failed(errno), out, |_| true),
        }
        Flow::Continue
    }

    fn tick(&mut self, _now_ns: u64, _out: &mut Vec<Step>) {}

    fn end(&mut self, at: Mark, reason: Broken, out: &mut Vec<Step>) {
        self.end_waiting(at, reason, out, |_| true);
    }

    fn open(&self) -> usize {
        self.handled.open()
    }

    fn next_exchange(&self) -> Exchange {
        self.handled.next()
    }

    fn wants_whole_operations(&self) -> bool {
        true
    }
}
