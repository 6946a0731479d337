//! Event files are read back record by record, by a reader of their own.
#![allow(clippy::unwrap_used, clippy::panic)] // in helpers, too

use smalti_base::Seed;
use smalti_base::tensorboard::EventFile;
use std::time::{SystemTime, UNIX_EPOCH};

/// CRC-32C bit by bit (polynomial 0x1EDC6F41, reflected), then masked.
fn checksum(data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in data {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The events of a file; `Err` names the first fault.
fn records(mut file: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let mut all = Vec::new();
    while !file.is_empty() {
        let (header, rest) = file.split_at_checked(12).ok_or("short header")?;
        if word(&header[8..]) != checksum(&header[..8]) {
            return Err("length checksum");
        }
        let length = u64::from_le_bytes(header[..8].try_into().unwrap()) as usize;
        let (event, rest) = rest.split_at_checked(length).ok_or("short event")?;
        let (sum, rest) = rest.split_at_checked(4).ok_or("short checksum")?;
        if word(sum) != checksum(event) {
            return Err("event checksum");
        }
        all.push(event);
        file = rest;
    }
    Ok(all)
}

/// A field of a message: number and content (numbers as 8 bytes).
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return number;
            }
        }
    }
    let mut all = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                all.push((key >> 3, varint(&mut message).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (content, rest) = message.split_at(length);
        all.push((key >> 3, content.to_vec()));
        message = rest;
    }
    all
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn what_was_logged_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    let mut events = EventFile::create(&folder.path().join("deep")).unwrap();
    let image = Seed::new(3).at("image", 0).uniform(&[1, 1, 150, 7]);
    events.scalar(0, "loss", 0.1).unwrap();
    events.scalar(300, "loss", -2.5).unwrap();
    events.image(300, "picture", &image).unwrap();
    let file = std::fs::read(events.path()).unwrap();
    let records = records(&file).unwrap();
    assert_eq!(records.len(), 4);
    let first = fields(records[0]);
    assert_eq!((first[2].0, first[2].1.as_slice()), (3, &b"brain.Event:2"[..]));
    for record in &records {
        let event = fields(record);
        assert!((event[0].0, event[1].0) == (1, 2));
        let time = f64::from_le_bytes(event[0].1.as_slice().try_into().unwrap());
        assert!(time >= before && time < before + 600.0, "{time} {before}");
    }
    let value = |k: usize| {
        let event = fields(records[k]);
        assert_eq!(event[2].0, 5);
        let summary = fields(&event[2].1);
        assert!(summary.len() == 1 && summary[0].0 == 1);
        (number(&event[1].1), fields(&summary[0].1))
    };
    for (k, step, expected) in [(1, 0, 0.1_f32), (2, 300, -2.5)] {
        let (found, value) = value(k);
        assert_eq!((found, value[0].1.as_slice()), (step, &b"loss"[..]));
        assert_eq!((value[1].0, value[1].1.as_slice()), (2, &expected.to_le_bytes()[..]));
    }
    let (step, value) = value(3);
    assert_eq!((step, value[0].1.as_slice(), value[1].0), (300, &b"picture"[..], 4));
    let picture = fields(&value[1].1);
    let numbers: Vec<u64> = picture[..3].iter().map(|(_, n)| number(n)).collect();
    assert_eq!(numbers, [150, 7, 1]);
    let png = folder.path().join("picture.png");
    std::fs::write(&png, &picture[3].1).unwrap();
    let back = smalti_base::image_file::load_gray(&png).unwrap();
    assert!((back - image).abs().max().double_value(&[]) <= 0.5 / 255.0 + 1e-6);
}

#[test]
fn a_changed_byte_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut events = EventFile::create(folder.path()).unwrap();
    events.scalar(7, "loss", 1.0).unwrap();
    let file = std::fs::read(events.path()).unwrap();
    assert!(records(&file).is_ok());
    for k in 0..file.len() {
        let mut broken = file.clone();
        broken[k] ^= 1;
        assert!(records(&broken).is_err(), "byte {k}");
    }
}

#[test]
fn a_resumed_run_begins_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = (0..3).map(|_| EventFile::create(folder.path()).unwrap().path().to_owned()).collect();
    assert!(paths[0] < paths[1] && paths[1] < paths[2], "{paths:?}");
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "text").unwrap();
    assert!(EventFile::create(&file).unwrap_err().to_string().contains("file"));
    let mut events = EventFile::create(folder.path()).unwrap();
    let hole = tch::Tensor::from_slice(&[f32::NAN]).reshape([1, 1, 1, 1]);
    assert!(events.image(1, "hole", &hole).is_err());
    assert!(records(&std::fs::read(events.path()).unwrap()).unwrap().len() == 1, "a part of it was written");
}
