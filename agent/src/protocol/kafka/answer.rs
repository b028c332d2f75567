//! Answers that are read at once: where batches were stored, and which topics there are.
use smol_str::{SmolStr, format_smolstr};

use super::head;
use super::topics::Topic;
use super::wire::{Cursor, Got, Short};
use crate::protocol::Id;
use crate::protocol::call::Failure;

/// The first version of metadata that gives topics a number.
pub(super) const WITH_IDS: i16 = 10;

/// Where a batch was stored, or why it was not.
pub(super) type Stored = Result<i64, Failure>;

/// What the answer to a produce request says of each partition, as far as it was seen.
pub(super) fn stored(version: i16, body: &[u8], mut each: impl FnMut(Topic, i32, Stored)) {
    let mut cursor = Cursor::new(body, head::is_flexible(head::PRODUCE, version));
    // What is cut off or wrong is where it ends.
    let _ = read_stored(version, &mut cursor, &mut each);
}

fn read_stored(version: i16, cursor: &mut Cursor<'_>, each: &mut impl FnMut(Topic, i32, Stored)) -> Got<()> {
    cursor.tags()?;
    for _ in 0..cursor.length()?.unwrap_or(0) {
        let topic = if version >= 13 {
            Topic {
                id: cursor.id()?,
                ..Topic::default()
            }
        } else {
            Topic {
                name: SmolStr::new(cursor.text()?.ok_or(Short::Wrong)?),
                ..Topic::default()
            }
        };
        for _ in 0..cursor.length()?.unwrap_or(0) {
            let (partition, code, offset) = (cursor.i32()?, cursor.i16()?, cursor.i64()?);
            if version >= 2 {
                cursor.i64()?;
            }
            if version >= 5 {
                cursor.i64()?;
            }
            let mut message = None;
            if version >= 8 {
                for _ in 0..cursor.length()?.unwrap_or(0) {
                    cursor.i32()?;
                    cursor.text()?;
                    cursor.tags()?;
                }
                message = cursor.text()?;
            }
            cursor.tags()?;
            let told = if code == 0 {
                Ok(offset)
            } else {
                Err(failure(code, message))
            };
            each(topic.clone(), partition, told);
        }
        cursor.tags()?;
    }
    Ok(())
}

/// The numbers and names of topics, as far as they were seen.
///
/// ```text
/// throttled (4) | brokers *(number (4) | host | port (4) | rack) | cluster | controller (4)
///   | topics *(error (2) | name | number (16) | internal (1) | partitions | operations (4))
/// ```
pub(super) fn named(version: i16, body: &[u8], mut each: impl FnMut(Id, &str)) {
    let mut cursor = Cursor::new(body, head::is_flexible(head::METADATA, version));
    let _ = read_named(&mut cursor, &mut each);
}

fn read_named(cursor: &mut Cursor<'_>, each: &mut impl FnMut(Id, &str)) -> Got<()> {
    cursor.tags()?;
    cursor.i32()?;
    for _ in 0..cursor.length()?.unwrap_or(0) {
        cursor.i32()?;
        cursor.text()?;
        cursor.i32()?;
        cursor.text()?;
        cursor.tags()?;
    }
    cursor.text()?;
    cursor.i32()?;
    for _ in 0..cursor.length()?.unwrap_or(0) {
        cursor.i16()?;
        let (name, id) = (cursor.text()?, cursor.id()?);
        if let Some(name) = name.filter(|_| id != Id::default()) {
            each(id, name);
        }
        cursor.i8()?;
        for _ in 0..cursor.length()?.unwrap_or(0) {
            // Its error, number, leader and epoch.
            cursor.bytes(2 + 4 + 4 + 4)?;
            for _ in 0..3 {
                let replicas = cursor.length()?.unwrap_or(0);
                for _ in 0..replicas {
                    cursor.i32()?;
                }
            }
            cursor.tags()?;
        }
        cursor.i32()?;
        cursor.tags()?;
    }
    Ok(())
}

fn failure(code: i16, message: Option<&str>) -> Failure {
    let name = match code {
        -1 => "UNKNOWN_SERVER_ERROR",
        2 => "CORRUPT_MESSAGE",
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        5 => "LEADER_NOT_AVAILABLE",
        6 => "NOT_LEADER_OR_FOLLOWER",
        7 => "REQUEST_TIMED_OUT",
        10 => "MESSAGE_TOO_LARGE",
        17 => "INVALID_TOPIC_EXCEPTION",
        18 => "RECORD_LIST_TOO_LARGE",
        19 => "NOT_ENOUGH_REPLICAS",
        20 => "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
        21 => "INVALID_REQUIRED_ACKS",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        32 => "INVALID_TIMESTAMP",
        44 => "POLICY_VIOLATION",
        45 => "OUT_OF_ORDER_SEQUENCE_NUMBER",
        46 => "DUPLICATE_SEQUENCE_NUMBER",
        47 => "INVALID_PRODUCER_EPOCH",
        48 => "INVALID_TXN_STATE",
        53 => "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        56 => "KAFKA_STORAGE_ERROR",
        59 => "UNKNOWN_PRODUCER_ID",
        74 => "FENCED_LEADER_EPOCH",
        75 => "UNKNOWN_LEADER_EPOCH",
        76 => "UNSUPPORTED_COMPRESSION_TYPE",
        87 => "INVALID_RECORD",
        90 => "PRODUCER_FENCED",
        100 => "UNKNOWN_TOPIC_ID",
        _ => "",
    };
    let name = if name.is_empty() {
        format_smolstr!("{code}")
    } else {
        SmolStr::new_static(name)
    };
    Failure {
        message: message.map_or_else(|| name.clone(), SmolStr::new),
        code: name,
        sqlstate: None,
        severity: None,
        expected: false,
    }
}
