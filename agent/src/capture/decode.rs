//! From the bytes of a record to an [`Event`].
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use clew_common::context::PY_MINOR;
use clew_common::event as abi;
use clew_common::unwind::Registers;
use smol_str::SmolStr;
use zerocopy::FromBytes;

use super::{
    Actor, Asked, ConnId, ConnState, Connection, Context, Data, Direction, Endpoints, Event, FileId, Language, Library,
    LinkKind, LogWrite, Moment, Pid, PipeRead, Plain, Session, SessionId, Signal, Stack, StackRest, Stream, Times,
    Transport,
};

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Why a record is not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is shorter than its kind.
    #[error("record of {0} bytes is cut short")]
    Short(usize),
    /// Its kind is not known.
    #[error("record of unknown kind {0}")]
    Kind(u16),
    /// A field has a value it cannot have.
    #[error("record with an impossible {0}")]
    Field(&'static str),
}

/// The parts of a record of the ring buffer, each of which is an event: what is told of an operation beside its bytes stands before it.
pub fn parts(record: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (first, rest) = match take::<abi::Header>(record) {
        Ok((header, _)) if header.kind == abi::KIND_TIMES => record.split_at(record.len().min(size_of::<abi::Times>())),
        _ => (record, &[][..]),
    };
    std::iter::once(first).chain((!rest.is_empty()).then_some(rest))
}

/// Decodes one of the [`parts`] of a record.
///
/// # Errors
/// [`Malformed`] says what is wrong with the record.
pub fn decode(record: &[u8]) -> Result<Event, Malformed> {
    let (header, _) = take::<abi::Header>(record)?;
    let moment = moment(&header);
    match header.kind {
        abi::KIND_CONNECTION => connection(take::<abi::Connection>(record)?.0, moment).map(Event::Connection),
        abi::KIND_DATA => {
            let (data, payload) = take::<abi::Data>(record)?;
            self::data(&data, payload, moment).map(Event::Data)
        }
        abi::KIND_SESSION => session(&take::<abi::Session>(record)?.0, moment).map(Event::Session),
        abi::KIND_PLAIN => {
            let (plain, payload) = take::<abi::Plain>(record)?;
            self::plain(&plain, payload, moment).map(Event::Plain)
        }
        abi::KIND_LOG => {
            let (log, payload) = take::<abi::Log>(record)?;
            self::log(&log, payload, moment).map(Event::Log)
        }
        abi::KIND_PIPE => {
            let (read, payload) = take::<abi::PipeRead>(record)?;
            pipe(&read, payload, moment).map(Event::Pipe)
        }
        abi::KIND_STATE => {
            let (state, _) = take::<abi::State>(record)?;
            Ok(Event::State {
                conn: ConnId(state.conn),
                moment,
                state: conn_state(state.state, state.error)?,
                error: i32::try_from(state.error).map_err(|_| Malformed::Field("error"))?,
            })
        }
        abi::KIND_FORK => {
            let (fork, _) = take::<abi::Fork>(record)?;
            Ok(Event::Fork {
                moment,
                child: Pid(fork.child_tgid),
            })
        }
        abi::KIND_EXEC => {
            let (life, rest) = take::<abi::Life>(record)?;
            // Records that were kept from earlier versions end here, or behind the name.
            let (name, rest) = rest.split_at(rest.len().min(16));
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len()).min(15);
            Ok(Event::Exec {
                moment,
                target: life.flags & abi::LIFE_TARGET != 0,
                name: SmolStr::from(String::from_utf8_lossy(name.get(..end).unwrap_or_default())),
                args: arguments(rest),
            })
        }
        abi::KIND_MAPPED => Ok(Event::Mapped(moment)),
        abi::KIND_LOST => Ok(Event::Lost(moment)),
        abi::KIND_EXIT => {
            let (life, _) = take::<abi::Life>(record)?;
            Ok(Event::Exit {
                moment,
                status: life.code,
                process: life.flags & abi::LIFE_PROCESS != 0,
            })
        }
        abi::KIND_LINK => {
            let (link, _) = take::<abi::Link>(record)?;
            let kind = match link.link {
                abi::LINK_CREATED => LinkKind::Created,
                abi::LINK_SERVANT => LinkKind::Servant,
                abi::LINK_HANDED => LinkKind::Handed { site: link.site },
                abi::LINK_LEFT => LinkKind::Left { place: link.place },
                abi::LINK_TAKEN => LinkKind::Taken {
                    site: link.site,
                    place: link.place,
                },
                abi::LINK_ACCEPTED => LinkKind::Accepted(link.place),
                abi::LINK_READ => LinkKind::Read(link.place),
                abi::LINK_SUBMITTED => LinkKind::Submitted,
                abi::LINK_WITHIN => LinkKind::Within,
                abi::LINK_SERVES => LinkKind::Serves {
                    stream: stream_number(link.site)?,
                },
                abi::LINK_WRITES => LinkKind::Writes {
                    stream: (link.site != 0).then(|| stream_number(link.site)).transpose()?,
                    place: link.place,
                },
                _ => return Err(Malformed::Field("link")),
            };
            Ok(Event::Link {
                moment,
                other: match kind {
                    // Threads that are no contexts hand over work, too.
                    LinkKind::Submitted => Context::Python(link.other),
                    _ => context(header.context_kind, link.other),
                },
                link: kind,
            })
        }
        abi::KIND_ASKS => asks(record, moment),
        abi::KIND_TIMES => {
            let (times, _) = take::<abi::Times>(record)?;
            let times = Times {
                context: context(times.header.context_kind, times.header.context),
                time_ns: moment.time_ns,
                cpu_ns: times.cpu_ns,
                runqueue_ns: times.runqueue_ns,
                blocked_ns: times.blocked_ns,
                turned: [0; 2],
            };
            Ok(Event::Times(moment, times))
        }
        abi::KIND_SIGNAL => {
            let (signal, _) = take::<abi::Signal>(record)?;
            Ok(Event::Signal(Signal {
                moment,
                number: signal.signal,
                code: signal.code,
                address: signal.address,
                stack: signal.stack,
            }))
        }
        abi::KIND_STACK => stack(record, moment).map(Event::Stack),
        abi::KIND_STACK_REST => stack_rest(record, moment).map(Event::Stack),
        abi::KIND_HELPER => {
            let (life, _) = take::<abi::Life>(record)?;
            Ok(Event::Helper {
                moment,
                any: life.flags & abi::LIFE_PROCESS != 0,
            })
        }
        kind => Err(Malformed::Kind(kind)),
    }
}

fn log(record: &abi::Log, payload: &[u8], moment: Moment) -> Result<LogWrite, Malformed> {
    let captured = record.captured as usize;
    if record.captured > record.length || captured > abi::CHUNK_BYTES {
        return Err(Malformed::Field("captured length"));
    }
    let payload = payload.get(..captured).ok_or(Malformed::Short(payload.len()))?;
    let name = record.name.get(..record.named as usize);
    Ok(LogWrite {
        moment,
        file: FileId {
            address: record.file,
            inode: record.inode,
        },
        stream: match record.flags & (abi::LOG_STDOUT | abi::LOG_STDERR | abi::LOG_MESSAGE) {
            0 => None,
            abi::LOG_MESSAGE if name == Some(b"l/socket") => Some(Stream::Journal),
            abi::LOG_MESSAGE => Some(Stream::Syslog),
            abi::LOG_STDERR => Some(Stream::Error),
            _ => Some(Stream::Out),
        },
        name: SmolStr::from(String::from_utf8_lossy(name.ok_or(Malformed::Field("name"))?)),
        length: u64::from(record.length),
        payload: Bytes::copy_from_slice(payload),
        more: record.flags & abi::LOG_MORE != 0,
    })
}

fn asks(record: &[u8], moment: Moment) -> Result<Event, Malformed> {
    let (asks, _) = take::<abi::Asks>(record)?;
    let kind = asks.header.context_kind;
    let asked = asks.asked.get(..asks.count as usize).ok_or(Malformed::Field("count"))?;
    let asked = asked.iter().map(|asked| {
        Ok(Asked {
            conn: context(kind, asked.conn),
            stream: stream_number(asked.stream)?,
            context: context(kind, asked.context),
        })
    });
    Ok(Event::Asks {
        moment,
        asked: asked.collect::<Result<_, _>>()?,
    })
}

fn pipe(record: &abi::PipeRead, payload: &[u8], moment: Moment) -> Result<PipeRead, Malformed> {
    let captured = record.captured as usize;
    if record.captured > record.length || captured > abi::CHUNK_BYTES {
        return Err(Malformed::Field("captured length"));
    }
    let payload = payload.get(..captured).ok_or(Malformed::Short(payload.len()))?;
    Ok(PipeRead {
        moment,
        pipe: record.pipe,
        length: u64::from(record.length),
        payload: Bytes::copy_from_slice(payload),
    })
}

/// The command line in an [`abi::Exec`], from where its size stands.
fn arguments(rest: &[u8]) -> Vec<String> {
    let Ok((size, rest)) = u32::read_from_prefix(rest) else {
        return Vec::new();
    };
    let line = rest.get(4..).unwrap_or_default();
    let line = line.get(..size as usize).unwrap_or(line);
    let line = line.strip_suffix(b"\0").unwrap_or(line);
    if line.is_empty() {
        return Vec::new();
    }
    line.split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

fn take<T: FromBytes>(record: &[u8]) -> Result<(T, &[u8]), Malformed> {
    T::read_from_prefix(record).map_err(|_| Malformed::Short(record.len()))
}

fn moment(header: &abi::Header) -> Moment {
    Moment {
        time_ns: header.time_ns,
        actor: Actor {
            pid: Pid(header.tgid),
            tid: header.tid,
            context: context(header.context_kind, header.context),
            turn: header.turn,
        },
        detail: 0,
    }
}

fn stream_number(number: u64) -> Result<u32, Malformed> {
    u32::try_from(number).map_err(|_| Malformed::Field("stream"))
}

const fn context(kind: u16, id: u64) -> Context {
    match kind {
        abi::CONTEXT_THREAD => Context::Thread,
        abi::CONTEXT_GOROUTINE => Context::Goroutine(id),
        abi::CONTEXT_PYTHON => Context::Python(id),
        abi::CONTEXT_TOKIO => Context::Tokio(id),
        abi::CONTEXT_NODE => Context::Node(id),
        abi::CONTEXT_JAVA => Context::Java(id),
        abi::CONTEXT_HANDED => Context::Handed(id),
        _ => Context::Unknown,
    }
}

fn connection(record: abi::Connection, moment: Moment) -> Result<Connection, Malformed> {
    let endpoints = match record.family {
        AF_UNIX => Endpoints::Unix {
            address: record.address,
            peer: record.peer,
        },
        AF_INET | AF_INET6 => {
            let local = SocketAddr::new(address(record.family, record.local), record.local_port);
            let remote = SocketAddr::new(address(record.family, record.remote), record.remote_port);
            if record.flags & abi::CONN_DATAGRAM != 0 {
                Endpoints::Udp { local, remote }
            } else {
                Endpoints::Tcp { local, remote }
            }
        }
        _ => return Err(Malformed::Field("address family")),
    };
    let sequenced = record.flags & abi::CONN_SEQUENCED != 0;
    Ok(Connection {
        conn: ConnId(record.conn),
        moment,
        endpoints,
        netns: record.netns,
        inode: record.inode,
        isn: sequenced.then_some((record.local_isn, record.remote_isn)),
        opened_here: record.flags & abi::CONN_OPENED_HERE != 0,
        midway: record.flags & abi::CONN_MIDWAY != 0,
    })
}

fn address(family: u16, bytes: [u8; 16]) -> IpAddr {
    if family == AF_INET {
        let [a, b, c, d, ..] = bytes;
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

fn data(record: &abi::Data, payload: &[u8], moment: Moment) -> Result<Data, Malformed> {
    let captured = record.captured as usize;
    if record.captured > record.length || captured > abi::CHUNK_BYTES {
        return Err(Malformed::Field("captured length"));
    }
    let payload = payload.get(..captured).ok_or(Malformed::Short(payload.len()))?;
    if record.offset.checked_add(u64::from(record.length)).is_none() {
        return Err(Malformed::Field("offset"));
    }
    Ok(Data {
        conn: ConnId(record.conn),
        moment,
        direction: match record.direction {
            abi::EGRESS => Direction::Egress,
            abi::INGRESS => Direction::Ingress,
            _ => return Err(Malformed::Field("direction")),
        },
        offset: record.offset,
        length: u64::from(record.length),
        payload: Bytes::copy_from_slice(payload),
        end: record.flags & abi::DATA_END != 0,
        error: i32::try_from(record.error).map_err(|_| Malformed::Field("error"))?,
        transport: Transport {
            rtt_us: record.rtt_us,
            retransmits: record.retransmits,
            buffered_ns: record.buffered_ns,
        },
    })
}

/// A record that may end before the words.
///
/// ```text
/// 48 connection | 56 name | 64 layout | 72 number of words | 76 language | 80 words of 64 bits
/// ```
fn stack(record: &[u8], moment: Moment) -> Result<Stack, Malformed> {
    const WORDS: usize = std::mem::offset_of!(abi::Stack, words);
    let (fields, _) = take::<[u64; WORDS / 8]>(record)?;
    let [.., conn, hash, layout, counts] = fields;
    let n_words = counts as u32 as usize;
    let language = match (counts >> 32) as u32 {
        abi::STACK_GO => Language::Go,
        abi::STACK_PYTHON => Language::Python {
            minor: (layout >> PY_MINOR) as u8,
        },
        abi::STACK_COMPILED => Language::Compiled { space: layout },
        _ => return Err(Malformed::Field("language of a stack")),
    };
    if n_words > abi::STACK_WORDS {
        return Err(Malformed::Field("words of a stack"));
    }
    let words = record.get(WORDS..).unwrap_or_default().chunks_exact(8);
    let words: Vec<u64> = words
        .take(n_words)
        .filter_map(|word| Some(u64::from_le_bytes(word.try_into().ok()?)))
        .collect();
    if words.len() < n_words {
        return Err(Malformed::Short(record.len()));
    }
    Ok(Stack {
        moment,
        conn: (conn != 0).then_some(ConnId(conn)),
        hash,
        language,
        words,
        rest: None,
    })
}

fn stack_rest(record: &[u8], moment: Moment) -> Result<Stack, Malformed> {
    const REGISTERS: usize = std::mem::offset_of!(abi::StackRest, registers);
    let stack = stack(record, moment)?;
    let rest = record.get(REGISTERS..).unwrap_or_default();
    let (registers, rest) = take::<Registers>(rest)?;
    let ([start, n_bytes], bytes) = take::<[u64; 2]>(rest)?;
    let n_bytes = usize::try_from(n_bytes).unwrap_or(usize::MAX);
    let bytes = bytes.get(..n_bytes).ok_or(Malformed::Short(record.len()))?;
    let rest = StackRest {
        registers,
        start,
        bytes: bytes.to_vec(),
    };
    Ok(Stack {
        rest: Some(Box::new(rest)),
        ..stack
    })
}

fn session(record: &abi::Session, moment: Moment) -> Result<Session, Malformed> {
    Ok(Session {
        session: session_id(record.session)?,
        moment,
        conn: (record.conn != 0).then_some(ConnId(record.conn)),
        random: (record.random != [0; 32]).then_some(record.random),
        fresh: record.flags & abi::SESSION_FRESH != 0,
        library: match record.source {
            abi::SOURCE_OPENSSL => Library::OpenSsl,
            abi::SOURCE_GO => Library::Go,
            abi::SOURCE_RUSTLS => Library::Rustls,
            abi::SOURCE_GNUTLS => Library::GnuTls,
            abi::SOURCE_MBEDTLS => Library::MbedTls,
            _ => return Err(Malformed::Field("source")),
        },
    })
}

fn plain(record: &abi::Plain, payload: &[u8], moment: Moment) -> Result<Plain, Malformed> {
    let data = abi::Data {
        conn: record.conn,
        offset: record.offset,
        length: record.length,
        captured: record.captured,
        direction: record.direction,
        flags: record.flags,
        ..abi::Data::default()
    };
    Ok(Plain {
        session: session_id(record.session)?,
        wire: (record.wire != 0).then_some(record.wire),
        data: self::data(&data, payload, moment)?,
    })
}

fn session_id(id: u64) -> Result<SessionId, Malformed> {
    (id & abi::SESSION_BIT != 0)
        .then_some(SessionId(id))
        .ok_or(Malformed::Field("session"))
}

fn conn_state(state: u32, error: u32) -> Result<ConnState, Malformed> {
    match state {
        abi::STATE_CONNECTING => Ok(ConnState::Connecting),
        abi::STATE_ESTABLISHED => Ok(ConnState::Established),
        abi::STATE_CLOSED => Ok(ConnState::Closed),
        abi::STATE_RESET_RECEIVED => Ok(ConnState::ResetReceived),
        abi::STATE_RESET_SENT => Ok(ConnState::ResetSent),
        abi::STATE_INSPECTED => Ok(ConnState::Inspected),
        abi::STATE_ACCEPTED => Ok(ConnState::Accepted { waited_us: error }),
        _ => Err(Malformed::Field("connection state")),
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    fn data_record(change: impl FnOnce(&mut abi::Data), payload: &[u8]) -> Vec<u8> {
        let header = abi::Header {
            time_ns: 7,
            tgid: 1,
            tid: 2,
            kind: abi::KIND_DATA,
            ..abi::Header::default()
        };
        let length = payload.len() as u32;
        let mut data = abi::Data {
            header,
            conn: 9,
            offset: 100,
            length,
            captured: length,
            ..abi::Data::default()
        };
        change(&mut data);
        [data.as_bytes(), payload].concat()
    }

    #[test]
    fn programs_with_and_without_arguments() {
        let life = abi::Life {
            header: abi::Header {
                kind: abi::KIND_EXEC,
                ..abi::Header::default()
            },
            code: 0,
            flags: abi::LIFE_TARGET,
        };
        let check = |size: u32, line: &[u8], want: &[&str]| {
            let mut args = [b'#'; abi::ARGS_BYTES];
            args[..line.len()].copy_from_slice(line);
            let record = abi::Exec {
                life,
                name: *b"node\0\0\0\0\0\0\0\0\0\0\0\0",
                written: size,
                reserved: 0,
                args,
            };
            let Ok(Event::Exec { name, args, target, .. }) = decode(record.as_bytes()) else {
                panic!("no program");
            };
            assert_eq!((name.as_str(), target), ("node", true));
            assert_eq!(args, want, "{line:?}");
        };
        check(0, b"", &[]);
        check(10, b"node\0a.js\0", &["node", "a.js"]);
        check(7, b"node\0a.js\0", &["node", "a."]);
        check(
            u32::MAX,
            &[b'a'; abi::ARGS_BYTES],
            &["a".repeat(abi::ARGS_BYTES).as_str()],
        );
        let Ok(Event::Exec { name, args, .. }) = decode(life.as_bytes()) else {
            panic!("no program");
        };
        assert_eq!((name.as_str(), args.len()), ("", 0));
    }

    #[test]
    fn data_with_payload() {
        let Ok(Event::Data(data)) = decode(&data_record(|data| data.length = 10, b"abc")) else {
            panic!("no data")
        };
        assert_eq!((data.conn, data.offset, data.length), (ConnId(9), 100, 10));
        assert_eq!(
            (data.payload.as_ref(), data.direction),
            (b"abc".as_ref(), Direction::Egress)
        );
        assert_eq!(
            (data.moment.time_ns, data.moment.actor.pid, data.moment.actor.tid),
            (7, Pid(1), 2)
        );
    }

    #[test]
    fn reads_of_pipes() {
        let check = |length: u32, captured: u32, room: usize, want: Result<&[u8], &str>| {
            let read = abi::PipeRead {
                header: abi::Header {
                    tgid: 1,
                    tid: 2,
                    kind: abi::KIND_PIPE,
                    ..abi::Header::default()
                },
                pipe: 9,
                length,
                captured,
            };
            let record = [read.as_bytes(), &b"abcdef"[..room]].concat();
            let got = decode(&record).map_err(|error| error.to_string());
            let got = got.map(|event| match event {
                Event::Pipe(read) => {
                    assert_eq!((read.pipe, read.length), (9, u64::from(length)));
                    read.payload
                }
                other => panic!("{other:?}"),
            });
            assert_eq!(got.as_deref().map_err(String::as_str), want);
        };
        check(3, 3, 3, Ok(b"abc"));
        // Records have more room than they use.
        check(3, 3, 6, Ok(b"abc"));
        check(9, 4, 6, Ok(b"abcd"));
        check(9, 0, 6, Ok(b""));
        check(3, 4, 6, Err("record with an impossible captured length"));
        check(9, 7, 6, Err("record of 6 bytes is cut short"));
    }

    #[test]
    fn streams_that_were_asked_for() {
        let check = |count: usize, stream: u64, want: Result<usize, &str>| {
            let mut asks = abi::Asks {
                header: abi::Header {
                    kind: abi::KIND_ASKS,
                    context_kind: abi::CONTEXT_NODE,
                    ..abi::Header::default()
                },
                count: u32::try_from(count).unwrap(),
                ..abi::Asks::default()
            };
            asks.asked = std::array::from_fn(|at| abi::Asked {
                conn: 7,
                stream: stream + 2 * at as u64,
                context: 100 + at as u64,
            });
            let got = decode(asks.as_bytes()).map_err(|error| error.to_string());
            let got = got.map(|event| {
                let Event::Asks { asked, .. } = event else {
                    panic!("{event:?}")
                };
                for (at, asked) in asked.iter().enumerate() {
                    let want = Asked {
                        conn: Context::Node(7),
                        stream: u32::try_from(stream).unwrap() + 2 * at as u32,
                        context: Context::Node(100 + at as u64),
                    };
                    assert_eq!(*asked, want);
                }
                asked.len()
            });
            assert_eq!(got.as_ref().map(|count| *count).map_err(String::as_str), want);
        };
        check(0, 1, Ok(0));
        check(1, 1, Ok(1));
        check(abi::ASKS, 1, Ok(abi::ASKS));
        check(abi::ASKS + 1, 1, Err("record with an impossible count"));
        check(1, 1 << 32, Err("record with an impossible stream"));
    }

    #[test]
    fn impossible_records_are_refused() {
        let cases: &[(&str, Vec<u8>)] = &[
            ("record of 0 bytes is cut short", Vec::new()),
            (
                "record of 2 bytes is cut short",
                data_record(|data| (data.captured, data.length) = (3, 3), b"ab"),
            ),
            (
                "record with an impossible captured length",
                data_record(|data| data.captured = 4, b"abc"),
            ),
            (
                "record with an impossible direction",
                data_record(|data| data.direction = 2, b"abc"),
            ),
            (
                "record with an impossible offset",
                data_record(|data| data.offset = u64::MAX, b"abc"),
            ),
            (
                "record of unknown kind 99",
                data_record(|data| data.header.kind = 99, b""),
            ),
        ];
        for (reason, record) in cases {
            assert_eq!(&decode(record).unwrap_err().to_string(), reason);
        }
    }

    #[test]
    fn no_length_of_a_record_panics() {
        let whole = data_record(|_| {}, b"abcdef");
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err());
        }
    }

    #[test]
    fn an_operation_with_its_time() {
        let times = abi::Times {
            header: abi::Header {
                kind: abi::KIND_TIMES,
                ..abi::Header::default()
            },
            cpu_ns: 5,
            ..abi::Times::default()
        };
        let data = data_record(|_| {}, b"abc");
        let whole = [times.as_bytes(), &data].concat();
        let told: Vec<_> = parts(&whole).map(decode).collect();
        let [Ok(Event::Times(_, times)), Ok(Event::Data(data))] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((times.cpu_ns, &*data.payload), (5, &b"abc"[..]));
        let alone = data_record(|_| {}, b"abc");
        assert_eq!(parts(&alone).collect::<Vec<_>>(), [&alone[..]]);
        for length in 0..whole.len() {
            let told = parts(&whole[..length]).map(decode);
            assert_eq!(
                told.filter(Result::is_ok).count(),
                usize::from(length >= size_of::<abi::Times>())
            );
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mut record = abi::Connection {
            family: AF_INET6,
            local_port: 80,
            ..abi::Connection::default()
        };
        record.header.kind = abi::KIND_CONNECTION;
        record.local = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1];
        let Ok(Event::Connection(connection)) = decode(record.as_bytes()) else {
            panic!("no connection")
        };
        let Endpoints::Tcp { local, .. } = connection.endpoints else {
            panic!("no TCP")
        };
        assert_eq!(local.to_string(), "127.0.0.1:80");
    }
}
